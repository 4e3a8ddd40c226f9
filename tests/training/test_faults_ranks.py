"""Rows I of the fault matrix: two ranks that differ, that have uneven shares, of which one meets a NaN.

All of it happens in one start of two processes, because starting them takes most of the time.
"""

from __future__ import annotations

import csv
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from singleshot.data.boxes import voc
from singleshot.errors import ConfigError, UnreachableError
from singleshot.training.devices import reach
from singleshot.training.recipe import Recipe, override
from singleshot.training.run import NoObserver, train
from tests.chaos.runs import tiny
from tests.training.conftest import draw_squares
from tests.training.test_ranks import finish, torchrun

TWO = """
import json, os, sys
from dataclasses import replace
from pathlib import Path
import torch
from singleshot.errors import ConfigError
from singleshot.training.criterion import DetectionCriterion
from singleshot.training.run import NoObserver, train
from tests.training.test_faults_ranks import shared

torch.set_num_threads(1)
data, scratch, rank = Path(sys.argv[1]), Path(sys.argv[2]), int(os.environ["RANK"])
said, writes = {}, []
def watch(event, arguments):
    if event == "open" and str(arguments[0]).startswith(str(scratch)) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
        writes.append(str(arguments[0]))
    if event in ("os.rename", "os.mkdir", "os.remove") and str(arguments[0]).startswith(str(scratch)):
        writes.append(str(arguments[0]))
sys.addaudithook(watch)
quiet = NoObserver()

train(data, replace(shared(), drop_last=False), out=scratch / "even", observer=quiet)
said["writes"] = len(writes)
recipe = shared()
try:
    train(data, replace(recipe, seed=rank), out=scratch / "differ", observer=quiet)
except ConfigError as error:
    said["differ"] = str(error)
honest, calls = DetectionCriterion.__call__, []
def losses(self, *arguments):
    parts = honest(self, *arguments)
    calls.extend([1] if torch.is_grad_enabled() else [])  # validation has no gradients
    bad = rank == 1 and len(calls) == 2
    return {name: part * float("nan") if bad else part for name, part in parts.items()}
DetectionCriterion.__call__ = losses
run = train(data, recipe, out=scratch / "nan", observer=quiet)
tensors = {**dict(run.detector.network.named_parameters())}
said["nan"] = [float(each.detach().double().sum()) for each in tensors.values()]
(scratch / f"{rank}.json").write_text(json.dumps(said))
"""


def shared() -> Recipe:
    """Plain SGD, so that the last bits of a sum do not become whole steps; batches of four."""
    recipe = override(tiny(save_every=1, epochs=2), ["optimizer.kind=sgd", "optimizer.lr=0.0001"])
    return replace(recipe, batch_size=4)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two ranks left behind: 6 pictures to learn from in batches of 4, and 6 to judge by."""
    scratch = tmp_path_factory.mktemp("two")
    script = scratch / "two.py"
    script.write_text(TWO)
    draw_squares(scratch / "squares", 12)
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    finish(torchrun(str(script), str(scratch / "squares"), str(scratch)))
    return scratch


def said(two: Path, rank: int) -> dict[str, Any]:
    return json.loads((two / f"{rank}.json").read_text())


def rows(out: Path) -> list[dict[str, float]]:
    table = csv.DictReader((out / "log.csv").read_text().splitlines())
    return [{name: float(value) for name, value in row.items() if "second" not in name} for row in table]


@pytest.mark.slow
def test_i3_what_cannot_be_shared_evenly_is_left_out_and_all_end_as_one_process_does(two: Path, tmp_path: Path) -> None:
    # Two of six pictures are left after a batch of four: asked to keep them (`drop_last=False`), ranks leave them out.
    assert len(voc.read(two / "squares", "train")) == 6 and shared().batch_size == 4 and shared().drop_last
    alone = train(two / "squares", shared(), out=tmp_path / "alone", observer=NoObserver())
    for place, (one, both) in enumerate(zip(rows(alone.folder), rows(two / "even"), strict=True)):
        for name, value in one.items():
            # After a step of four pictures through untrained norm layers the last bits of a gradient have grown: one
            # process that is given the same batch in another order differs by as much.
            near = 1e-5 if place == 0 and name.startswith("train_") else 1e-2
            assert both[name] == pytest.approx(value, rel=near, abs=near), name
    assert rows(two / "even")[-1]["step"] == 2


@pytest.mark.slow
def test_i4_ranks_that_were_started_differently_are_named_before_anything_is_written(two: Path) -> None:
    for rank in (0, 1):
        assert "rank 1 on host" in said(two, rank)["differ"] and "recipe.seed is 1, not 0" in said(two, rank)["differ"]
    assert not (two / "differ").exists()


@pytest.mark.slow
def test_i8_another_number_of_processes_is_refused_by_name(two: Path) -> None:
    with pytest.raises(ConfigError, match="world_size was 2, is 1") as raised:
        train(two / "squares", shared(), out=two / "even", resume=True, observer=NoObserver())
    assert raised.value.exit_code == 78


@pytest.mark.slow
def test_i9_only_the_first_rank_writes(two: Path) -> None:
    assert said(two, 0)["writes"] > 10 and said(two, 1)["writes"] == 0


@pytest.mark.slow
def test_i10_a_nan_on_one_rank_makes_all_leave_the_step_out(two: Path) -> None:
    assert said(two, 0)["nan"] == said(two, 1)["nan"]
    bad = [json.loads(line) for line in (two / "nan/bad_steps.jsonl").read_text().splitlines()]
    assert [(each["step"], each["rank"]) for each in bad] == [(1, 0), (1, 1)]
    assert bad[1]["losses"]["class"] == "nan" and bad[0]["losses"]["class"] != "nan"


def test_i6_a_wrong_address_is_69_with_the_address_and_not_a_wait_for_half_an_hour() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = time.monotonic()
    with pytest.raises(UnreachableError, match=f"127.0.0.1:{port}") as raised:
        reach("127.0.0.1", port, timeout_s=1.0)
    assert raised.value.exit_code == 69 and time.monotonic() - started < 5
    with pytest.raises(UnreachableError, match=r"no-such-host.invalid:1"):
        reach("no-such-host.invalid", 1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        reach("127.0.0.1", server.getsockname()[1])


@pytest.mark.slow
def test_i6_a_port_that_is_used_is_69_with_the_address(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": "0", "LOCAL_RANK": "0"}
        counts = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1", "OMP_NUM_THREADS": "1"}
        data, out = str(tmp_path / "data"), str(tmp_path / "run")
        command = [sys.executable, "-m", "singleshot", "train", "--data", data, "--out", out]
        done = subprocess.run(
            command, env={**os.environ, **place, **counts}, capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode == 69 and f"127.0.0.1:{port}" in done.stderr and "Traceback" not in done.stderr
