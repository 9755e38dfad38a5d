"""The blocking client."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import wraps
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

import httpx

from beamline_client.calls import aggregates as counting
from beamline_client.calls import indexing, jobs, polarization, store
from beamline_client.calls import waveform as scatters
from beamline_client.connection import Options, Token, options
from beamline_client.flow import OK, Action, Flow, Open, Read, Send, Service, Sleep, Tell
from beamline_client.retry import Retry

if TYPE_CHECKING:
    from typing_extensions import Self

P = ParamSpec("P")
R = TypeVar("R")


class _Runs(Protocol):
    def run_flow(self, flow: Callable[[Service], Flow[R]]) -> R: ...
    def iterate_flow(self, flow: Callable[[Service], Flow[R]]) -> Iterator[R]: ...


def _method(flow: Callable[Concatenate[Service, P], Flow[R]]) -> Callable[Concatenate[_Runs, P], R]:
    """The method of a client that runs a flow to its end."""

    @wraps(flow)
    def method(self: _Runs, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.run_flow(lambda service: flow(service, *args, **kwargs))

    return method


def _iterator(flow: Callable[Concatenate[Service, P], Flow[R]]) -> Callable[Concatenate[_Runs, P], Iterator[R]]:
    """The method of a client that iterates over what a flow tells."""

    @wraps(flow)
    def method(self: _Runs, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[R]:
        return self.iterate_flow(lambda service: flow(service, *args, **kwargs))

    return method


class _Wire:
    """Does the actions of one flow."""

    def __init__(self, http: httpx.Client, settings: Options) -> None:
        self._http = http
        self._settings = settings
        self._opened: httpx.Response | None = None
        self._chunks: Iterator[bytes] = iter(())

    def do(self, action: Action) -> Any:
        if isinstance(action, Send):
            return self._http.send(self._http.build_request(**self._settings.arguments(action.request)))
        if isinstance(action, Sleep):
            return time.sleep(action.seconds)
        if isinstance(action, Open):
            return self._open(action)
        if isinstance(action, Read):
            return next(self._chunks, None)
        raise TypeError(f"nobody listens to {action}")

    def _open(self, action: Open) -> httpx.Response:
        self.close()
        request = self._http.build_request(**self._settings.arguments(action.request))
        self._opened = response = self._http.send(request, stream=True)
        if response.status_code != OK:
            response.read()
        self._chunks = response.iter_bytes()
        return response

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None


class _Runner:
    def __init__(self, http: httpx.Client, settings: Options) -> None:
        self._http = http
        self._settings = settings

    def iterate_flow(self, flow: Callable[[Service], Flow[R]]) -> Iterator[R]:
        wire, running = _Wire(self._http, self._settings), flow(self._settings.service)
        try:
            action = next(running)
            while True:
                if isinstance(action, Tell):
                    yield action.value
                    action = running.send(None)
                    continue
                try:
                    outcome = wire.do(action)
                except BaseException as error:
                    action = running.throw(error)
                else:
                    action = running.send(outcome)
        except StopIteration as end:
            return end.value
        finally:
            running.close()
            wire.close()

    def run_flow(self, flow: Callable[[Service], Flow[R]]) -> R:
        steps = self.iterate_flow(flow)
        try:
            next(steps)
        except StopIteration as end:
            return end.value
        raise TypeError("a flow that tells is iterated")


class Jobs(_Runner):
    """Long work of a blocking client."""

    submit_solve = _method(jobs.submit_solve)
    submit_solve_file = _method(jobs.submit_solve_file)
    submit_solve_batch = _method(jobs.submit_solve_batch)
    submit_solve_files = _method(jobs.submit_solve_files)
    get = _method(jobs.get)
    list = _method(jobs.show)
    cancel = _method(jobs.cancel)
    wait = _method(jobs.wait)
    events = _iterator(jobs.events)
    result = staticmethod(jobs.result)


class Client(_Runner):
    """The blocking client of a service; may be used by many threads.

    Args:
        url: address of the service, with the path under which a proxy publishes it. Left out: the variable
            ``BEAMLINE_URL``, else ``http://127.0.0.1:8000``.
        api_key: left out: the variable ``BEAMLINE_API_KEY``; without one no key is sent.
        token: a bearer token in place of the key, or a function that gives the present one.
        timeout_s: longest silence of the service [s]. Searches may take longer: they are followed.
        connect_s: longest time until there is a connection [s].
        connections: most of them at a time.
        retry: how often and how patiently requests are sent again.
        http: a client of httpx to use, with proxies, certificates or a transport of yours; it is not closed here.

    Raises:
        ValueError: the address is none, or the key holds what no header may.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        token: Token | None = None,
        timeout_s: float = 60.0,
        connect_s: float = 5.0,
        connections: int = 20,
        retry: Retry | None = None,
        http: httpx.Client | None = None,
    ) -> None:
        settings = options(
            url,
            api_key=api_key,
            token=token,
            timeout_s=timeout_s,
            connect_s=connect_s,
            connections=connections,
            retry=retry,
        )
        super().__init__(http or httpx.Client(**settings.http()), settings)
        self._owns = http is None
        self.jobs = Jobs(self._http, settings)

    predict_polarization = _method(polarization.predict_polarization)
    predict_polarization_file = _method(polarization.predict_polarization_file)
    solve = _method(indexing.solve)
    solve_file = _method(indexing.solve_file)
    solve_batch = _method(indexing.solve_batch)
    solve_files = _method(indexing.solve_files)
    find_peaks = _method(indexing.find_peaks)
    waveform = _method(scatters.waveform)
    waveform_file = _method(scatters.waveform_file)
    aggregates = _method(counting.aggregates)
    aggregates_file = _method(counting.aggregates_file)
    models = _method(store.models)
    model = _method(store.model)
    model_version = _method(store.model_version)
    health = _method(store.health)
    request = _method(store.request)

    def close(self) -> None:
        """Close the connections."""
        if self._owns:
            self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._settings.url!r})"
