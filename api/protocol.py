"""The HTTP/1.1 protocol of uvicorn, refusing what is no HTTP in the contract's envelope (rule 7).

It also bounds what lies before the application: uvicorn waits for a head as long as its client likes, and
keeps as much of it as comes. Bodies are waited for in `api.edge`.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from api.errors import raw_answer
from api.limits import ApiLimits
from runs.ids import new_id
from runs.refusal import Refusal

WHOLE = "body_is_whole"
"""The entry of a request's state that says that its body is here: nobody needs a timer to wait for it."""


class EnvelopeProtocol(HttpToolsProtocol):
    """What the parser refuses never reaches the application, so the answer is written here.

    A request that arrives whole costs no timer. One is set when a connection is made, and when bytes have
    come that make no head whole, and it is not set back by further bytes.
    """

    limits: ClassVar[ApiLimits] = ApiLimits()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._got_on = False
        """Whether what came last made a head whole, or more of a body."""
        self._idle_bytes = 0
        """What came since then: of a head not yet whole, or beside a body (trailers)."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first head."""
        super().connection_made(cast("asyncio.Transport", transport))
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what arrived; look closer only when it did not end with a whole request."""
        super().data_received(data)
        cycle = self._served
        if self._in_head or cycle is None or cycle.response_complete or cycle.more_body:
            self._not_whole(len(data))

    def on_message_begin(self) -> None:
        """A head begins."""
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._in_head, self._got_on = False, True
        self._stop_waiting()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._got_on = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The body is whole: say so to `api.edge`."""
        self.scope.setdefault("state", {})[WHOLE] = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """400 `invalid_request`, and the connection closes: where the next request begins is unknown."""
        self._refuse(Refusal("invalid_request", msg))

    def _not_whole(self, size: int) -> None:
        """Bound what came: in bytes always, in time where no request is being served."""
        if (
            self.transport.is_closing() or self.transport.get_protocol() is not self
        ):  # refused, or a WebSocket
            return
        self._idle_bytes = 0 if self._got_on else self._idle_bytes + size
        self._got_on = False
        cycle, most = self._served, self.limits.head_bytes_max
        is_served = cycle is not None and not cycle.response_complete
        if self._idle_bytes > most:
            if cycle is not None and cycle.response_started and is_served:  # no answer inside an answer
                self.transport.close()
            else:
                self.send_400_response(f"The request's headers are longer than {most} bytes. Send fewer.")
        elif not is_served and self._head_timer is None:
            self._wait_for_head()

    @property
    def _served(self) -> RequestResponseCycle | None:
        """The newest request and its answer; uvicorn's own type leaves out that there may be none yet."""
        return cast("RequestResponseCycle | None", self.cycle)

    def _wait_for_head(self) -> None:
        self._head_timer = self.loop.call_later(self.limits.head_s, self._head_is_late)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        """408 in the middle of a head. Where none has begun nothing was asked, and nothing is answered."""
        self._head_timer = None
        if self.transport.is_closing():
            return
        if self._in_head:
            most_s = self.limits.head_s
            self._refuse(
                Refusal("request_timeout", f"The request's head did not come within {most_s:g} s. Try again.")
            )
        else:
            self.transport.close()

    def _refuse(self, refusal: Refusal) -> None:
        self.transport.write(raw_answer(refusal, new_id("req")))
        self.transport.close()


def protocol_with(limits: ApiLimits) -> type[EnvelopeProtocol]:
    """The protocol with these limits: uvicorn makes one for each connection by itself."""
    return type("EnvelopeProtocol", (EnvelopeProtocol,), {"limits": limits})
