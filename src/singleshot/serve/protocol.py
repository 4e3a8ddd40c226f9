"""HTTP at the socket: heads that are too long or ambiguous are refused, and nobody may hold a connection for nothing.

uvicorn leaves a connection open for as long as its client takes to send a head, to send a body or to read an answer;
some hundred such clients are enough to shut everybody else out. Here each connection is looked at every few seconds:
a client that has neither finished what it is at nor moved a fair number of bytes since the last look is told so (408)
and let go. The subclass touches uvicorn's h11 protocol only where it has a method to override.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from singleshot.serve.refusal import Refusal, busy
from singleshot.serve.settings import Settings

MAX_HEAD_BYTES = 16 * 1024
MAX_TARGET_BYTES = 4 * 1024
LINGER_S, LINGER_BYTES = 1.0, 2**20
"""How long, and over how many bytes, a refused client may go on before the connection is cut."""
DRAIN_GRACE_S = 0.5
"""A stopping server leaves idle connections open this long: a request may be on its way."""
_BAD_HEADS = {
    414: ("too-long-address", "The address is too long."),
    431: ("too-long-head", "The head of the request is too long."),
}
_LENGTHS = re.compile(rb"(?im)^content-length[ \t]*:")


class StrictConnection(h11.Connection):
    """h11's reader of requests, which also refuses what another server might read as something else.

    Attributes:
        refused: why the last request was not read.
    """

    refused: h11.RemoteProtocolError | None = None

    def next_event(self) -> Any:
        """As h11's own. Raises RemoteProtocolError with the status in `error_status_hint`."""
        head = self.trailing_data[0].partition(b"\r\n\r\n")[0] if self.their_state is h11.IDLE else b""
        try:
            event = super().next_event()
            if isinstance(event, h11.Request):
                _check_head(event, head)
        except h11.RemoteProtocolError as error:
            self.refused = error
            if error.error_status_hint == 431 and b"\n" not in head:
                self.refused = h11.RemoteProtocolError("the address is too long", error_status_hint=414)
            raise
        return event


def _check_head(request: h11.Request, head: bytes) -> None:
    if len(request.target) > MAX_TARGET_BYTES:
        raise h11.RemoteProtocolError("the address is too long", error_status_hint=414)
    if len(head) > MAX_HEAD_BYTES:  # h11 looks at heads that come in pieces only
        raise h11.RemoteProtocolError("the head is too long", error_status_hint=431)
    names = [name for name, _ in request.headers]
    # RFC 9112, 6.1 and 6.3: a request whose length can be read in two ways smuggles a second one in.
    if (b"content-length" in names and b"transfer-encoding" in names) or len(_LENGTHS.findall(head)) > 1:
        raise h11.RemoteProtocolError("the body has two lengths", error_status_hint=400)


@dataclass(frozen=True)
class _Look:
    """What a client was at when it was looked at: which request, how far, and what it has yet to read."""

    at: str
    request: object
    received: int
    unread: int


class GuardedProtocol(H11Protocol):
    """uvicorn's connection with a watch on it. `guarded` binds the settings."""

    settings: Settings = Settings()
    on_refused: Callable[[int], None] = staticmethod(lambda status: None)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.conn = self._strict = StrictConnection(h11.SERVER, MAX_HEAD_BYTES)
        self._watch: asyncio.TimerHandle | None = None
        self._last_look = _Look("new", None, 0, 0)
        self._received = 0
        self._hung_up_at: int | None = None
        self._draining = False

    def connection_made(self, transport: Any) -> None:
        """Count the client in, or tell it that there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.settings.max_connections:
            self.refuse(busy("Too many connections are open.", self.settings.retry_after_s, "too-many-connections"))
            return
        self._last_look = self._look()
        self._watch = self.loop.call_later(self.settings.window_s, self._check)

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the watch off."""
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of a request."""
        self._received += len(data)
        if self._hung_up_at is not None:
            if self._received - self._hung_up_at > LINGER_BYTES:
                self.transport.abort()
            return
        super().data_received(data)
        if self._draining and self.cycle is not None:
            self.cycle.keep_alive = False

    def send_400_response(self, msg: str) -> None:
        """Say what is wrong with the head, with the status that says it best."""
        status = 400 if self._strict.refused is None else self._strict.refused.error_status_hint
        code, said = _BAD_HEADS.get(status, ("bad-request", "That is not valid HTTP/1.1."))
        self.refuse(Refusal(status, code, said))

    def refuse(self, refusal: Refusal) -> None:
        """Answer from here, without the application, and hang up."""
        if not self._is_idle():
            self.cycle.disconnected = True  # the application finds its client gone
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            headers = [*refusal.response_headers(), (b"connection", b"close")]
            reason = HTTPStatus(refusal.status).phrase
            response = h11.Response(status_code=refusal.status, headers=headers, reason=reason)
            self.transport.write(self.conn.send(response) or b"")
            self.transport.write(self.conn.send(h11.Data(data=refusal.body())) or b"")
            self.on_refused(refusal.status)
        self._hang_up()

    def _hang_up(self) -> None:
        """Say no more, and listen a moment longer: closing on unread bytes would take the answer back (a reset)."""
        self._hung_up_at = self._received
        if self._watch is not None:
            self._watch.cancel()
        self._watch = self.loop.call_later(LINGER_S, self.transport.abort)
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()
            self.flow.resume_reading()
        else:
            self.transport.close()

    def shutdown(self) -> None:
        """The server stops: finish what is under way, and what is on its way already."""
        self._draining = True
        if self._is_idle():
            self.loop.call_later(DRAIN_GRACE_S, self._close_if_idle)
        else:
            self.cycle.keep_alive = False

    def _close_if_idle(self) -> None:
        if self._is_idle() and not self.transport.is_closing():
            self.transport.close()

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _look(self) -> _Look:
        unread = self.transport.get_write_buffer_size()
        if unread:
            at = "answer"
        elif self.conn.their_state is h11.SEND_BODY and not self.flow.read_paused:
            at = "body"
        else:
            at = "head" if self.conn.their_state is h11.IDLE else "waiting"
        return _Look(at, self.cycle, self._received, unread)

    def _check(self) -> None:
        """Let go of a client that is at the same thing as one window ago and has moved too little since."""
        before, now = self._last_look, self._look()
        self._last_look = now
        moved = {"answer": before.unread - now.unread, "body": now.received - before.received, "head": 0}
        same = before.at == now.at and before.request is now.request
        if now.at == "waiting" or not same or moved[now.at] >= self.settings.window_bytes:
            self._watch = self.loop.call_later(self.settings.window_s, self._check)
        elif now.at == "answer" or self.transport.is_closing():
            self.transport.abort()
        elif now.at == "head" and not self.conn.trailing_data[0]:
            self.transport.close()  # it has nothing to ask
        else:
            self.refuse(Refusal(408, "too-slow", "The request came too slowly."))


def guarded(settings: Settings, on_refused: Callable[[int], None]) -> type[GuardedProtocol]:
    """The protocol with those settings; uvicorn makes one object of it for each connection.

    Args:
        settings: the limits.
        on_refused: is told the status of each response that the application never sees.
    """
    return type("Guarded", (GuardedProtocol,), {"settings": settings, "on_refused": staticmethod(on_refused)})
