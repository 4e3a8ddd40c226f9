"""A model's file → a server that listens, until a signal ends it: everything is put together here.

The order is what a person at the terminal needs: a model that is missing or an address that is taken is said at once,
a model that does not open before anybody can connect. A signal stops the listening, lets what is under way be answered,
and ends the processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import logging
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from singleshot.errors import CannotCreateError, NotPermittedError, StorageError
from singleshot.exporting.sizes import files_of
from singleshot.serve.app import build
from singleshot.serve.batcher import Batcher
from singleshot.serve.metrics import Metrics
from singleshot.serve.protocol import guarded
from singleshot.serve.settings import Settings
from singleshot.serve.worker import Worker

BACKLOG = 1024
SPARE_FILES = 64


def serve(model: Path, settings: Settings, on_ready: Callable[[str, dict[str, Any]], None]) -> int:
    """Serve a model until a signal comes; returns the signal's number.

    Args:
        model: its file, which is there.
        settings: see there.
        on_ready: is told the address and the model's facts once callers are let in.

    Raises:
        CannotCreateError: the address is taken, or not this machine's.
        NotPermittedError: the address is not for this user (ports below 1024).
        StorageError: there is no room for the server's own copy of the model.
        SingleshotError: the model does not open.
    """
    settings = replace(settings, max_connections=min(settings.max_connections, _most_connections()))
    with _ends_on_sigterm(), _folder() as folder, _bound(settings) as listener:
        copy = _copied(model, folder)
        return asyncio.run(_serve(copy, model.name, settings, listener, on_ready))


async def _serve(
    copy: Path,
    name: str,
    settings: Settings,
    listener: socket.socket,
    on_ready: Callable[[str, dict[str, Any]], None],
) -> int:
    metrics = Metrics()

    def on_batch(pictures: int, seconds: float) -> None:
        metrics.batch_pictures.add(pictures)
        metrics.batch_seconds.add(seconds)

    async with Worker(copy, name, settings) as worker, Batcher(worker.run, settings, on_batch) as batcher:
        facts = {"name": name, "sha256": _sha256(copy), **worker.facts}
        server = http_server(build(settings, facts, batcher, worker, metrics), settings, metrics)
        host, port = listener.getsockname()[:2]
        server.on_started = lambda: on_ready(f"http://{f'[{host}]' if ':' in host else host}:{port}", facts)
        await server.serve(sockets=[listener])
        return server.caught


def http_server(app: ASGIApp, settings: Settings, metrics: Metrics) -> Server:
    """An application behind the guarded protocol; `serve(sockets=[…])` runs it."""
    # uvicorn's own lines about strangers' requests would let strangers fill the log.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)

    def on_refused(status: int) -> None:
        metrics.responses[status] += 1

    config = uvicorn.Config(
        app,
        http=guarded(settings, on_refused),
        ws="none",
        lifespan="off",
        loop="asyncio",
        backlog=BACKLOG,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=max(1, round(settings.drain_s)),
    )
    return Server(config)


class Server(uvicorn.Server):
    """uvicorn's server, which reports the signal that ended it instead of dying of it: there is tidying up to do."""

    caught: int = 0
    on_started: Callable[[], None] = staticmethod(lambda: None)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so. Raises CannotCreateError where another program has begun to listen meanwhile."""
        try:
            await super().startup(sockets)
        except OSError as error:
            host, port = sockets[0].getsockname()[:2] if sockets else (self.config.host, self.config.port)
            raise _not_ours(error, host, port) from error
        self.on_started()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Hear signals, and do not die of them afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
        # What is ignored stays so, as by `nohup` or in a script's background job; but SIGTERM is meant for us.
        ignored = {number for number in numbers if signal.getsignal(number) is signal.SIG_IGN} - {signal.SIGTERM}
        heard = [number for number in numbers if number not in ignored]
        before = {number: signal.signal(number, self.handle_exit) for number in heard}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, the second does not wait."""
        self.force_exit = self.should_exit
        self.should_exit, self.caught = True, sig


@contextlib.contextmanager
def _ends_on_sigterm() -> Iterator[None]:
    """While the model is opened, SIGTERM ends the program as an exception does: the copy and the process go too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _bound(settings: Settings) -> Iterator[socket.socket]:
    """The socket at its address; nobody can connect before it listens."""
    with contextlib.ExitStack() as stack:
        try:
            family, kind, _, _, address = socket.getaddrinfo(
                settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            listener = stack.enter_context(socket.socket(family, kind))
            if sys.platform != "win32":
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except PermissionError as error:
            what = f"port {settings.port} is not for you to open"
            raise NotPermittedError(what, remedy="Choose a --port above 1023") from error
        except OSError as error:
            raise _not_ours(error, settings.host, settings.port) from error
        yield listener


def _not_ours(error: OSError, host: str, port: int) -> CannotCreateError:
    """Why nobody can listen at an address. Two programs may be bound to one; the second to listen learns it."""
    if error.errno == errno.EADDRINUSE:
        return CannotCreateError(f"port {port} of {host} is in use", remedy="Choose another --port")
    return CannotCreateError(f"cannot listen at {host} ({error.strerror})", remedy="Check --host")


def _most_connections() -> int:
    """How many this process may hold by the system's count of open files, with some to spare for everything else."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return sys.maxsize
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else max(8, soft - SPARE_FILES)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """A folder of our own, gone in the end. Raises StorageError where there is no place for one."""
    try:
        made = tempfile.TemporaryDirectory(prefix="singleshot-")
    except OSError as error:
        raise StorageError(f"no temporary folder ({error.strerror})", remedy="Free space, or set TMPDIR") from error
    with made as folder:
        yield Path(folder)


def _copied(model: Path, folder: Path) -> Path:
    """The model's file in a place of our own: what happens to the user's does not happen to the server."""
    copy = folder / f"model{model.suffix}"
    try:
        for file in files_of(model):
            if file == model or file.is_file():  # what is not there is missed, and named, when the copy is opened
                shutil.copyfile(file, copy.with_suffix(file.suffix))
    except OSError as error:
        what = f"the model could not be copied to {folder} ({error.strerror})"
        raise StorageError(what, remedy="Free space, or set TMPDIR", file=model) from error
    return copy


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
