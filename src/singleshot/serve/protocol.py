"""HTTP at the socket: refuses heads that are too long or ambiguous, and closes connections that make no progress.

uvicorn keeps a connection open for as long as its client takes to send a head, to send a body or to read a response; a
few hundred such clients lock everyone else out. Here each connection is checked every few seconds: a client that has
neither finished its current phase nor transferred a minimum of bytes since the last check gets 408 and is disconnected.
The subclass changes uvicorn's h11 protocol only through methods that it may override.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from singleshot.serve.messages import Refusal, busy
from singleshot.serve.settings import LINGER_BYTES, LINGER_S, Settings

MAX_HEAD_BYTES = 16 * 1024
MAX_TARGET_BYTES = 4 * 1024
DRAIN_GRACE_S = 0.5
"""A stopping server keeps idle connections open this long: a request may be in transit."""
_BAD_HEADS = {
    414: ("too-long-address", "The address is too long."),
    431: ("too-long-head", "The request line and headers are too long."),
}
_LENGTHS = re.compile(rb"(?im)^content-length[ \t]*:")


class StrictConnection(h11.Connection):
    """h11's request parser, which also refuses requests that another server might parse differently.

    Attributes:
        refused: why the last request was refused.
    """

    refused: h11.RemoteProtocolError | None = None

    def next_event(self) -> Any:
        """Return h11's next event. Raises RemoteProtocolError with the status in `error_status_hint`."""
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
    if len(head) > MAX_HEAD_BYTES:  # h11 checks only heads that arrive in pieces
        raise h11.RemoteProtocolError("the head is too long", error_status_hint=431)
    names = [name for name, _ in request.headers]
    # RFC 9112, 6.1 and 6.3: a request whose length can be parsed in two ways smuggles in a second one.
    if (b"content-length" in names and b"transfer-encoding" in names) or len(_LENGTHS.findall(head)) > 1:
        raise h11.RemoteProtocolError("the body has two lengths", error_status_hint=400)


@dataclass(frozen=True)
class _Progress:
    """A client's progress at one check: its phase, its request, bytes received, and bytes it has yet to read."""

    phase: Literal["new", "head", "body", "waiting", "response"]
    request: object
    received: int
    unread: int


class LimitedProtocol(H11Protocol):
    """uvicorn's connection with limits on size and time. `limited_protocol` binds the settings."""

    settings: Settings = Settings()
    on_refused: Callable[[int], None] = staticmethod(lambda status: None)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.conn = self._strict = StrictConnection(h11.SERVER, MAX_HEAD_BYTES)
        self._timer: asyncio.TimerHandle | None = None
        self._last_check = _Progress("new", None, 0, 0)
        self._received = 0
        self._closing_at: int | None = None
        self._draining = False

    def connection_made(self, transport: Any) -> None:
        """Start the checks, or refuse the connection if there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.settings.max_connections:
            self.refuse(busy("Too many connections are open.", self.settings.retry_after_s, "too-many-connections"))
            return
        self._last_check = self._progress()
        self._timer = self.loop.call_later(self.settings.window_s, self._check)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the checks."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Process bytes of a request."""
        self._received += len(data)
        if self._closing_at is not None:
            if self._received - self._closing_at > LINGER_BYTES:
                self.transport.abort()
            return
        super().data_received(data)
        if self._draining and self.cycle is not None:
            self.cycle.keep_alive = False

    def send_400_response(self, msg: str) -> None:
        """Refuse a request whose head is wrong, with the most specific status."""
        status = 400 if self._strict.refused is None else self._strict.refused.error_status_hint
        code, message = _BAD_HEADS.get(status, ("bad-request", "This is not valid HTTP/1.1."))
        self.refuse(Refusal(status, code, message))

    def refuse(self, refusal: Refusal) -> None:
        """Send an error response without the application, and close the connection."""
        if not self._is_idle():
            self.cycle.disconnected = True  # the application finds its client disconnected
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            request_id = secrets.token_hex(6)
            own = [(b"x-request-id", request_id.encode()), (b"connection", b"close")]
            headers = [*refusal.response_headers(request_id), *own]
            reason = HTTPStatus(refusal.status).phrase
            response = h11.Response(status_code=refusal.status, headers=headers, reason=reason)
            self.transport.write(self.conn.send(response) or b"")
            self.transport.write(self.conn.send(h11.Data(data=refusal.body(request_id))) or b"")
            self.on_refused(refusal.status)
        self._close_lingering()

    def _close_lingering(self) -> None:
        """Send nothing more, and read a moment longer: closing on unread bytes would reset the response away."""
        self._closing_at = self._received
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(LINGER_S, self.transport.abort)
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()
            self.flow.resume_reading()
        else:
            self.transport.close()

    def shutdown(self) -> None:
        """Drain: finish the current request, and one that is in transit."""
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

    def _progress(self) -> _Progress:
        unread = self.transport.get_write_buffer_size()
        if unread:
            phase = "response"
        elif self.conn.their_state is h11.SEND_BODY and not self.flow.read_paused:
            phase = "body"
        else:
            phase = "head" if self.conn.their_state is h11.IDLE else "waiting"
        return _Progress(phase, self.cycle, self._received, unread)

    def _check(self) -> None:
        """Disconnect a client that is in the same phase as one window ago and has transferred too little since."""
        before, now = self._last_check, self._progress()
        self._last_check = now
        moved = {"response": before.unread - now.unread, "body": now.received - before.received, "head": 0}
        same = before.phase == now.phase and before.request is now.request
        if now.phase == "waiting" or not same or moved[now.phase] >= self.settings.window_bytes:
            self._timer = self.loop.call_later(self.settings.window_s, self._check)
        elif now.phase == "response" or self.transport.is_closing():
            self.transport.abort()
        elif now.phase == "head" and not self.conn.trailing_data[0]:
            self.transport.close()  # it sends no request
        else:
            self.refuse(Refusal(408, "too-slow", "The request was sent too slowly."))


def limited_protocol(settings: Settings, on_refused: Callable[[int], None]) -> type[LimitedProtocol]:
    """Make a protocol class with these settings; uvicorn creates an instance for each connection.

    Args:
        settings: the limits.
        on_refused: called with the status of each response that bypasses the application.
    """
    return type("Limited", (LimitedProtocol,), {"settings": settings, "on_refused": staticmethod(on_refused)})
