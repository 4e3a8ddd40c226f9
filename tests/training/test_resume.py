from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from singleshot import weights
from singleshot.data.boxes import voc
from singleshot.errors import ConfigError, DataError, SignalledError, StorageError
from singleshot.storage.sealed import seal_json, unseal_json
from singleshot.training import checkpoint, setup
from singleshot.training.checkpoint import CheckpointConfig
from singleshot.training.optimizer import OptimizerConfig
from singleshot.training.recipe import Recipe, override
from singleshot.training.run import Run, train
from singleshot.training.state import files_fingerprint

pytestmark = pytest.mark.filterwarnings("ignore:.*tensor cores.*", "ignore::FutureWarning")


def tiny(**changes: Any) -> Recipe:
    """Two epochs of four steps that use momentum, the running mean, clipping and augmentation."""
    recipe = Recipe(model="lite320-fine", input_size_hw=(64, 96), epochs=2, batch_size=1, workers=0, precision="fp32")
    recipe = override(recipe, ["optimizer.kind=adamw", "optimizer.lr=0.002", "schedule.warmup_steps=3"])
    return replace(recipe, checkpoint=CheckpointConfig(minutes=None, steps=1, keep=8), **changes)


class Stopper:
    """Sends this process a signal after a step or before a validation is over, as a cluster would."""

    def __init__(self, after_step: int, number: int = signal.SIGTERM) -> None:
        self.after_step, self.number = after_step, number
        self.warnings: list[str] = []

    def step(self, *, epoch: int, step: int, done: float, parts: Any, rate: float, images: int) -> None:
        del epoch, done, parts, rate, images
        if step == self.after_step:
            os.kill(os.getpid(), self.number)

    def epoch(self, row: Any) -> None:
        del row

    def warn(self, line: str) -> None:
        self.warnings.append(line)


def log_of(folder: Path) -> list[dict[str, str]]:
    rows = list(csv.DictReader((folder / "log.csv").read_text().splitlines()))
    return [{name: value for name, value in row.items() if "second" not in name} for row in rows]


@pytest.fixture(scope="module")
def undisturbed(standing_squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(standing_squares, tiny(), out=tmp_path_factory.mktemp("runs") / "undisturbed")


def stop_after(step: int, squares: Path, out: Path, recipe: Recipe, number: int = signal.SIGTERM) -> SignalledError:
    with pytest.raises(SignalledError) as raised:
        train(squares, recipe, out=out, observer=Stopper(step, number))
    return raised.value


@pytest.mark.parametrize("step", [1, 4, 7])
def test_f24_a_run_stopped_anywhere_and_resumed_ends_bit_for_bit_as_one_that_was_not(
    standing_squares: Path, undisturbed: Run, tmp_path: Path, step: int
) -> None:
    error = stop_after(step, standing_squares, tmp_path / "run", tiny())
    assert error.exit_code == 143 and f"after step {step}" in str(error)
    run = train(standing_squares, tiny(), out=tmp_path / "run", resume=True)
    assert same_bits(run, undisturbed) and run.steps == 8
    assert log_of(run.folder) == log_of(undisturbed.folder)


@pytest.mark.parametrize(
    "settings",
    [
        ["optimizer.kind=sgd", "ema_decay=null"],
        ["optimizer.kind=adam-tf1", "optimizer.epsilon=0.1", "schedule.kind=exponential"],
    ],
)
def test_f24_holds_for_the_other_optimizers(standing_squares: Path, tmp_path: Path, settings: list[str]) -> None:
    recipe = override(tiny(epochs=1), settings)
    whole = train(standing_squares, recipe, out=tmp_path / "whole")
    stop_after(2, standing_squares, tmp_path / "run", recipe)
    assert same_bits(train(standing_squares, recipe, out=tmp_path / "run", resume=True), whole)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_f4_f5_f6_each_signal_has_its_exit_code(standing_squares: Path, tmp_path: Path, number: int, code: int) -> None:
    assert stop_after(1, standing_squares, tmp_path / "run", tiny(), number).exit_code == code


def test_a_signal_during_validation_breaks_in_and_the_epoch_is_evaluated_after_the_resumption(
    standing_squares: Path, undisturbed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = setup.validate

    def stopped(*given: Any, **options: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return honest(*given, **options)

    monkeypatch.setattr(setup, "validate", stopped)
    with pytest.raises(SignalledError, match="after step 4"):
        train(standing_squares, tiny(), out=tmp_path / "run")
    assert not (tmp_path / "run/log.csv").exists()
    monkeypatch.undo()
    run = train(standing_squares, tiny(), out=tmp_path / "run", resume=True)
    assert same_bits(run, undisturbed) and log_of(run.folder) == log_of(undisturbed.folder)


def test_e1_a_damaged_newest_checkpoint_is_passed_over_and_said(
    standing_squares: Path, undisturbed: Run, tmp_path: Path
) -> None:
    stop_after(6, standing_squares, tmp_path / "run", tiny())
    newest = tmp_path / "run/checkpoints/step-000000006/state.safetensors"
    newest.write_bytes(newest.read_bytes()[:-100])
    watcher = Stopper(-1)
    run = train(standing_squares, tiny(), out=tmp_path / "run", resume=True, observer=watcher)
    assert same_bits(run, undisturbed)
    assert any(
        "a checkpoint is skipped" in line and "truncated" in line and str(newest) in line for line in watcher.warnings
    )


def test_a_resumption_with_nothing_saved_yet_begins_and_is_reported(standing_squares: Path, tmp_path: Path) -> None:
    watcher = Stopper(-1)
    run = train(standing_squares, tiny(steps=1, epochs=None), out=tmp_path / "run", resume=True, observer=watcher)
    assert run.steps == 1 and any("starts anew" in line for line in watcher.warnings)


def test_a_finished_run_resumed_is_still_finished(standing_squares: Path, tmp_path: Path) -> None:
    first = train(standing_squares, tiny(steps=2, epochs=None), out=tmp_path / "run")
    again = train(standing_squares, tiny(steps=2, epochs=None), out=tmp_path / "run", resume=True)
    assert again.steps == 2 and same_bits(again, first) and log_of(again.folder) == log_of(first.folder)


def test_e13_another_recipe_or_other_data_is_refused_by_name_unless_forced(
    standing_squares: Path, squares: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    stop_after(2, standing_squares, out, tiny())
    before = (out / "recipe.json").read_text()
    changed = override(tiny(), ["optimizer.lr=0.5", "batch_size=2"])
    with pytest.raises(ConfigError) as raised:
        train(standing_squares, changed, out=out, resume=True)
    assert raised.value.exit_code == 78
    assert "recipe.optimizer.lr was 0.002, is 0.5" in str(raised.value) and "recipe.batch_size" in str(raised.value)
    assert (out / "recipe.json").read_text() == before

    annotation = squares / "Annotations/000.xml"
    annotation.write_text(annotation.read_text().replace("square", "circle"))
    with pytest.raises(ConfigError, match=r"classes was \[\"square\"\]"):
        train(squares, tiny(), out=out, resume=True)
    changed = override(tiny(), ["optimizer.lr=0.001"])
    assert train(standing_squares, changed, out=out, resume=True, force=True).steps == 8


@pytest.mark.parametrize("what", ["difficult", "picture", "size"])
def test_e13_what_of_the_data_is_no_box_and_no_class_counts_too(squares: Path, what: str) -> None:
    split = voc.read(squares, "train")
    before = files_fingerprint(split)
    assert files_fingerprint(voc.read(squares, "train")) == before
    first = split.samples[0]
    if what == "picture":
        first.image_path.write_bytes(first.image_path.read_bytes() + b"0")
    elif what == "size":
        first = replace(first, size_hw=(97, 128))
    else:
        first = replace(first, difficult=~first.difficult)
    assert files_fingerprint(replace(split, samples=[first, *split.samples[1:]])) != before


def test_e13_masks_count_byte_by_byte_and_a_lost_file_is_no_crash(squares: Path, tmp_path: Path) -> None:
    split = voc.read(squares, "train")
    mask = tmp_path / "m.png"
    masked = replace(split, samples=[replace(split.samples[0], mask_path=mask), *split.samples[1:]])
    seen = set()
    for content in (b"1234", b"1235"):
        mask.write_bytes(content)
        seen.add(files_fingerprint(masked))
    mask.unlink()
    split.samples[1].image_path.unlink()
    assert len(seen | {files_fingerprint(masked)}) == 3


def test_e7_a_run_of_a_version_with_fewer_fields_goes_on(
    standing_squares: Path, undisturbed: Run, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    stop_after(2, standing_squares, out, tiny())
    for folder in (out / "checkpoints").iterdir():
        manifest = unseal_json((folder / "manifest.json").read_bytes())
        identity = manifest["facts"]["identity"]
        for key in ("recipe.optimizer.clip_norm", "recipe.compile", "data.train_files", "data.val_files"):
            del identity[key]
        identity["recipe.optimizer.lr"] += 1.0  # what differs is still found
        del manifest["facts"]["network"], manifest["facts"]["started_from"]
        (folder / "manifest.json").write_text(seal_json(manifest))
    recipe = replace(tiny(), optimizer=replace(tiny().optimizer, clip_norm=OptimizerConfig().clip_norm))
    with pytest.raises(ConfigError) as raised:
        train(standing_squares, recipe, out=out, resume=True)
    assert "recipe.optimizer.lr was 1.002, is 0.002. Give" in str(raised.value)
    recipe = override(recipe, ["optimizer.lr=1.002"])
    assert train(standing_squares, recipe, out=out, resume=True).steps == 8


def test_a_run_goes_on_without_the_weights_that_it_started_from(
    standing_squares: Path, undisturbed: Run, tmp_path: Path
) -> None:
    file = tmp_path / "began.safetensors"
    shutil.copyfile(undisturbed.weights, file)
    recipe = tiny(weights=str(file))
    whole = train(standing_squares, recipe, out=tmp_path / "whole")
    stop_after(3, standing_squares, tmp_path / "run", recipe)
    file.unlink()
    run = train(standing_squares, recipe, out=tmp_path / "run", resume=True)
    origins = [weights.load(each.weights).provenance["started_from"] for each in (run, whole)]
    assert same_bits(run, whole) and origins[0] == origins[1] and origins[0]["weights"] == str(file)


def test_the_log_of_a_checkpoint_is_that_of_its_step(
    standing_squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, seen = checkpoint.write, dict[int, Any]()

    def kept(root: Path, step: int, tensors: Any, facts: Any) -> Path:
        seen[step] = facts
        return honest(root, step, tensors, facts)

    monkeypatch.setattr(checkpoint, "write", kept)
    train(standing_squares, tiny(epochs=3), out=tmp_path / "run")
    rows = {step: len(facts["log"]) for step, facts in seen.items()}  # as they stand when the run is over
    assert rows == {step: (step - 1) // 4 if step < 12 else 3 for step in seen}


def test_what_does_not_change_the_result_may_change(standing_squares: Path, undisturbed: Run, tmp_path: Path) -> None:
    stop_after(3, standing_squares, tmp_path / "run", tiny())
    recipe = replace(tiny(workers=2), checkpoint=CheckpointConfig())
    assert same_bits(train(standing_squares, recipe, out=tmp_path / "run", resume=True), undisturbed)


def test_another_network_than_the_checkpoints_is_refused_even_by_force(standing_squares: Path, tmp_path: Path) -> None:
    stop_after(1, standing_squares, tmp_path / "run", tiny())
    with pytest.raises(DataError, match="does not fit this run"):
        train(standing_squares, tiny(model="lite320"), out=tmp_path / "run", resume=True, force=True)


def test_f7_a_full_disk_ends_the_run_with_74_and_the_previous_checkpoint_goes_on(
    standing_squares: Path, undisturbed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = checkpoint.write

    def full_after_three(root: Path, step: int, *rest: Any) -> Path:
        if step > 3:
            raise StorageError("a checkpoint needs 9 bytes and 1 are free; the previous one is untouched", file=root)
        return honest(root, step, *rest)

    monkeypatch.setattr(checkpoint, "write", full_after_three)
    with pytest.raises(StorageError, match="1 are free"):
        train(standing_squares, tiny(), out=tmp_path / "run")
    monkeypatch.undo()
    assert same_bits(train(standing_squares, tiny(), out=tmp_path / "run", resume=True), undisturbed)


def test_bad_steps_after_the_checkpoint_are_taken_back(standing_squares: Path, tmp_path: Path) -> None:
    stop_after(2, standing_squares, tmp_path / "run", tiny())
    bad = tmp_path / "run/bad_steps.jsonl"
    bad.write_text('{"step": 1}\n{"step": 5}\n{"st')
    train(standing_squares, tiny(), out=tmp_path / "run", resume=True)
    assert bad.read_text() == '{"step": 1}\n'


COMMAND = ["--epochs", "2000", "--batch-size", "1", "--input-size", "64x96", "--workers", "1", "--val-split", "none"]


def start(squares: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "singleshot", "train", "--data", str(squares), "--out", str(out), *COMMAND, *more]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def wait_for(pattern: str, out: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not list(out.glob(pattern)):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_f1_f4_f25_i15_from_the_command_line(standing_squares: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    steps = ["--set", "checkpoint.steps=2"]
    process = start(standing_squares, out, *steps)
    wait_for("checkpoints/step-*", out, process)
    second = start(standing_squares, out, *steps)
    said = second.communicate()[1]
    assert second.returncode == 73 and f"pid {process.pid} on host" in said
    process.kill()
    process.communicate()

    (out / "log.csv").unlink(missing_ok=True)
    resumed = start(standing_squares, out, "--resume", *steps)
    wait_for("log.csv", out, resumed)
    resumed.send_signal(signal.SIGTERM)
    said = resumed.communicate(timeout=30)[1]
    assert resumed.returncode == 143, said
    assert "stopped by SIGTERM after step" in said and "Traceback" not in said
    newest = max(out.glob("checkpoints/step-*"))
    assert checkpoint.read(newest).step == json.loads((newest / "manifest.json").read_text())["step"]
    assert not (out / ".lock").exists() and not list(out.glob("checkpoints/.*"))


def same_bits(run: Run, other: Run) -> bool:
    one, two = (weights.load(each.folder / "last.safetensors").network.state_dict() for each in (run, other))
    return all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("batch_size", [1, 2, 4])
@pytest.mark.parametrize("stopped_after", [4, 3])
def test_a_resumed_run_with_another_batch_size_trains_the_epochs_that_were_asked_for(
    standing_squares: Path, tmp_path: Path, batch_size: int, stopped_after: int
) -> None:
    stop_after(stopped_after, standing_squares, tmp_path / "run", tiny(epochs=3))  # of 4 steps an epoch
    changed = replace(tiny(epochs=3), batch_size=batch_size)
    run = train(standing_squares, changed, out=tmp_path / "run", resume=True, force=True)
    assert [row["epoch"] for row in log_of(run.folder)] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("key", "before"),
    [("torch", "2.0.0"), ("device", "cuda"), ("precision", "bf16")],
    ids=["torch", "device", "precision"],
)
def test_a_resumption_on_another_device_precision_or_torch_is_refused_like_any_other_change(
    standing_squares: Path, tmp_path: Path, key: str, before: str
) -> None:
    stop_after(1, standing_squares, tmp_path / "run", tiny())
    for manifest in (tmp_path / "run/checkpoints").glob("*/manifest.json"):
        facts = unseal_json(manifest.read_bytes())
        facts["facts"]["identity"][key] = before
        manifest.write_text(seal_json(facts))
    with pytest.raises(ConfigError, match=f'{key} was "{before}", is'):
        train(standing_squares, tiny(), out=tmp_path / "run", resume=True)
