"""Access control: pages of other sites may not call the server, even from a browser on this machine.

A server on loopback is reachable from every page that its user's browser opens. Two checks prevent that. The name in
`Host` must be one of ours, because a hostile site can point its own name at 127.0.0.1 (DNS rebinding); a numeric
address cannot be rebound and is allowed. `Origin`, where a browser sends it, must be the same host and port. Beyond
loopback a token is required as well. Every response forbids the page to load or run anything from elsewhere.
Pages of the origins in `cors_origins` are an exception to the second check, and are told so as CORS wants it. Behind a
proxy that terminates TLS, `public_url` is the origin of our own page, whether or not the proxy passes `Host` on.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from singleshot.serve.messages import RawHeaders, Refusal
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
"""File and media type of each path of the page. They contain nothing secret."""
OPEN_PATHS = {*PAGE, "/healthz"}
"""Paths that need no token."""
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


_PREFLIGHT: RawHeaders = [
    (b"access-control-allow-methods", b"GET, POST"),
    (b"access-control-allow-headers", b"Authorization, Content-Type"),
    (b"access-control-allow-private-network", b"true"),
    (b"access-control-max-age", b"600"),
]
"""What a browser may send from a page of an allowed origin."""


class AccessControl:
    """ASGI middleware: checks host, origin and token, numbers requests, adds the security headers to every response."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings
        self._names = {"localhost", settings.host.lower(), *(name.lower() for name in settings.allowed_hosts)}
        self._public = settings.public_url
        if self._public is not None:
            self._names.add(urlsplit(self._public).hostname or "")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope[REQUEST_ID] = request_id = secrets.token_hex(6)
        own = [*_HEADERS, (b"x-request-id", request_id.encode())]
        origin = dict(scope["headers"]).get(b"origin", b"").decode("latin-1")
        if self._settings.cors_origins:
            own.append((b"vary", b"Origin"))
        if origin in self._settings.cors_origins:
            own = [each for each in own if each[0] != b"cross-origin-resource-policy"] + _cors_headers(origin)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *own]}
            await send(message)

        try:
            self._check(scope)
        except Refusal as refusal:
            headers = refusal.response_headers(request_id)
            await send_with_headers({"type": "http.response.start", "status": refusal.status, "headers": headers})
            await send_with_headers({"type": "http.response.body", "body": refusal.body(request_id)})
            return
        if origin in self._settings.cors_origins and scope["method"] == "OPTIONS":
            await send_with_headers({"type": "http.response.start", "status": 204, "headers": _PREFLIGHT})
            await send_with_headers({"type": "http.response.body", "body": b""})
            return
        await self._app(scope, receive, send_with_headers)

    def _check(self, scope: Scope) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        if not self._is_allowed_host(host):
            message = "This server does not accept this host name. Use one that its operator allows."
            raise Refusal(421, "unknown-host", message)
        if b"origin" in headers:
            origin = headers[b"origin"].decode("latin-1")
            if origin in self._settings.cors_origins:
                if scope["method"] == "OPTIONS":
                    return  # a browser asks without the token whether it may send it
            elif origin != self._public:  # by which a proxy reaches us under another name
                try:
                    of_page = urlsplit(origin).netloc
                except ValueError:
                    of_page = None  # not an address
                if of_page is None or of_page.lower() != host.lower():
                    message = "Pages of other sites may not call this server, unless its operator allows them."
                    raise Refusal(403, "foreign-origin", message)
        token = self._settings.token
        if token is not None and scope["path"] not in OPEN_PATHS:
            authorization = headers.get(b"authorization", b"")
            if not hmac.compare_digest(authorization, b"Bearer " + token.encode()):
                challenge = (b"www-authenticate", b"Bearer")
                message = "This server requires a token. Send the header Authorization: Bearer TOKEN."
                raise Refusal(401, "no-token", message, headers=[challenge])

    def _is_allowed_host(self, host: str) -> bool:
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


def _cors_headers(origin: str) -> RawHeaders:
    return [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-expose-headers", b"Retry-After, X-Request-Id"),
        (b"cross-origin-resource-policy", b"cross-origin"),
    ]
