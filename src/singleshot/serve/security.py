"""Who may call: a page of another site may not, even where the browser runs on this machine.

A server on loopback is open to every page that its user's browser shows. Two checks close that. The name in `Host`
must be one of ours, because a hostile site can point its own name at 127.0.0.1 (DNS rebinding); an address in numbers
cannot be rebound and is fine. `Origin`, where a browser sends it, must be the same place. Beyond loopback a token is
asked for as well. Every response forbids the page to load or run what did not come from here.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from singleshot.serve.refusal import RawHeaders, Refusal
from singleshot.serve.settings import Settings

REQUEST_ID = "singleshot.request_id"
PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/server.js": ("server.js", "text/javascript; charset=utf-8"),
    "/sources.js": ("sources.js", "text/javascript; charset=utf-8"),
    "/view.js": ("view.js", "text/javascript; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
}
"""The page's parts: the file and the type of each address. They hold nothing secret."""
OPEN_PATHS = {*PAGE, "/healthz"}
"""What a caller without a token may see."""
_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: RawHeaders = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(self), microphone=(), geolocation=()"),
]


class Gate:
    """ASGI: refuses strangers, numbers the requests, and puts the security headers on every response."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings
        self._names = {"localhost", settings.host.lower(), *(name.lower() for name in settings.allowed_hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope[REQUEST_ID] = request_id = secrets.token_hex(6)
        own = [*_HEADERS, (b"x-request-id", request_id.encode())]

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *own]}
            await send(message)

        try:
            self._check(scope)
        except Refusal as refusal:
            headers = refusal.response_headers(request_id)
            await sending({"type": "http.response.start", "status": refusal.status, "headers": headers})
            await sending({"type": "http.response.body", "body": refusal.body(request_id)})
            return
        await self._app(scope, receive, sending)

    def _check(self, scope: Scope) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        if not self._is_ours(host):
            raise Refusal(
                421, "unknown-host", "This server does not go by that name. It may be added with --allow-host."
            )
        origin = headers.get(b"origin")
        if origin is not None and _place(origin.decode("latin-1")) != host.lower():
            raise Refusal(403, "foreign-origin", "Pages of other sites may not call this server.")
        token = self._settings.token
        if token is not None and scope["path"] not in OPEN_PATHS:
            shown = headers.get(b"authorization", b"")
            if not hmac.compare_digest(shown, b"Bearer " + token.encode()):
                challenge = (b"www-authenticate", b"Bearer")
                raise Refusal(401, "no-token", "Send the header Authorization: Bearer TOKEN.", headers=[challenge])

    def _is_ours(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _place(origin: str) -> str | None:
    """Host and port of an origin in small letters; None for what is no address."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None
