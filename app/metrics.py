"""What the service counts, for Prometheus."""

from __future__ import annotations

import os
import platform

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from app import __version__
from app.process_memory import MemoryCollector, server_pids

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LATENCY_BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Metrics:
    """Counters of one application, in a registry of their own so that two applications in a process do not collide."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self._requests = Counter("beamline_http_requests", "HTTP requests answered", labels, registry=self.registry)
        self._seconds = Histogram(
            "beamline_http_request_duration_seconds",
            "Time from the request's head to the last byte of its answer",
            ("method", "route"),
            buckets=LATENCY_BUCKETS_S,
            registry=self.registry,
        )
        self._models = Gauge(
            "beamline_model_loaded",
            "1 for each model version that this service answers with, 0 for one that it has left",
            ("model", "version"),
            registry=self.registry,
            multiprocess_mode="livemax",
        )
        self._jobs = Gauge(
            "beamline_jobs",
            "Jobs in the database that wait or run",
            ("state",),
            registry=self.registry,
            multiprocess_mode="livemax",
        )
        self._jobs_finished = Counter(
            "beamline_jobs_finished", "Jobs ended by this service", ("kind", "state"), registry=self.registry
        )
        build = Gauge(
            "beamline_build",
            "1, labelled with the versions that run",
            ("version", "python"),
            registry=self.registry,
            multiprocess_mode="livemax",
        )
        build.labels(__version__, platform.python_version()).set(1)
        self.registry.register(MemoryCollector(server_pids))
        self._known: set[tuple[str, str]] = set()
        # labels() hashes and locks at each call; the few children are kept.
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def observe_request(self, method: str, route: str, status: int, seconds: float) -> None:
        children = self._children.get((method, route, status))
        if children is None:
            children = (self._requests.labels(method, route, str(status)), self._seconds.labels(method, route))
            self._children[method, route, status] = children
        children[0].inc()
        children[1].observe(seconds)

    def set_loaded_models(self, loaded: set[tuple[str, str]]) -> None:
        """Set the gauge to 1 for these (model, version) pairs and to 0 for those that were loaded before."""
        for name, model_version in loaded | self._known:
            self._models.labels(name, model_version).set((name, model_version) in loaded)
        self._known |= loaded

    def observe_finished_job(self, kind: str, state: str) -> None:
        self._jobs_finished.labels(kind, state).inc()

    def set_jobs(self, *, queued: int, running: int) -> None:
        self._jobs.labels("queued").set(queued)
        self._jobs.labels("running").set(running)

    def render(self) -> bytes:
        """Give every metric in Prometheus' text format; of all workers where several run."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self.registry)
        of_all_workers = CollectorRegistry()
        MultiProcessCollector(of_all_workers)
        of_all_workers.register(MemoryCollector(server_pids))
        return generate_latest(of_all_workers)
