"""Two kinds of server to try: a light one in a thread, whose network is a stub, and the real program."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from singleshot.serve.app import ServedModel, build
from singleshot.serve.batcher import Batcher
from singleshot.serve.messages import PredictRequest, PredictResponse
from singleshot.serve.metrics import Metrics
from singleshot.serve.server import Server, http_server
from singleshot.serve.settings import Settings

FACTS: dict[str, Any] = {
    "name": "stub.safetensors",
    "task": "detection",
    "input_size_hw": [64, 96],
    "classes": [{"class": "car", "class_id": 0, "colour_rgb": [255, 64, 38]}],
}
QUICK = Settings(port=0, window_s=0.4, window_bytes=4096, max_body_bytes=2**20, max_held_bytes=8 * 2**20, latency_s=0.0)


@dataclass
class Stub:
    """A server whose network answers with the hash of what it was shown."""

    settings: Settings
    delay_s: float = 0.0
    failure: Exception | None = None
    is_up: bool = True
    restarts: int = 0
    port: int = 0
    batches: list[int] = field(default_factory=list)
    server: Server | None = None
    thread: threading.Thread | None = None

    async def run(self, batch: Sequence[PredictRequest]) -> list[PredictResponse]:
        self.batches.append(len(batch))
        await asyncio.sleep(self.delay_s)
        if self.failure is not None:
            raise self.failure
        return [PredictResponse(200, json.dumps({"sha256": digest(request.image)}).encode()) for request in batch]

    async def serve(self, listener: socket.socket) -> None:
        metrics = Metrics([FACTS["name"]])
        async with Batcher(self.run, self.settings, lambda _count, _seconds: None) as batcher:
            models = [ServedModel(FACTS, batcher, self)]
            self.server = http_server(build(self.settings, models, metrics), self.settings, metrics)
            await self.server.serve(sockets=[listener])

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, data: bytes, wait_s: float = 10.0) -> bytes:
        return talk(self.port, data, wait_s)

    def post(self, body: bytes, *headers: str, path: str = "/v1/predict") -> bytes:
        return self.ask(post(body, *headers, path=path))


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextlib.contextmanager
def stub_server(**changes: Any) -> Iterator[Stub]:
    with started(Stub(replace(QUICK, **changes))) as stub:
        yield stub


@contextlib.contextmanager
def started(stub: Stub) -> Iterator[Stub]:
    """While inside, the stub listens."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    stub.port = listener.getsockname()[1]
    stub.thread = threading.Thread(target=lambda: asyncio.run(stub.serve(listener)), name="server")
    stub.thread.start()
    try:
        until(lambda: stub.server is not None and stub.server.started)
        yield stub
    finally:
        if stub.server is not None:
            stub.server.should_exit = True
        stub.thread.join(20)
        listener.close()


@pytest.fixture(scope="session")
def stub() -> Iterator[Stub]:
    """One with short patience, for many tests."""
    with stub_server() as served:
        yield served


def until(true: Callable[[], Any], wait_s: float = 60.0) -> None:
    deadline = time.monotonic() + wait_s
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def post(body: bytes, *headers: str, path: str = "/v1/predict", close: bool = True, host: str = "localhost") -> bytes:
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}", *headers]
    if close:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def get(path: str, *headers: str, host: str = "localhost") -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", f"Host: {host}", "Connection: close", *headers, "", ""]).encode(
        "latin-1"
    )


def talk(port: int, data: bytes, wait_s: float = 10.0) -> bytes:
    """What the server says until it hangs up."""
    with socket.create_connection(("127.0.0.1", port), timeout=wait_s) as client:
        client.sendall(data)
        return heard(client)


def heard(client: socket.socket) -> bytes:
    said = b""
    with contextlib.suppress(ConnectionError):
        while chunk := client.recv(65536):
            said += chunk
    return said


def status(said: bytes) -> int:
    """The status of a response, 0 for none."""
    return int(said.split(b" ", 2)[1]) if said.startswith(b"HTTP/1.1 ") else 0


def body(said: bytes) -> Any:
    return json.loads(said.partition(b"\r\n\r\n")[2])


def code(said: bytes) -> tuple[int, str]:
    return status(said), body(said)["error"]["code"]


def jpeg(size_hw: tuple[int, int] = (48, 64), seed: int = 0) -> bytes:
    image = np.random.default_rng(seed).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    return cv2.imencode(".jpg", image)[1].tobytes()


@pytest.fixture(scope="session")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small detector that has learned nothing, with a class name that a page must not take for HTML."""
    import torch

    from singleshot import weights
    from singleshot.detection.ssd import SSD, config_for

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    network = SSD(config_for("lite320-fine", ["car", "<img src=x onerror=alert(1)>"], (64, 96)))
    with torch.no_grad():
        for name, values in network.named_parameters():
            if name.startswith("class_heads") and name.endswith("bias"):
                values.zero_()  # so that it is sure of something, whatever that is
    weights.save(path, network, {})
    return path


class Program:
    """`singleshot serve`, started and listening."""

    def __init__(self, *arguments: str) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "singleshot", "serve", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], 240)
        line = self.process.stdout.readline() if readable else ""
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        if found is None:
            self.end()
        assert found is not None, line
        self.port = int(found[1])

    def ask(self, data: bytes, wait_s: float = 60.0) -> bytes:
        return talk(self.port, data, wait_s)

    def end(self) -> int:
        self.process.terminate()
        try:
            return self.process.wait(60)
        finally:
            self.process.kill()
            self.process.wait()
            if self.process.stdout is not None:
                self.process.stdout.close()


@pytest.fixture(scope="session")
def program(weights_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """The real server with a model of its own that tests may move away."""
    model = tmp_path_factory.mktemp("served") / "model.safetensors"
    model.write_bytes(weights_file.read_bytes())
    served = Program(str(model), "--port", "0", "--max-body-mb", "4", "--max-megapixels", "2")
    served.model = model  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield served
    finally:
        served.end()
