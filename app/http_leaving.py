"""Uvicorn's HTTP protocol, with time to leave for those who keep a connection.

Uvicorn closes kept connections in the moment in which it is asked to end; the request that is under way on one is lost.
Here the next request is still answered, with `Connection: close`, so that its client opens a connection to who takes
over; those on which nothing comes are closed a little later.
"""

from __future__ import annotations

from typing import Final

from app.http_limits import LimitedProtocol

LEAVING_S: Final = 0.5
"""How long a kept connection may still bring a request; a client in a loop asks more often."""


class LeavingProtocol(LimitedProtocol):
    """An HTTP/1.1 connection that ends between two requests."""

    _leaving = False

    def shutdown(self) -> None:
        """Called by the server when it is asked to end."""
        self._leaving = True
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(LEAVING_S, self._leave)
        else:
            self.cycle.keep_alive = False

    def _leave(self) -> None:
        # One that sends its request right now is let finish; it has as long for it as at any other time.
        if (self.cycle is None or self.cycle.response_complete) and not self._framing:
            self.transport.close()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if self._leaving and self.cycle is not None:
            self.cycle.keep_alive = False
