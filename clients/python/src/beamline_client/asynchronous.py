"""The asynchronous client, for asyncio and Trio."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from functools import wraps
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

import anyio
import httpx

from beamline_client.calls import aggregates as counting
from beamline_client.calls import indexing, jobs, polarization, store
from beamline_client.calls import waveform as scatters
from beamline_client.connection import Options, Token, options
from beamline_client.flow import LAST_WISH_S, OK, Action, Flow, Open, Read, Send, Service, Sleep, Tell
from beamline_client.retry import Retry

if TYPE_CHECKING:
    from typing_extensions import Self

P = ParamSpec("P")
R = TypeVar("R")


class _Runs(Protocol):
    async def run_flow(self, flow: Callable[[Service], Flow[R]]) -> R: ...
    def iterate_flow(self, flow: Callable[[Service], Flow[R]]) -> AsyncGenerator[R, None]: ...


def _method(
    flow: Callable[Concatenate[Service, P], Flow[R]],
) -> Callable[Concatenate[_Runs, P], Coroutine[Any, Any, R]]:
    """The method of a client that runs a flow to its end."""

    @wraps(flow)
    async def method(self: _Runs, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await self.run_flow(lambda service: flow(service, *args, **kwargs))

    return method


def _iterator(
    flow: Callable[Concatenate[Service, P], Flow[R]],
) -> Callable[Concatenate[_Runs, P], AsyncGenerator[R, None]]:
    """The method of a client that iterates over what a flow tells."""

    @wraps(flow)
    def method(self: _Runs, /, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[R, None]:
        return self.iterate_flow(lambda service: flow(service, *args, **kwargs))

    return method


class _Wire:
    """Does the actions of one flow."""

    def __init__(self, http: httpx.AsyncClient, settings: Options) -> None:
        self._http = http
        self._settings = settings
        self._opened: httpx.Response | None = None
        self._chunks: AsyncIterator[bytes] | None = None
        self.value: Any = None

    async def do(self, action: Action) -> Any:
        if isinstance(action, Send):
            return await self._send(action)
        if isinstance(action, Sleep):
            return await anyio.sleep(action.seconds)
        if isinstance(action, Open):
            return await self._open(action)
        if isinstance(action, Read):
            return None if self._chunks is None else await anext(self._chunks, None)
        raise TypeError(f"nobody listens to {action}")

    async def _send(self, action: Send) -> httpx.Response | None:
        request = self._http.build_request(**self._settings.arguments(action.request))
        if not action.last_wish:
            return await self._http.send(request)
        with anyio.move_on_after(LAST_WISH_S, shield=True):
            return await self._http.send(request)
        return None

    async def _open(self, action: Open) -> httpx.Response:
        await self.close()
        request = self._http.build_request(**self._settings.arguments(action.request))
        self._opened = response = await self._http.send(request, stream=True)
        if response.status_code != OK:
            await response.aread()
        self._chunks = response.aiter_bytes()
        return response

    async def close(self) -> None:
        if self._opened is not None:
            with anyio.CancelScope(shield=True):
                await self._opened.aclose()
            self._opened = None


class _Runner:
    def __init__(self, http: httpx.AsyncClient, settings: Options) -> None:
        self._http = http
        self._settings = settings

    async def _told(self, running: Flow[Any], wire: _Wire) -> AsyncGenerator[Any, None]:
        """What a flow tells; what it returns is the value of the wire."""
        try:
            action = next(running)
            while True:
                if isinstance(action, Tell):
                    yield action.value
                    action = running.send(None)
                    continue
                try:
                    outcome = await wire.do(action)
                except BaseException as error:
                    action = running.throw(error)
                else:
                    action = running.send(outcome)
        except StopIteration as end:
            wire.value = end.value
        finally:
            running.close()
            await wire.close()

    def iterate_flow(self, flow: Callable[[Service], Flow[R]]) -> AsyncGenerator[R, None]:
        return self._told(flow(self._settings.service), _Wire(self._http, self._settings))

    async def run_flow(self, flow: Callable[[Service], Flow[R]]) -> R:
        wire = _Wire(self._http, self._settings)
        async for told in self._told(flow(self._settings.service), wire):
            raise TypeError(f"a flow that tells is iterated: {told}")
        return wire.value


class AsyncJobs(_Runner):
    """Long work of an asynchronous client."""

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


class AsyncClient(_Runner):
    """The asynchronous client of a service; the arguments are those of `Client`, with an `httpx.AsyncClient`.

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
        http: httpx.AsyncClient | None = None,
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
        super().__init__(http or httpx.AsyncClient(**settings.http()), settings)
        self._owns = http is None
        self.jobs = AsyncJobs(self._http, settings)

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

    async def aclose(self) -> None:
        """Close the connections."""
        if self._owns:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._settings.url!r})"
