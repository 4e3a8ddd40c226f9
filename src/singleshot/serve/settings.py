"""The server's settings: where it listens, how much it accepts, how long it waits.

Every number has a default that suits a laptop; those that users are likely to change are options of the command.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Annotated

from singleshot.config import Above, AtLeast, Config, Range
from singleshot.errors import UsageError

LINGER_S, LINGER_BYTES = 1.0, 2**20
"""How long, and for how many bytes, a refused client may go on sending before the connection is closed."""


@dataclass(frozen=True)
class Settings(Config):
    """The settings of one server.

    Args:
        host: the address it listens at.
        port: 0 takes a free one.
        token: required of clients as `Authorization: Bearer`; None for clients on this machine only.
        allowed_hosts: host names that clients may use, besides `localhost`, `host` and plain IP addresses.
        cors_origins: origins such as `https://app.example.org` whose pages may call the server from a browser.
        public_url: the origin by which browsers reach the server through a proxy, such as `https://cells.example.org`.
        device: where the network computes, as `load` takes it.
        batch_size: maximum images per batch.
        latency_s: how long an image waits for others before its batch starts.
        queue_size: images that may wait; further ones get 503.
        max_body_bytes: of one request.
        max_held_bytes: of all request bodies together; further ones get 503.
        max_pixels: of one image.
        max_connections: open at a time; further ones get 503.
        window_s: within this time a client must transfer `window_bytes` or finish its current phase. A stalled
            client is noticed after two windows at most.
        window_bytes: see `window_s`.
        answer_s: how long a batch may take before the worker process is killed.
        drain_s: how long a stopping server waits for requests in progress.
        retry_after_s: the `Retry-After` of a 503.

    Raises:
        ConfigError: a number is out of range.
        UsageError: other machines could connect and there is no token, the token is too simple, or one of
            `cors_origins` or `public_url` is not an origin.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Range(0, 65535)] = 8000
    token: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    public_url: str | None = None
    device: str = "auto"
    batch_size: Annotated[int, AtLeast(1)] = 8
    latency_s: Annotated[float, AtLeast(0)] = 0.01
    queue_size: Annotated[int, AtLeast(1)] = 64
    max_body_bytes: Annotated[int, AtLeast(1)] = 20 * 2**20
    max_held_bytes: Annotated[int, AtLeast(1)] = 256 * 2**20
    max_pixels: Annotated[int, AtLeast(1)] = 24_000_000
    max_connections: Annotated[int, AtLeast(1)] = 800
    window_s: Annotated[float, Above(0)] = 4.5
    window_bytes: int = 64 * 1024
    answer_s: Annotated[float, Above(0)] = 30.0
    drain_s: Annotated[float, Above(0)] = 30.0
    retry_after_s: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.token is not None and (len(self.token) < 8 or not self.token.isascii() or not self.token.isprintable()):
            raise UsageError(
                "the token is too short or has unusual characters", remedy="Use 8 or more printable ASCII characters"
            )
        for origin in self.cors_origins:
            if not is_origin(origin):
                remedy = "Write it as https://app.example.org, without a path; * is not possible"
                raise UsageError(f"{origin!r} is not an origin", remedy=remedy)
        if self.public_url is not None and not is_origin(self.public_url):
            remedy = "Write it as https://cells.example.org, without a path"
            raise UsageError(f"{self.public_url!r} is not an address of a server", remedy=remedy)
        if self.token is None and self.public_url is not None:
            message = f"other machines could connect through {self.public_url}, and there is no token"
            raise UsageError(message, remedy="Set SINGLESHOT_TOKEN or give --token")
        if self.token is None and not is_loopback(self.host):
            message = f"other machines could connect to {self.host}, and there is no token"
            raise UsageError(message, remedy="Set SINGLESHOT_TOKEN or give --token, or leave out --host")


def is_origin(text: str) -> bool:
    """Check whether a text is an origin as browsers send it: scheme, host, and a port unless it is the usual one.

    >>> is_origin("https://app.example.org"), is_origin("http://localhost:3000")
    (True, True)
    >>> is_origin("*"), is_origin("null"), is_origin("https://app.example.org/"), is_origin("app.example.org")
    (False, False, False, False)
    """
    return bool(re.fullmatch(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9_-]+(\.[a-z0-9_-]+)*)(:[0-9]{1,5})?", text))


def is_loopback(host: str) -> bool:
    """Check whether only this machine can connect to an address.

    >>> is_loopback("localhost"), is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
