from __future__ import annotations

import json
import os
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import singleshot
from singleshot import weights
from singleshot.errors import CannotCreateError, ConfigError, DataError, SignalledError
from singleshot.pretraining import pretrain as pretraining
from singleshot.pretraining.distillation import PretrainConfig
from singleshot.pretraining.pretrain import Pretrained, pretrain
from singleshot.pretraining.teachers import Teacher
from singleshot.training.checkpoint import CheckpointConfig
from singleshot.training.load_pretrained import new_network
from singleshot.training.loggers import NoObserver
from singleshot.training.recipe import Recipe
from singleshot.training.state import Progress
from singleshot.weights import BackboneFile

SMALL = PretrainConfig(size=64, batch_size=4, steps=7, warmup_steps=2)
SAVED = CheckpointConfig(minutes=None, steps=2)
pytestmark = pytest.mark.usefixtures("teacher")  # skipped where its package is not installed


class Killed(NoObserver):
    """Sends SIGTERM to this process after a step."""

    def __init__(self, step: int) -> None:
        self.at = step

    def step(self, **facts: Any) -> None:
        if facts["step"] == self.at:
            os.kill(os.getpid(), signal.SIGTERM)


def run(photos: Path, out: Path, **options: Any) -> Pretrained:
    return pretrain(
        photos, out=out, **{"config": SMALL, "checkpoints": SAVED, "workers": 0, "precision": "fp32"} | options
    )


@pytest.fixture(scope="module")
def done(photos: Path, tmp_path_factory: pytest.TempPathFactory, teacher: Teacher) -> Pretrained:
    del teacher
    return run(photos, tmp_path_factory.mktemp("pretrained") / "b.safetensors")


def backbone(path: Path) -> BackboneFile:
    file = weights.read_any(path)
    assert isinstance(file, BackboneFile)
    return file


def test_a_run_leaves_an_fp16_backbone_that_says_where_it_comes_from(done: Pretrained) -> None:
    file = backbone(done.weights)
    assert {each.dtype for each in file.tensors.values() if each.is_floating_point()} == {torch.float16}
    facts = file.provenance
    assert (facts["licence"], facts["steps"], facts["images"]) == ("Apache-2.0", 7, 22)  # two are the probe's
    assert facts["teachers"][0]["file_sha256"].startswith("57934424")
    assert len(facts["images_sha256"]) == 64
    assert not any(Path(word).is_absolute() for word in shlex.split(facts["command"])), "no folder of this machine"
    assert done.weights.stat().st_size < 6_000_000


def test_losses_and_the_probe_are_logged(done: Pretrained) -> None:
    assert list(done.losses) == ["stride 4", "stride 8", "stride 16", "stride 32"]
    assert all(0 < loss < 2 for loss in done.losses.values())
    assert done.probe is not None and all(value <= 1 for value in done.probe)
    header, first, *rest = (done.folder / "log.csv").read_text().splitlines()
    assert header.startswith("step,probe_r2,") and first.startswith("0,") and rest[-1].startswith("7,")
    assert json.loads((done.folder / "config.json").read_text())["size"] == 64


@pytest.mark.parametrize("at", [3, 6])
def test_a_killed_and_resumed_run_equals_an_undisturbed_one_bit_for_bit(
    photos: Path, tmp_path: Path, done: Pretrained, at: int
) -> None:
    out = tmp_path / "b.safetensors"
    with pytest.raises(SignalledError, match=f"after step {at}, and saved"):
        run(photos, out, observer=Killed(at))
    assert not out.exists()
    resumed = run(photos, out, resume=True)
    expected = backbone(done.weights).tensors
    found = backbone(resumed.weights).tensors
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert resumed.losses == done.losses and resumed.probe == done.probe


def test_a_gpu_is_asked_for_losses_now_and_then_alone(
    photos: Path, tmp_path: Path, done: Pretrained, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, float]] = []

    class Recording(NoObserver):
        def step(self, **facts: Any) -> None:
            seen.append(dict(facts["parts"]))

    monkeypatch.setattr(pretraining, "SHOW_EVERY", {"cpu": 3})  # as on a GPU, in fewer steps
    result = run(photos, tmp_path / "b.safetensors", observer=Recording())
    changes = [step for step in range(1, len(seen)) if seen[step] != seen[step - 1]]
    assert changes == [2, 5], "the first step's losses, then those of steps 3 and 6"
    assert result.losses == done.losses, "the log has every step's"


def test_a_checkpoint_alone_is_enough_to_resume(photos: Path, tmp_path: Path, done: Pretrained) -> None:
    """As after a power cut: nothing was saved at the end."""
    out = tmp_path / "b.safetensors"
    with pytest.raises(SignalledError):
        run(photos, out, observer=Killed(5))
    newest = max((tmp_path / "b.pretraining/checkpoints").iterdir())
    for file in newest.iterdir():
        file.unlink()
    newest.rmdir()
    found = backbone(run(photos, out, resume=True).weights).tensors
    assert all(torch.equal(found[name], tensor) for name, tensor in backbone(done.weights).tensors.items())


def test_another_choice_or_other_images_are_not_resumed(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "b.safetensors"
    with pytest.raises(SignalledError):
        run(photos, out, observer=Killed(2))
    with pytest.raises(ConfigError, match="the run to resume had other config"):
        run(photos, out, config=PretrainConfig(size=64, batch_size=4, steps=7, lr=1e-3), resume=True)
    with pytest.raises(ConfigError, match="the run to resume had other images"):
        run(photos / "more", out, resume=True)


def test_an_existing_file_or_run_is_not_replaced_unasked(photos: Path, done: Pretrained) -> None:
    with pytest.raises(CannotCreateError, match=r"b\.safetensors: already exists"):
        run(photos, done.weights)
    with pytest.raises(CannotCreateError, match="already exists"):
        run(photos, done.weights, resume=True)


def test_minutes_are_turned_into_steps_by_the_first_ones(photos: Path, tmp_path: Path) -> None:
    config = PretrainConfig(size=64, batch_size=2, minutes=0.02, warmup_steps=2)
    result = run(photos, tmp_path / "b.safetensors", config=config)
    assert result.steps >= 31 and result.steps < 2000


def test_images_that_cannot_be_read_are_listed_and_left_out(photos: Path, tmp_path: Path) -> None:
    root = tmp_path / "images"
    root.mkdir()
    for path in sorted(photos.glob("*.png"))[:6]:
        (root / path.name).write_bytes(path.read_bytes())
    (root / "broken.jpg").write_bytes(b"\xff\xd8\xff no image")
    result = run(root, tmp_path / "b.safetensors")
    assert "broken.jpg" in (result.folder / "bad.jsonl").read_text()
    assert result.probe is None  # too few images to keep some for it


@pytest.mark.parametrize(
    ("fill", "message"),
    [
        (lambda root: None, "no images or videos in this folder"),
        (lambda root: (root / "a.png").write_bytes(b"x"), "1 images"),
    ],
)
def test_a_folder_without_enough_images_is_refused(tmp_path: Path, fill: Callable[[Path], Any], message: str) -> None:
    root = tmp_path / "images"
    root.mkdir()
    fill(root)
    with pytest.raises(singleshot.SingleshotError, match=message):
        run(root, tmp_path / "b.safetensors")


def test_two_limits_are_refused(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Give one of them"):
        run(photos, tmp_path / "b.safetensors", config=PretrainConfig(steps=3, epochs=2))


def test_a_loss_that_is_not_finite_ends_the_run(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the loss is not finite"):
        run(
            photos,
            tmp_path / "b.safetensors",
            config=PretrainConfig(size=64, batch_size=4, steps=7, lr=1e30, warmup_steps=0),
        )


@pytest.mark.parametrize("model", ["lite320-fine2", "fcn8s-fine2"])
def test_detectors_and_segmenters_start_from_the_backbone(done: Pretrained, model: str) -> None:
    recipe = Recipe(model=model, weights=str(done.weights), input_size_hw=(96, 128))
    start = new_network(recipe, ("car", "bus"))
    assert start.report is not None and start.provenance is not None
    row = next(row for row in start.report.rows if row.part == "backbone")
    assert row.left_out == 0 and row.loaded == len(backbone(done.weights).tensors)
    own = start.network.state_dict()
    for name, tensor in backbone(done.weights).tensors.items():
        assert torch.equal(own[name], tensor.to(own[name].dtype))
    assert start.provenance["licence"] == "Apache-2.0"


def test_a_resumed_run_measures_its_speed_on_its_own_first_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """One step a second, two minutes, stopped after step 15: 120 steps in all, as without the stop."""
    now = [1000.0]
    monkeypatch.setattr(pretraining.time, "monotonic", lambda: now[0])
    clock = pretraining._Clock(PretrainConfig(minutes=2.0), Progress(step=15, seconds=15.0))
    for step in range(15, 35):
        assert clock.total_steps(step) is None
        now[0] += 1.0
    assert clock.total_steps(35) == 120
