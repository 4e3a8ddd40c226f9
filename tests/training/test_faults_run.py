"""Rows F of the fault matrix that need a whole, small training."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pytest

from singleshot import weights
from singleshot.data import read
from singleshot.data.augment.augment import NONE
from singleshot.errors import StoppedError, StorageError
from singleshot.structures import LabelMap
from singleshot.training.criterion import DetectionCriterion
from singleshot.training.recipe import Recipe
from singleshot.training.run import NoObserver, Run, train
from tests.chaos.runs import bits, newest, tiny
from tests.training.conftest import draw_squares

pytestmark = pytest.mark.filterwarnings("ignore:.*tensor cores.*", "ignore::FutureWarning")


class At(NoObserver):
    """Does something after a step."""

    def __init__(self, step: int, work: Any) -> None:
        self._step, self._work = step, work

    def step(self, **facts: Any) -> None:
        if facts["step"] == self._step:
            self._work()


def recipe(**changes: Any) -> Recipe:
    return tiny(save_every=1, **({"epochs": 2, "validate_every": 1000} | changes))


@pytest.fixture(scope="module")
def undisturbed(standing_squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(standing_squares, recipe(), out=tmp_path_factory.mktemp("runs") / "undisturbed")


def test_f9_a_folder_that_is_removed_under_the_run_ends_it_with_74(standing_squares: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(StorageError, match="removed meanwhile") as raised:
        train(standing_squares, recipe(), out=out, observer=At(2, lambda: shutil.rmtree(out)))
    assert raised.value.exit_code == 74


@pytest.mark.slow
def test_f10_a_killed_data_worker_ends_with_75_and_the_resumed_run_is_the_whole_one(
    standing_squares: Path, undisturbed: Run, tmp_path: Path
) -> None:
    before = set(active_children())

    def kill() -> None:
        for process in set(active_children()) - before:
            process.kill()

    with pytest.raises(StoppedError, match="likely out of memory") as raised:
        train(standing_squares, recipe(workers=1, epochs=50), out=tmp_path / "run", observer=At(2, kill))
    assert raised.value.exit_code == 75
    last = train(standing_squares, recipe(), out=tmp_path / "run", resume=True, force=True).folder
    assert bits(last / "last.safetensors") == bits(undisturbed.folder / "last.safetensors")


def test_f15_out_of_memory_ends_with_75_and_the_resumed_run_is_the_whole_one(
    standing_squares: Path, undisturbed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, calls = DetectionCriterion.__call__, []

    def losses(self: DetectionCriterion, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise MemoryError
        return honest(self, *arguments)

    monkeypatch.setattr(DetectionCriterion, "__call__", losses)
    with pytest.raises(StoppedError, match="accumulate=2"):
        train(standing_squares, recipe(), out=tmp_path / "run")
    run = train(standing_squares, recipe(), out=tmp_path / "run", resume=True)
    assert bits(run.folder / "last.safetensors") == bits(undisturbed.folder / "last.safetensors")


@pytest.mark.slow
def test_f19_one_class_one_image_one_box_is_learnt(tmp_path: Path) -> None:
    data = draw_squares(tmp_path / "one", 1)
    run = train(data, recipe(epochs=30, augmentation=NONE), out=tmp_path / "run", val_split=None)
    rows = list(csv.DictReader((run.folder / "log.csv").read_text().splitlines()))
    losses = [float(row["train_class"]) + float(row["train_box"]) for row in rows]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_f20_a_class_that_is_never_seen_has_no_ap_and_is_not_in_the_mean(
    standing_squares: Path, tmp_path: Path
) -> None:
    splits = [read.read(standing_squares, split) for split in ("train", "val")]
    names = LabelMap((*splits[0].label_map.names, "unicorn"))
    data, val = (replace(split, label_map=names) for split in splits)
    run = train(data, recipe(steps=1, epochs=None, validate_every=1), out=tmp_path / "run", val=val)
    (row,) = csv.DictReader((run.folder / "log.csv").read_text().splitlines())
    assert row["val_ap_unicorn"] == "" and row["val_map"] == row["val_ap_square"] != ""


def test_f21_a_last_batch_of_one_image_trains_with_norm_layers(tmp_path: Path) -> None:
    data = draw_squares(tmp_path / "three", 6)  # three to learn from
    run = train(data, recipe(batch_size=2, drop_last=False, epochs=1), out=tmp_path / "run", val_split=None)
    assert run.steps == 2 and not (run.folder / "bad_steps.jsonl").exists()


def test_f26_a_clock_that_jumps_changes_nothing(
    standing_squares: Path, undisturbed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([0.0, 2.0**31, 4e9, 1.0] * 10_000)
    monkeypatch.setattr(time, "time", lambda: next(times))
    run = train(standing_squares, recipe(), out=tmp_path / "run")
    assert bits(run.folder / "last.safetensors") == bits(undisturbed.folder / "last.safetensors")
    last = newest(run.folder / "checkpoints")
    assert last is not None and last.step == 8


KILLED_WHILE_JUDGING = """
import os, signal, sys
from pathlib import Path
from singleshot.training import setup
from singleshot.training.run import NoObserver, train
from tests.chaos.runs import tiny
setup.validate = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
train(Path(sys.argv[1]), tiny(save_every=1, epochs=2), out=Path(sys.argv[2]), observer=NoObserver())
"""


@pytest.mark.slow
def test_g15_a_kill_while_evaluating_loses_nothing(standing_squares: Path, tmp_path: Path) -> None:
    whole = train(standing_squares, tiny(save_every=1, epochs=2), out=tmp_path / "whole")
    command = [sys.executable, "-c", KILLED_WHILE_JUDGING, str(standing_squares), str(tmp_path / "run")]
    killed = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    assert killed.returncode == -signal.SIGKILL
    run = train(standing_squares, tiny(save_every=1, epochs=2), out=tmp_path / "run", resume=True)
    assert run.score == whole.score
    one, two = (weights.load(each.folder / "best.safetensors").network.state_dict() for each in (run, whole))
    assert all(one[name].equal(two[name]) for name in one)
