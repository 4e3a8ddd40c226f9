from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import singleshot
from singleshot import weights
from singleshot.errors import CallbackError, DataError, StoppedError, UsageError
from singleshot.training.callbacks import Callback, Callbacks, End, Step, Validated, check
from singleshot.training.recipe import Recipe, override
from singleshot.training.run import Run, train

pytestmark = pytest.mark.filterwarnings("ignore:.*tensor cores.*", "ignore::FutureWarning")


def tiny(**changes: Any) -> Recipe:
    recipe = Recipe(model="lite320-fine", input_size_hw=(96, 128), epochs=2, batch_size=2, workers=0, precision="fp32")
    recipe = override(recipe, ["schedule.warmup_steps=0", "train_subset=0"])
    return replace(recipe, **changes)


class Notes(Callback):
    """Notes what it is told, in order, and raises an error in one method if it is asked to."""

    def __init__(self, fails_in: str = "", at: int = 1) -> None:
        self.told: list[Any] = []
        self._fails_in, self._at = fails_in, at

    def _note(self, method: str, what: Any) -> None:
        self.told.append(what)
        if method == self._fails_in and sum(type(each) is type(what) for each in self.told) == self._at:
            raise ValueError("no more\nof this.")

    def on_step(self, step: Step) -> None:
        self._note("on_step", step)

    def on_validation(self, validated: Validated) -> None:
        assert validated.weights.is_file(), "the weights are saved before the callback is called"
        self._note("on_validation", validated)

    def on_epoch(self, row: Mapping[str, Any]) -> None:
        self._note("on_epoch", dict(row))

    def on_end(self, end: End) -> None:
        self._note("on_end", end)


@pytest.fixture(scope="module")
def undisturbed(standing_squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run of `tiny` without any callback."""
    return train(standing_squares, tiny(), out=tmp_path_factory.mktemp("runs") / "undisturbed")


def same_bits(one: Run, other: Run) -> bool:
    left, right = (weights.load(run.folder / "last.safetensors").network.state_dict() for run in (one, other))
    return all(torch.equal(left[name], right[name]) for name in left)


def kinds(notes: Notes) -> list[str]:
    return [type(each).__name__ for each in notes.told]


def test_a_callback_is_told_of_all_in_this_order_and_changes_no_bit_of_the_result(
    standing_squares: Path, undisturbed: Run, tmp_path: Path
) -> None:
    notes = Notes()
    run = train(standing_squares, tiny(), out=tmp_path / "run", callbacks=[notes])
    assert kinds(notes) == ["Step", "Step", "Validated", "dict"] * 2 + ["End"]
    first, validated, row, end = (notes.told[place] for place in (0, 2, 3, -1))
    assert (first.epoch, first.step, first.images) == (1, 1, 2) and first.done == 0.25
    assert set(first.losses) == {"class", "box"} and first.lr > 0
    assert (validated.epoch, validated.step, validated.best) == (1, 2, True)
    assert validated.score == row["val_map"] == validated.figures["val_map"]
    assert row["epoch"] == 1 and row["step"] == 2
    assert end == End(run.folder)
    assert same_bits(run, undisturbed)


@pytest.mark.parametrize(("method", "step"), [("on_step", 1), ("on_validation", 2), ("on_epoch", 2)])
def test_a_callback_that_raises_ends_the_run_which_is_saved_and_resumes_to_the_same_bits(
    standing_squares: Path, undisturbed: Run, tmp_path: Path, method: str, step: int
) -> None:
    notes, after = Notes(method), Notes()
    with pytest.raises(CallbackError) as raised:
        train(standing_squares, tiny(), out=tmp_path / "run", callbacks=[notes, after])
    said = str(raised.value)
    assert said.startswith(
        f"the callback Notes failed in {method} (ValueError: no more of this); the training is saved."
    )
    assert raised.value.exit_code == 75 and isinstance(raised.value.__cause__, ValueError)
    saved = [json.loads(file.read_text()) for file in (tmp_path / "run/checkpoints").glob("*/*.json")]
    assert saved, "a checkpoint is there"
    assert max(each.step for each in notes.told if isinstance(each, Step)) == step, "no step is taken after it"
    assert kinds(after)[-1] == "End" and kinds(notes)[-1] == "End"
    assert isinstance(after.told[-1].error, StoppedError) and len(after.told) == len(notes.told) - 1
    resumed = train(standing_squares, tiny(), out=tmp_path / "run", resume=True)
    assert resumed.steps == 4 and same_bits(resumed, undisturbed)


def test_a_callback_that_fails_at_the_end_leaves_the_run_complete(squares: Path, tmp_path: Path) -> None:
    other = Notes()
    with pytest.raises(CallbackError, match="failed in on_end"):
        train(squares, tiny(epochs=1), out=tmp_path / "run", callbacks=[Notes("on_end"), other])
    assert other.told[-1].error is None
    assert (tmp_path / "run/best.safetensors").is_file()


def test_an_error_of_the_run_matters_more_than_that_of_a_callback_at_its_end(capsys: pytest.CaptureFixture) -> None:
    said: list[str] = []
    callbacks = Callbacks(Notes(), [Notes("on_end")], said.append)
    callbacks.on_end(End(Path("run"), DataError("diverged")))
    assert len(said) == 1 and "on_end" in said[0] and capsys.readouterr().err == ""


def test_the_example_of_the_page_keeps_its_weights(
    squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/callbacks.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    exec(compile(code.replace("my-data", str(squares)), "callbacks.md", "exec"), {"__name__": "__main__"})
    assert sorted(path.name for path in Path("kept").iterdir()) == ["epoch-1.safetensors", "epoch-2.safetensors"]


def test_only_objects_with_every_method_are_callbacks(squares: Path, tmp_path: Path) -> None:
    class Half:
        def on_step(self, step: Step) -> None: ...

    with pytest.raises(UsageError, match="Half is no callback"):
        check([Half()])  # in the tests, types are checked on the way through `train`
    with pytest.raises(UsageError, match="Notes is a class and not an object"):
        train(squares, tiny(), out=tmp_path / "run", callbacks=[Notes])  # pyright: ignore[reportArgumentType]
    assert not (tmp_path / "run").exists()
    assert isinstance(Notes(), singleshot.Callback)
