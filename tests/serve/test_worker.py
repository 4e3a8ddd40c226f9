from __future__ import annotations

import ast
import asyncio
import importlib.util
import json
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from singleshot.errors import DataError, SingleshotError
from singleshot.serve import worker as worker_file
from singleshot.serve.messages import PredictRequest, Refusal
from singleshot.serve.settings import Settings
from singleshot.serve.worker import Worker
from tests.serve.conftest import Program, body, get, jpeg, post, status, until


def network_of(program: Program) -> psutil.Process:
    """The process that is niced: the one that runs the network."""
    niced = [each for each in psutil.Process(program.process.pid).children(recursive=True) if each.nice() > 0]
    assert len(niced) == 1
    return niced[0]


def test_h21_a_killed_worker_is_replaced_within_seconds(program: Program) -> None:
    victim = network_of(program)
    victim.kill()
    start = time.monotonic()
    until(lambda: status(program.ask(get("/healthz"))) == 503, 5)
    until(lambda: status(program.ask(get("/healthz"))) == 200, 30)
    cpus_wait_for = psutil.getloadavg()[0] / (psutil.cpu_count() or 1)
    assert time.monotonic() - start < 5 * max(1.0, cpus_wait_for), "5 s on a machine that has nothing else to do"
    assert network_of(program).pid != victim.pid
    said = program.ask(post(jpeg((30, 50)), "Content-Type: image/jpeg"))
    assert status(said) == 200 and body(said)["size_hw"] == [30, 50]
    assert b'singleshot_worker_restarts_total{model="model.safetensors"} 0' not in program.ask(get("/metrics"))


@pytest.mark.slow
def test_h21_a_worker_that_hangs_is_killed_and_replaced(weights_file: Path) -> None:
    async def main() -> None:
        async with Worker(weights_file, "small", Settings(answer_s=5.0, batch_size=1)) as worker:
            (answer,) = await worker.run([PredictRequest(jpeg())])
            assert answer.status == 200 and worker.pid is not None
            first = worker.pid
            os.kill(first, signal.SIGSTOP)  # it neither dies nor answers
            with pytest.raises(Refusal) as caught:
                await worker.run([PredictRequest(jpeg())])
            assert (caught.value.status, caught.value.code) == (503, "too-long-inference")
            deadline = time.monotonic() + 60
            while not (worker.is_up and worker.pid != first):
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)
            (answer,) = await worker.run([PredictRequest(jpeg((8, 9)))])
            assert json.loads(answer.body)["size_hw"] == [8, 9] and worker.restarts == 1
        assert not psutil.pid_exists(first)

    asyncio.run(main())


def test_an_unreadable_model_is_reported_under_the_users_name_for_it(tmp_path: Path) -> None:
    copy = tmp_path / "model.safetensors"
    copy.write_bytes(b"no weights")

    async def main() -> None:
        async with Worker(copy, "mine.safetensors", Settings()):
            pass

    with pytest.raises(SingleshotError, match=r"mine\.safetensors") as caught:
        asyncio.run(main())
    assert caught.value.exit_code == DataError.exit_code and str(tmp_path) not in str(caught.value)


def test_the_modules_that_the_fork_server_preloads_exist() -> None:
    preload = importlib.util.find_spec(worker_file.PRELOAD)
    assert preload is not None and preload.origin is not None
    tree = ast.parse(Path(preload.origin).read_text(encoding="utf-8"))
    names = [alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names]
    assert len(names) >= 4 and [name for name in names if importlib.util.find_spec(name) is None] == []


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), ValueError("bad"), MemoryError()])
def test_the_task_that_replaces_the_process_outlives_any_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    worker, calls = Worker(tmp_path / "model.safetensors", "model", Settings()), []

    def launch() -> None:
        calls.append(len(calls))
        raise error

    async def supervise() -> None:
        monkeypatch.setattr(worker, "_launch", launch)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(worker._supervise(), 1.2)

    asyncio.run(supervise())
    assert len(calls) >= 2
