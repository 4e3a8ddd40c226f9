"""What the server's owner decides: where it listens, how much it takes in, how long it waits.

Every number has a default that suits a laptop; the ones that a person is likely to change are options of the verb.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from singleshot.config import check_number
from singleshot.errors import UsageError


@dataclass(frozen=True)
class Settings:
    """How one server behaves.

    Args:
        host: the address it listens at.
        port: 0 takes a free one.
        token: what callers must show; None for callers on this machine only.
        allowed_hosts: names under which it may be called, beside `localhost`, `host` and plain IP addresses.
        batch_size: most pictures that go through the network together.
        latency_s: how long a picture waits for others before its batch starts.
        queue_size: pictures that may wait; more get 503.
        max_body_bytes: of one request.
        max_held_bytes: of all requests together; more get 503.
        max_pixels: of one picture.
        max_connections: open at a time; more get 503.
        window_s: a client must move `window_bytes` in every such stretch of time, or finish what it is at. A stalled
            one is noticed after two of them at most.
        window_bytes: see `window_s`.
        answer_s: how long the network may take over a batch before its process is ended.
        drain_s: how long a stopping server waits for answers that are under way.
        retry_after_s: what a refused caller is told to wait.

    Raises:
        ConfigError: a number that makes no sense.
        UsageError: other machines could reach it, and there is no token.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    batch_size: int = 8
    latency_s: float = 0.01
    queue_size: int = 64
    max_body_bytes: int = 20 * 2**20
    max_held_bytes: int = 256 * 2**20
    max_pixels: int = 24_000_000
    max_connections: int = 800
    window_s: float = 4.5
    window_bytes: int = 64 * 1024
    answer_s: float = 30.0
    drain_s: float = 30.0
    retry_after_s: int = 1

    def __post_init__(self) -> None:
        for name in ("batch_size", "queue_size", "max_body_bytes", "max_held_bytes", "max_pixels", "max_connections"):
            check_number(name, getattr(self, name), 1)
        for name in ("window_s", "answer_s", "drain_s"):
            check_number(name, getattr(self, name), 0, above=True)
        check_number("latency_s", self.latency_s, 0)
        check_number("port", self.port, 0, 65535)
        if self.token is not None and (len(self.token) < 8 or not self.token.isascii() or not self.token.isprintable()):
            raise UsageError("that token is no secret", remedy="Give 8 or more plain characters")
        if self.token is None and not is_loopback(self.host):
            what = f"other machines could call {self.host}, and there is no token"
            raise UsageError(what, remedy="Set SINGLESHOT_TOKEN or give --token, or leave out --host")


def is_loopback(host: str) -> bool:
    """Whether only this machine can call that address.

    >>> is_loopback("localhost"), is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
