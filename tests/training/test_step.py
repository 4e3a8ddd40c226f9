from __future__ import annotations

import contextlib
import csv
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from singleshot import weights
from singleshot.data import read
from singleshot.errors import ConfigError
from singleshot.training.devices import open_fabric, resolve_precision
from singleshot.training.load_pretrained import new_network
from singleshot.training.ranks import Ranks
from singleshot.training.recipe import Recipe, override
from singleshot.training.run import train
from singleshot.training.setup import Setup, set_up
from singleshot.training.step import TrainingStep

from ..conftest import MaskFolder

SMALL = Recipe(input_size_hw=(64, 96), batch_size=4, workers=0, precision="fp32", ema_decay=None, train_subset=0)


def setup_of(root: Path, recipe: Recipe) -> Setup:
    data = read.read(root, "train", with_masks=recipe.is_segmentation, cache=False)
    torch.manual_seed(0)
    return set_up(new_network(recipe, data.label_map.names).network, recipe, data, None)


def step_of(root: Path, recipe: Recipe, warn: Callable[[str], None] = print) -> TrainingStep:
    setup = setup_of(root, recipe)
    fabric = open_fabric(precision=recipe.precision, device="cpu")
    return TrainingStep(setup.network, setup.criterion, recipe, fabric, Ranks(fabric), warn)


def first_batch(root: Path, recipe: Recipe) -> Any:
    return next(iter(setup_of(root, recipe).loader.epoch(0)))


class Failing:
    """A criterion whose losses are not finite, or which raises, from now on."""

    def __init__(self, honest: Any, error: Exception | None = None) -> None:
        self.honest, self.error = honest, error

    def __getattr__(self, name: str) -> Any:
        return getattr(self.honest, name)

    def __call__(self, *given: Any) -> Any:
        if self.error is not None:
            raise self.error
        return {name: part * float("nan") for name, part in self.honest(*given).items()}


def gradients(step: TrainingStep) -> dict[str, torch.Tensor]:
    return {name: p.grad for name, p in step.network.named_parameters() if p.grad is not None}


def take(step: TrainingStep, root: Path, count: int) -> list[Any]:
    batch = first_batch(root, replace(step.recipe, accumulate=1))
    return [step(batch) for _ in range(count)]


@pytest.mark.parametrize("normaliser", ["batch", "image"])
def test_a_batch_in_parts_has_the_loss_and_the_gradient_of_the_whole(standing_squares: Path, normaliser: Any) -> None:
    # Statistics of batch normalisation are the parts' own, so the claim is made in evaluation, where they stand still.
    # Pictures without objects train negatives by the mean matches of the whole.
    recipe = override(SMALL, ["loss.negatives_when_empty=auto", f"loss.normaliser={normaliser}"])
    whole, parts = (step_of(standing_squares, replace(recipe, accumulate=count)) for count in (1, 3))
    for step in (whole, parts):
        step.network.eval()
    (one,), (other,) = (take(step, standing_squares, 1) for step in (whole, parts))
    for name in one.losses:
        torch.testing.assert_close(one.losses[name], other.losses[name], rtol=1e-5, atol=1e-6)
    theirs = gradients(parts)
    for name, gradient in gradients(whole).items():
        torch.testing.assert_close(gradient, theirs[name], rtol=1e-3, atol=1e-5)


def test_masks_in_parts_weigh_as_their_pixels_do(halves: MaskFolder) -> None:
    found = []
    for count in (1, 3):
        step = step_of(halves.root, replace(SMALL, model="fcn8s-fine", accumulate=count))
        step.network.eval()
        batch = first_batch(halves.root, step.recipe)
        batch.targets[0, :40] = 255  # the first image has fewer pixels than the others
        found.append(step(batch).losses["pixel"])
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-6)


def test_soft_iou_is_not_added_up_from_parts() -> None:
    with pytest.raises(ConfigError, match="soft IoU"):
        override(replace(SMALL, accumulate=2), ["pixel_loss.soft_iou=0.5"])


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_a_device_that_is_asked_later_leaves_a_bad_step_out_by_itself(standing_squares: Path, kind: str) -> None:
    recipe = override(replace(SMALL, ema_decay=0.9), [f"optimizer.kind={kind}"])
    step = step_of(standing_squares, recipe)
    step.deferred = True  # as on a CUDA device; torch's fused optimizers are alike on a CPU
    step.network.train()
    batch = first_batch(standing_squares, recipe)
    assert step(batch).finite is True  # the first is looked at: it makes the momentum
    assert bool(step(batch).finite)
    before = {name: value.clone() for name, value in step.network.state_dict().items()}
    honest = step.criterion
    step.criterion = Failing(honest)
    taken = step(batch)
    assert isinstance(taken.finite, torch.Tensor) and not taken.finite
    for name, value in step.network.state_dict().items():
        assert torch.equal(value, before[name]), name
    step.criterion = honest
    assert bool(step(batch).finite)
    assert not torch.equal(next(iter(step.network.parameters())), before[next(iter(before))])


def test_a_step_processed_later_is_bit_for_bit_the_step_processed_now(standing_squares: Path) -> None:
    now, later = (step_of(standing_squares, SMALL) for _ in range(2))
    later.deferred = True
    for step in (now, later):
        step.network.train()
        take(step, standing_squares, 3)
    ours, theirs = now.network.state_dict(), later.network.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_on_a_cpu_every_step_is_processed_and_a_bad_one_changes_nothing(standing_squares: Path) -> None:
    step = step_of(standing_squares, SMALL)
    assert not step.deferred
    before = {name: value.clone() for name, value in step.network.state_dict().items()}
    step.criterion = Failing(step.criterion)
    (taken,) = take(step, standing_squares, 1)
    assert taken.finite is False
    assert all(torch.equal(value, before[name]) for name, value in step.network.state_dict().items())


def test_a_network_that_cannot_be_compiled_trains_all_the_same_and_is_reported_once(
    standing_squares: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def compile_nothing(network: torch.nn.Module) -> None:
        def fail(*_given: Any) -> None:
            raise RuntimeError("no compiler\nhere")

        network._compiled_call_impl = fail  # pyright: ignore[reportAttributeAccessIssue]

    monkeypatch.setattr(torch.nn.Module, "compile", compile_nothing)
    step = step_of(standing_squares, replace(SMALL, compile=True), said.append)
    taken = take(step, standing_squares, 2)
    assert all(each.finite is True for each in taken)
    assert said == ["torch.compile does not work here (RuntimeError: no compiler here); going on without it"]
    plain = step_of(standing_squares, SMALL)
    assert torch.equal(take(plain, standing_squares, 1)[0].losses["class"], taken[0].losses["class"])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, where it imports its compiler
def test_a_fault_of_the_step_itself_is_raised_with_and_without_compile(standing_squares: Path) -> None:
    for compile_it in (False, True):
        step = step_of(standing_squares, replace(SMALL, compile=compile_it), [].append)
        step.criterion = Failing(step.criterion, KeyError("ours"))
        with pytest.raises(KeyError, match="ours"):
            take(step, standing_squares, 1)


def test_a_run_whose_steps_are_processed_later_is_the_same_run(
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


@pytest.mark.parametrize(("clip_norm", "expected"), [("null", []), ("10.0", [10.0])])
def test_without_a_clip_norm_gradients_are_not_rewritten(
    standing_squares: Path, monkeypatch: pytest.MonkeyPatch, clip_norm: str, expected: list[float]
) -> None:
    calls: list[float] = []
    monkeypatch.setattr(torch.nn.utils, "clip_grads_with_norm_", lambda *given, **_: calls.append(given[1]))
    step = step_of(standing_squares, override(SMALL, [f"optimizer.clip_norm={clip_norm}"]))
    assert take(step, standing_squares, 1)[0].finite is True and calls == expected


def test_the_forward_pass_is_inside_no_backward_sync(standing_squares: Path) -> None:
    step = step_of(standing_squares, replace(SMALL, accumulate=2))
    inside: list[bool] = []
    state = {"inside": False}

    @contextlib.contextmanager
    def watched(_module: object, enabled: bool) -> Iterator[None]:
        state["inside"] = enabled
        yield
        state["inside"] = False

    step.fabric.no_backward_sync = watched  # pyright: ignore[reportAttributeAccessIssue]
    step.network.register_forward_hook(lambda *_: inside.append(state["inside"]))
    take(step, standing_squares, 1)
    assert inside == [True, False]
