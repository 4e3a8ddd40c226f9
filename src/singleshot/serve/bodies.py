"""A request's body, no larger than agreed: refused before it is read where it says so itself, at the cap otherwise.

A refused body is not simply left in the socket: closing on unread bytes resets the connection, and the client would
see that instead of the reason. `Lingering` sends the answer first, then reads on for a moment, keeps none of it, and
hangs up.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from singleshot.serve.protocol import LINGER_BYTES, LINGER_S
from singleshot.serve.refusal import Refusal, busy
from singleshot.serve.settings import Settings


class Held:
    """How many bytes of bodies the server holds, over all requests."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.count = 0

    @contextlib.asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """The whole body, counted for as long as it is held.

        Raises:
            Refusal: it is larger than one may be (413), or there is no room for it now (503).
            ClientDisconnect: the client went away.
        """
        taken = 0
        try:
            chunks: list[bytes] = []
            self._check_declared(request)
            async for chunk in request.stream():
                taken, self.count = taken + len(chunk), self.count + len(chunk)
                self._check(taken)
                chunks.append(chunk)
            whole = b"".join(chunks)
            chunks.clear()  # or it would be held twice, and counted once
            yield whole
        finally:
            self.count -= taken

    def _check_declared(self, request: Request) -> None:
        declared = request.headers.get("content-length", "0")
        self._check(int(declared) if declared.isascii() and declared.isdigit() else 0)

    def _check(self, size: int) -> None:
        most = self._settings.max_body_bytes
        if size > most:
            raise Refusal(413, "too-large-body", f"The body is larger than {most / 2**20:g} MiB.")
        if self.count > self._settings.max_held_bytes:
            raise busy("Too many uploads are under way.", self._settings.retry_after_s)


class Lingering:
    """ASGI: an answer that goes out before its request has come in hangs up, and not on the answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        names = {name for name, _ in scope["headers"]}
        unread = (
            bool(names & {b"content-length", b"transfer-encoding"})
            and (b"content-length", b"0") not in scope["headers"]
        )
        early = False

        async def reading() -> Message:
            nonlocal unread
            message = await receive()
            unread = unread and message.get("more_body", False)
            return message

        async def sending(message: Any) -> None:
            nonlocal early
            if message["type"] == "http.response.start" and unread:
                early = True
                message = {**message, "headers": [*message.get("headers", []), (b"connection", b"close")]}
            if early and message["type"] == "http.response.body" and not message.get("more_body", False):
                await send({**message, "more_body": True})
                await _swallow(receive)
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        await self._app(scope, reading, sending)


async def _swallow(receive: Receive) -> None:
    """Read a body and keep none of it, up to a point."""
    seen = 0
    with contextlib.suppress(TimeoutError, ClientDisconnect):
        async with asyncio.timeout(LINGER_S):
            while seen < LINGER_BYTES:
                message = await receive()
                seen += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return
