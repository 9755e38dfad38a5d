"""The one place that knows every part of the service."""

from __future__ import annotations

import asyncio
import gc
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from types import FrameType
from typing import Any, cast

import anyio.to_thread
import structlog
from fastapi import FastAPI
from starlette.types import ASGIApp

from app import __version__
from app.api import (
    access_table,
    aggregates,
    docs,
    health,
    indexing,
    indexing_batches,
    indexing_files,
    job_events,
    jobs,
    models,
    polarization,
    problems,
    v2,
    v2_infer,
    waveform,
)
from app.api.access import Access, Anonymous, Scope, caller_with
from app.api.cors import with_cors
from app.api.edge import Edge
from app.api.fast_path import FastPath, FastRoute
from app.api.gate import Gate, Places
from app.api.guards import EdgeLimits, Guards
from app.api.indexing_models import LearnedParts
from app.api.keys import KeyFile
from app.api.rates import Rates
from app.api.seams import ModelRegistry
from app.api.tokens import Provider, ProviderTokens, scopes_from
from app.api.version import API_VERSION
from app.http_limits import STATE, ConnectionLimits
from app.jobs.dask_engine import DaskEngine
from app.jobs.engine import EngineOptions
from app.jobs.job import JobRecord
from app.jobs.kinds import KINDS, WITH_MODELS, Kind
from app.jobs.service import Jobs
from app.logs import configure_logs
from app.metrics import Metrics
from app.model_registry.registry import Registry
from app.model_registry.store import ModelStore
from app.settings import Settings

DESCRIPTION = """\
Turns a measurement into an answer while the beam is still on: send the measurement, get the trained model's prediction
with an honest sigma.

Every number has its unit in its name (`time_s`, `pressure_bar`). Unknown fields are refused, so that a misspelt name
cannot silently keep a default. Every error is an `application/problem+json` (RFC 9457); its `type` is stable and leads
to a page that explains it. Every answer carries `X-Request-ID`; send your own to find it in the logs.
"""

TAGS = [
    {"name": "polarization", "description": "Decay of the neutron polarization between two calibrations."},
    {"name": "indexing", "description": "From the lines of a powder pattern to its unit cell."},
    {"name": "waveform", "description": "How many scatters are in an S2 waveform, and how far apart."},
    {"name": "aggregates", "description": "From a diffraction pattern to the number of particles behind it."},
    {
        "name": "open inference",
        "description": "Any model of the store by the protocol of KServe and Triton, so that their clients work.",
    },
    {"name": "jobs", "description": "Long work: how it stands, its result, and its end."},
    {"name": "models", "description": "The model store: versions, aliases, cards and metrics."},
    {"name": "health", "description": "Probes for supervisors and Prometheus."},
]

ROUTERS = [jobs.router, job_events.router, docs.router, health.router, models.router]

_log = structlog.stdlib.get_logger("app.main")


class Service(FastAPI):
    """FastAPI with our edge, the gate and the fast path around it and our schemas in its OpenAPI."""

    def build_middleware_stack(self) -> ASGIApp:
        inner = FastPath(self.state.fast_routes, super().build_middleware_stack())
        places = Places(self.routes, self.state.access_table)
        gate = Gate(places, self.state.access, self.state.rates, inner)
        limits: EdgeLimits = self.state.edge_limits
        return Edge(with_cors(gate, limits.origins), self.state.metrics, Guards(limits))

    def openapi(self) -> dict[str, Any]:
        access: Access = self.state.access
        is_open = access.open
        if self.openapi_schema is None or self.state.documented_as_open != is_open:  # the first key closes the service
            self.openapi_schema = None
            described = docs.completed(super().openapi())
            table = self.state.access_table
            access_table.describe(described, table, optional=is_open, tokens=access.with_tokens)
            self.openapi_schema, self.state.documented_as_open = described, is_open
        return self.openapi_schema


def create_app(settings: Settings, *, registry: ModelRegistry | None = None, jobs: Jobs | None = None) -> FastAPI:
    """Assemble the service.

    Args:
        settings: what the environment says.
        registry: the models to answer with; opened from ``settings.model_store`` when left out.
        jobs: what runs long work; the kinds of `app.jobs.kinds` when left out.
    """
    app = Service(
        title="Model server for beamlines",
        version=API_VERSION,
        description=DESCRIPTION,
        openapi_tags=TAGS,
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
        max_body_size=settings.max_body_bytes,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.settings = settings
    app.state.metrics = Metrics()
    app.state.registry = registry or open_registry(settings)
    app.state.jobs = jobs or open_jobs(settings, app.state.metrics)
    app.state.edge_limits = _edge_limits(settings)
    app.state.access = open_access(settings)
    app.state.access_table = dict(access_table.TABLE)
    app.state.rates = Rates(settings.requests_per_s) if settings.requests_per_s else None
    inference = v2_infer.Inference(app.state.registry, _inference_limits(settings))
    app.state.fast_routes = [*_fast_routes(settings, app.state.registry), *v2_infer.fast_routes(inference)]
    problems.install(app)
    docs.mount_static(app)
    # Routes are tried in order: the busiest first.
    indexing_limits = _indexing_limits(settings)
    learned = LearnedParts(app.state.registry, settings.indexing_learned)
    made = (
        polarization.create_router(_polarization_limits(settings)),
        waveform.create_router(_waveform_limits(settings)),
        indexing.create_router(indexing_limits, learned),
        indexing_files.create_router(indexing_limits, learned),
        indexing_batches.create_router(indexing_limits, learned),
        aggregates.create_router(_aggregates_limits(settings)),
        v2.create_router(inference),
    )
    for router in (*made, *ROUTERS):
        app.include_router(router)
    return app


def _fast_routes(settings: Settings, registry: ModelRegistry) -> list[FastRoute]:
    """What is answered in front of FastAPI, by the same functions as behind it."""
    return [
        *polarization.fast_routes(_polarization_limits(settings), registry),
        *waveform.fast_routes(_waveform_limits(settings), registry),
        *aggregates.fast_routes(_aggregates_limits(settings), registry),
    ]


def _polarization_limits(settings: Settings) -> polarization.Limits:
    return polarization.Limits(
        settings.max_experiments, settings.max_times, settings.max_body_bytes, settings.max_upload_bytes
    )


def _inference_limits(settings: Settings) -> v2_infer.Limits:
    return v2_infer.Limits(settings.max_rows, settings.max_upload_bytes)


def _waveform_limits(settings: Settings) -> waveform.Limits:
    return waveform.Limits(settings.max_waveforms, settings.max_upload_bytes)


def _aggregates_limits(settings: Settings) -> aggregates.Limits:
    return aggregates.Limits(settings.max_images, settings.max_upload_bytes)


def _indexing_limits(settings: Settings) -> indexing.Limits:
    return indexing.Limits(
        settings.max_solve_seconds, settings.job_max_s, settings.max_patterns, settings.max_upload_bytes
    )


def _edge_limits(settings: Settings) -> EdgeLimits:
    hosts = tuple(filter(None, settings.allowed_hosts.lower().split(",")))
    origins = frozenset(filter(None, settings.cors_origins.lower().split(",")))
    return EdgeLimits(settings.max_held_bytes, hosts, origins)


def _connection_limits(settings: Settings) -> ConnectionLimits:
    return ConnectionLimits(
        connections=settings.max_connections, body_s=settings.body_timeout_s, answer_s=settings.answer_timeout_s
    )


def service() -> FastAPI:
    """Assemble the service from the environment alone: what each server process calls."""
    settings = Settings()
    configure_logs(level=settings.log_level, form=settings.log_format)
    return create_app(settings)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    registry: ModelRegistry = app.state.registry
    long_work: Jobs = app.state.jobs
    access: Access = app.state.access
    long_work.start()
    access.start()
    try:
        async with _serving(registry):
            with _asked_to_stop(long_work.let_go):
                yield {STATE: _connection_limits(app.state.settings)}
    finally:
        await anyio.to_thread.run_sync(access.stop)
        await anyio.to_thread.run_sync(long_work.stop)
        _log.info("service stopped")


@contextmanager
def _asked_to_stop(tell: Callable[[], None]) -> Iterator[None]:
    """Tell when the process gets the signal to stop: the server, which has its own handlers, says so only later.

    It waits for every answer that it owes, and a stream of events, or a request that waits for a job, may owe one for
    as long as the job takes.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    if threading.current_thread() is not threading.main_thread() or not all(map(callable, before.values())):
        yield
        return

    loop = asyncio.get_running_loop()

    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(tell)  # not here: what it locks may be held by the very code that was interrupted
        cast("Callable[[int, FrameType | None], None]", before[signal.Signals(number)])(number, frame)

    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@asynccontextmanager
async def _serving(registry: ModelRegistry) -> AsyncIterator[None]:
    await anyio.to_thread.run_sync(registry.start)
    # What was loaded stays: the collector need not walk through it again and again while requests wait.
    gc.collect()
    gc.freeze()
    _log.info("service started", version=__version__, models=len(registry.status()))
    try:
        yield
    finally:
        await anyio.to_thread.run_sync(registry.stop)


def open_registry(settings: Settings) -> ModelRegistry:
    """Open the model store that the settings name."""
    return Registry(ModelStore(settings.model_store), poll_s=settings.registry_poll_s)


def open_access(settings: Settings) -> Access:
    """Set up who may do what, as the settings say."""
    everything = caller_with("single-user", Scope)
    single = settings.single_user_key
    return Access(
        fixed={single.get_secret_value(): everything} if single else {},
        operator=settings.admin_key.get_secret_value() if settings.admin_key else None,
        keys=KeyFile(settings.keys_file),
        tokens=_open_tokens(settings) if settings.oidc_issuer else None,
        anonymous=Anonymous(always=settings.allow_anonymous, without_keys=settings.serves_this_machine_only),
    )


def _open_tokens(settings: Settings) -> ProviderTokens:
    from app.api.token_fetch import fetched

    scopes = scopes_from(settings.oidc_scopes)
    provider = Provider(settings.oidc_issuer, settings.oidc_audience, settings.oidc_claim, scopes)
    return ProviderTokens(provider, fetched)


def open_jobs(settings: Settings, metrics: Metrics) -> Jobs:
    """Set up long work as the settings say."""

    def count(record: JobRecord) -> None:
        metrics.observe_finished_job(record.kind, record.state)

    options = EngineOptions(
        workers=settings.job_workers,
        devices=tuple(filter(None, settings.job_devices.split(","))),
        max_attempts=settings.job_max_attempts,
        max_job_s=settings.job_max_s,
        retention_s=settings.job_retention_s,
        log_level=settings.log_level,
        log_format=settings.log_format,
    )
    kinds = kinds_of(settings)
    engine = DaskEngine(kinds, options, settings.dask_scheduler) if settings.dask_scheduler else None
    limits = {"max_queued": settings.job_queue, "max_of_owner": settings.max_jobs_per_key}
    return Jobs(settings.jobs_database, kinds, options, on_finished=count, engine=engine, **limits)


def kinds_of(settings: Settings) -> dict[str, Kind]:
    """The table of jobs; those that take models from the store are told where it is."""
    store = str(settings.model_store.absolute())
    return {name: replace(kind, place=store) if name in WITH_MODELS else kind for name, kind in KINDS.items()}
