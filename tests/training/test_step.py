from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from singleshot import weights
from singleshot.data import read
from singleshot.errors import ConfigError
from singleshot.segmentation.fcn import FCN
from singleshot.segmentation.fcn import config_for as segmenter_config
from singleshot.training import starting
from singleshot.training.detection import DetectionTask
from singleshot.training.fabric import open_fabric, resolve_precision
from singleshot.training.ranks import Ranks
from singleshot.training.recipe import Recipe, override
from singleshot.training.run import train
from singleshot.training.segmentation import SegmentationTask
from singleshot.training.step import TrainingStep

from ..conftest import MaskFolder

SMALL = Recipe(input_size_hw=(64, 96), batch_size=4, workers=0, precision="fp32", ema_decay=None, train_subset=0)


def detection(root: Path, recipe: Recipe, warn: Callable[[str], None] = print) -> TrainingStep[Any]:
    data = read.read(root, "train", cache=False)
    torch.manual_seed(0)
    task = DetectionTask(starting.start(recipe, data.label_map.names).network, recipe, data, None, 0)
    fabric = open_fabric(precision=recipe.precision, device="cpu")
    return TrainingStep(task, recipe, fabric, Ranks(fabric), warn)


def gradients(step: TrainingStep[Any]) -> dict[str, torch.Tensor]:
    return {name: p.grad for name, p in step.network.named_parameters() if p.grad is not None}


def steps_of(step: TrainingStep[Any], count: int) -> list[Any]:
    batch = next(iter(step.task.batches(0)))
    return [step.take(batch) for _ in range(count)]


@pytest.mark.parametrize("normaliser", ["batch", "image"])
def test_a_batch_in_parts_has_the_loss_and_the_gradient_of_the_whole(standing_squares: Path, normaliser: Any) -> None:
    # Statistics of batch normalisation are the parts' own, so the claim is made in evaluation, where they stand still.
    # Pictures without objects train negatives by the mean matches of the whole.
    recipe = override(SMALL, ["loss.negatives_when_empty=auto", f"loss.normaliser={normaliser}"])
    whole, parts = (detection(standing_squares, replace(recipe, accumulate=count)) for count in (1, 3))
    for step in (whole, parts):
        step.network.eval()
    (one,), (other,) = steps_of(whole, 1), steps_of(parts, 1)
    for name in one.parts:
        torch.testing.assert_close(one.parts[name], other.parts[name], rtol=1e-5, atol=1e-6)
    theirs = gradients(parts)
    for name, gradient in gradients(whole).items():
        torch.testing.assert_close(gradient, theirs[name], rtol=1e-3, atol=1e-5)


def test_masks_in_parts_weigh_as_their_pixels_do(halves: MaskFolder) -> None:
    data = read.read(halves.root, "train", with_masks=True)
    found = []
    for count in (1, 3):
        recipe = replace(SMALL, model="fcn8s-fine", accumulate=count)
        torch.manual_seed(0)
        network = FCN(segmenter_config("fcn8s-fine", data.label_map.names, (64, 96)))
        fabric = open_fabric(precision="fp32", device="cpu")
        task = SegmentationTask(network, recipe, data, None, 0)
        step: TrainingStep[Any] = TrainingStep(task, recipe, fabric, Ranks(fabric), print)
        step.network.eval()
        batch = next(iter(task.batches(0)))
        batch.masks[0, :40] = 255  # the first picture has fewer pixels than the others
        found.append(step.take(batch).parts["pixel"])
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-6)


def test_soft_iou_is_not_added_up_from_parts() -> None:
    with pytest.raises(ConfigError, match="soft IoU"):
        override(replace(SMALL, accumulate=2), ["pixel_loss.soft_iou=0.5"])


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_a_device_that_is_asked_later_leaves_a_bad_step_out_by_itself(standing_squares: Path, kind: str) -> None:
    recipe = override(replace(SMALL, ema_decay=0.9), [f"optimizer.kind={kind}"])
    step = detection(standing_squares, recipe)
    step.deferred = True  # as on a CUDA device; torch's fused optimizers are alike on a CPU
    step.network.train()
    batch = next(iter(step.task.batches(0)))
    assert step.take(batch).finite is True  # the first is looked at: it makes the momentum
    assert bool(step.take(batch).finite)
    before = {name: value.clone() for name, value in step.network.state_dict().items()}
    honest = step.task.losses
    step.task.losses = lambda *given: {name: part * float("nan") for name, part in honest(*given).items()}
    taken = step.take(batch)
    assert isinstance(taken.finite, torch.Tensor) and not taken.finite
    for name, value in step.network.state_dict().items():
        if "num_batches" not in name:
            assert torch.equal(value, before[name]), name
    step.task.losses = honest
    assert bool(step.take(batch).finite)
    assert not torch.equal(next(iter(step.network.parameters())), before[next(iter(before))])


def test_a_step_looked_at_later_is_bit_for_bit_the_step_looked_at_now(standing_squares: Path) -> None:
    now, later = (detection(standing_squares, SMALL) for _ in range(2))
    later.deferred = True
    for step in (now, later):
        step.network.train()
        steps_of(step, 3)
    ours, theirs = now.network.state_dict(), later.network.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_on_a_cpu_every_step_is_looked_at_and_a_bad_one_changes_nothing(standing_squares: Path) -> None:
    step = detection(standing_squares, SMALL)
    assert not step.deferred
    before = {name: value.clone() for name, value in step.network.state_dict().items()}
    step.task.losses = lambda *_given: {"class": torch.tensor(float("nan"), requires_grad=True)}
    (taken,) = steps_of(step, 1)
    assert taken.finite is False
    assert all(torch.equal(value, before[name]) for name, value in step.network.state_dict().items())


def test_a_network_that_cannot_be_compiled_trains_all_the_same_and_says_so_once(
    standing_squares: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def compile_nothing(network: torch.nn.Module) -> None:
        def fail(*_given: Any) -> None:
            raise RuntimeError("no compiler\nhere")

        network._compiled_call_impl = fail  # pyright: ignore[reportAttributeAccessIssue]

    monkeypatch.setattr(torch.nn.Module, "compile", compile_nothing)
    step = detection(standing_squares, replace(SMALL, compile=True), said.append)
    taken = steps_of(step, 2)
    assert all(each.finite is True for each in taken)
    assert said == ["torch.compile does not work here (RuntimeError: no compiler here); going on without it"]
    plain = detection(standing_squares, SMALL)
    assert torch.equal(steps_of(plain, 1)[0].parts["class"], taken[0].parts["class"])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, where it imports its compiler
def test_a_fault_of_the_step_itself_is_raised_with_and_without_compile(standing_squares: Path) -> None:
    for compile_it in (False, True):
        step = detection(standing_squares, replace(SMALL, compile=compile_it), [].append)

        def fail(*_given: Any) -> Any:
            raise KeyError("ours")

        step.task.losses = fail
        with pytest.raises(KeyError, match="ours"):
            steps_of(step, 1)


def test_a_run_whose_steps_are_looked_at_later_is_the_same_run(
    standing_squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(SMALL, batch_size=1, epochs=2, ema_decay=0.9)
    now = train(standing_squares, recipe, out=tmp_path / "now")
    honest = TrainingStep.__init__

    def later_step(step: Any, *given: Any) -> None:
        honest(step, *given)
        step.deferred = True

    monkeypatch.setattr(TrainingStep, "__init__", later_step)
    later = train(standing_squares, recipe, out=tmp_path / "later")
    one, two = (weights.load(run.folder / "last.safetensors").network.state_dict() for run in (now, later))
    assert all(torch.equal(one[name], two[name]) for name in one)
    columns = [list(csv.DictReader((run.folder / "log.csv").read_text().splitlines())) for run in (now, later)]
    for ours, theirs in zip(*columns, strict=True):
        assert {k: v for k, v in ours.items() if "second" not in k} == {
            k: v for k, v in theirs.items() if "second" not in k
        }


def test_fp16_is_refused_on_a_cpu() -> None:
    with pytest.raises(ConfigError, match="fp16 is for CUDA devices"):
        resolve_precision("fp16", "cpu")
