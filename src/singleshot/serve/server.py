"""Runs a server for one or more model files until a signal ends it.

Errors come in the order that helps at a terminal: a missing model or an address in use at once, a model that does not
open before any client can connect. A signal stops the listening, lets requests in progress finish, and ends the worker.
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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from singleshot.errors import CannotCreateError, NotPermittedError, StorageError, os_errors
from singleshot.exporting.sizes import files_of
from singleshot.serve.app import ServedModel, build
from singleshot.serve.batcher import Batcher
from singleshot.serve.metrics import Metrics
from singleshot.serve.protocol import limited_protocol
from singleshot.serve.settings import Settings
from singleshot.serve.worker import Worker

BACKLOG = 1024
SPARE_FILES = 64
"""File descriptors kept free for everything other than connections."""


def serve(
    models: Path | Mapping[str, Path], settings: Settings, on_ready: Callable[[str, list[dict[str, Any]]], None]
) -> int:
    """Serve models until a signal arrives. Returns the signal's number.

    Args:
        models: a file, or several by the names under which clients ask for them; they exist. Each runs in a process
            of its own, and the first answers requests that name none.
        settings: where to listen, and limits; those of batches and queues are each model's.
        on_ready: called with the address and the models' facts once clients can connect.

    Raises:
        CannotCreateError: the address is in use, or not this machine's.
        NotPermittedError: this user may not listen there (ports below 1024).
        StorageError: the server's own copy of the model cannot be written.
        SingleshotError: the model does not open.
    """
    settings = replace(settings, max_connections=min(settings.max_connections, _max_connections()))
    with _exit_on_sigterm(), _temporary_folder() as folder, _listener(settings) as listener:
        named = models if isinstance(models, Mapping) else {models.name: models}
        copies = {name: _copy_model(path, folder / str(place)) for place, (name, path) in enumerate(named.items())}
        return asyncio.run(_serve(copies, settings, listener, on_ready))


async def _serve(
    copies: Mapping[str, Path],
    settings: Settings,
    listener: socket.socket,
    on_ready: Callable[[str, list[dict[str, Any]]], None],
) -> int:
    metrics, models = Metrics(copies), []
    async with contextlib.AsyncExitStack() as stack:
        for name, copy in copies.items():
            worker = await stack.enter_async_context(Worker(copy, name, settings))
            batcher = Batcher(worker.run, settings, metrics.models[name].add_batch)
            with copy.open("rb") as stream:
                sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
            facts = {"name": name, "sha256": sha256, **worker.facts}
            models.append(ServedModel(facts, await stack.enter_async_context(batcher), worker))
        server = http_server(build(settings, models, metrics), settings, metrics)
        facts = [each.facts for each in models]
        host, port = listener.getsockname()[:2]
        server.on_started = lambda: on_ready(f"http://{f'[{host}]' if ':' in host else host}:{port}", facts)
        await server.serve(sockets=[listener])
        return server.caught


def http_server(app: ASGIApp, settings: Settings, metrics: Metrics) -> Server:
    """Make an HTTP server with the limited protocol for an application; `serve(sockets=[…])` runs it."""
    # uvicorn's own lines about bad requests would let any client fill the log.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)

    def on_refused(status: int) -> None:
        metrics.responses[status] += 1

    config = uvicorn.Config(
        app,
        http=limited_protocol(settings, on_refused),
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
    """uvicorn's server, which returns after a signal instead of raising it again, so that the caller can clean up.

    Attributes:
        caught: the signal that ended it; 0 before.
        on_started: called once it listens.
    """

    caught: int = 0
    on_started: Callable[[], None] = staticmethod(lambda: None)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then call `on_started`. Raises CannotCreateError if another program has meanwhile begun to listen."""
        try:
            await super().startup(sockets)
        except OSError as error:
            host, port = sockets[0].getsockname()[:2] if sockets else (self.config.host, self.config.port)
            raise _cannot_listen(error, host, port) from error
        self.on_started()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals while inside, and do not raise them again afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
        # Ignored signals stay ignored (`nohup`, background jobs of a script), except SIGTERM, which is meant for us.
        ignored = {number for number in numbers if signal.getsignal(number) is signal.SIG_IGN} - {signal.SIGTERM}
        before = {number: signal.signal(number, self.handle_exit) for number in numbers if number not in ignored}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first signal; stop without waiting at the second."""
        self.force_exit = self.should_exit
        self.should_exit, self.caught = True, sig


@contextlib.contextmanager
def _exit_on_sigterm() -> Iterator[None]:
    """While inside, SIGTERM raises SystemExit, so that the copy of the model and the worker are cleaned up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _listener(settings: Settings) -> Iterator[socket.socket]:
    """Yield a bound socket; no client can connect before it listens."""
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
            message = f"no permission to listen on port {settings.port}"
            raise NotPermittedError(message, remedy="Choose a --port above 1023") from error
        except OSError as error:
            raise _cannot_listen(error, settings.host, settings.port) from error
        yield listener


def _cannot_listen(error: OSError, host: str, port: int) -> CannotCreateError:
    """Say why an address cannot be used. Two programs may bind one; the second learns of it when it listens."""
    if error.errno == errno.EADDRINUSE:
        return CannotCreateError(f"port {port} of {host} is in use", remedy="Choose another --port")
    return CannotCreateError(f"cannot listen on {host} ({error.strerror})", remedy="Check --host")


def _max_connections() -> int:
    """Return how many connections the limit on open files allows, less `SPARE_FILES`."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return sys.maxsize
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else max(8, soft - SPARE_FILES)


@contextlib.contextmanager
def _temporary_folder() -> Iterator[Path]:
    """Yield a folder, deleted at the end. Raises StorageError if none can be created."""
    try:
        made = tempfile.TemporaryDirectory(prefix="singleshot-")
    except OSError as error:
        raise StorageError(f"no temporary folder ({error.strerror})", remedy="Free space, or set TMPDIR") from error
    with made as folder:
        yield Path(folder)


def _copy_model(model: Path, folder: Path) -> Path:
    """Copy the model's files, so that changes to the user's do not affect the server. Returns the copy."""
    copy = folder / f"model{model.suffix}"
    with os_errors(copy, "write", elsewhere="Set TMPDIR to another folder"):
        folder.mkdir(exist_ok=True)
        for file in files_of(model):
            if file == model or file.is_file():  # opening the copy reports a missing companion file
                shutil.copyfile(file, copy.with_suffix(file.suffix))
    return copy
