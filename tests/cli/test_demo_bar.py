from __future__ import annotations

from dataclasses import replace

import pytest

from singleshot.cli import demo_bar
from singleshot.cli.demo_bar import DemoBar
from singleshot.recipes import streets_demo, streets_demo_masks


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(demo_bar.time, "monotonic", lambda: now[0])
    return now


def run_steps(bar: DemoBar, clock: list[float], steps: int, seconds: float, of: int = 1600) -> None:
    for step in range(1, steps + 1):
        clock[0] += seconds
        bar.step(epoch=0, step=step, done=step / of, parts={}, rate=0.1, images=16)


def test_the_time_that_is_left_is_said_once_from_the_speed_of_the_first_steps(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    bar = DemoBar("detector", streets_demo.RECIPE, 50)
    run_steps(bar, clock, 60, 0.2, of=1225)
    (line,) = capsys.readouterr().err.splitlines()
    # 1200 of 1225 steps are left after the 25th, at 0.2 s each.
    assert line == (
        "training the detector takes about 4.0 minutes on this machine, or less if its score stops rising (80 images/s)"
    )


def test_a_disturbance_of_the_first_steps_changes_nothing_if_it_is_short_and_is_corrected_if_it_is_long(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    bar = DemoBar("detector", streets_demo.RECIPE, 50)
    for step in range(1, 26):
        clock[0] += 20.0 if step == 12 else 0.2
        bar.step(epoch=0, step=step, done=step / 1225, parts={}, rate=0.1, images=16)
    assert "takes about 4.0 minutes on this machine" in capsys.readouterr().err
    bar = DemoBar("detector", streets_demo.RECIPE, 50)
    for step in range(1, 401):
        clock[0] += 4.0 if step <= 40 else 0.2
        bar.step(epoch=0, step=step, done=step / 1300, parts={}, rate=0.1, images=16)
    first, corrected = capsys.readouterr().err.splitlines()
    assert "takes about 85 minutes on this machine" in first
    # After 100 steps 35 of the 95 that were timed were slow: 1200 are left, at 0.2 s each.
    less = ", or less if its score stops rising"
    assert corrected == f"corrected: training the detector takes about 4.0 minutes more{less} (80 images/s)"


def test_a_line_with_a_score_says_how_long_is_left_with_the_validations_to_come(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    bar = DemoBar("detector", replace(streets_demo.RECIPE, epochs=4), 50)
    for epoch in range(2):
        clock[0] += 10.0  # for the validation of the epoch before
        for step in range(epoch * 10 + 1, epoch * 10 + 11):
            clock[0] += 1.0
            bar.step(epoch=epoch, step=step, done=step / 40, parts={}, rate=0.1, images=16)
    bar.epoch({"epoch": 2, "val_map": 0.61, "seconds": 41.0})
    # 20 of 40 steps of a second, and two of four pauses of eleven.
    assert capsys.readouterr().err.endswith("held back, after 41 seconds, at most 42 seconds left\n")


def test_a_run_of_few_steps_and_one_without_scenes_that_are_held_back_promise_nothing(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    run_steps(DemoBar("detector", streets_demo.RECIPE, 0), clock, 20, 1.0)
    assert capsys.readouterr().err == ""
    run_steps(DemoBar("detector", streets_demo.RECIPE, 0), clock, 25, 1.0, of=50)
    assert "25 seconds on this machine (16 images/s)" in capsys.readouterr().err


def test_only_epochs_that_were_validated_have_a_line_with_their_score(capsys: pytest.CaptureFixture[str]) -> None:
    bar = DemoBar("detector", streets_demo.RECIPE, 50)
    bar.epoch({"epoch": 3, "train_class": 2.0, "seconds": 30.0})
    bar.epoch({"epoch": 4, "val_map": 0.61, "seconds": 41.0})
    most = streets_demo.RECIPE.epochs
    said = f"epoch 4 of at most {most}: mAP 0.610 on 50 scenes that were held back, after 41 seconds\n"
    assert capsys.readouterr().err == said
    limited = replace(streets_demo_masks.RECIPE, epochs=None, minutes=1.0)
    DemoBar("segmenter", limited, 50).epoch({"epoch": 9, "val_miou": 0.5, "seconds": 100.0})
    assert "epoch 9: mIoU 0.500" in capsys.readouterr().err


@pytest.mark.parametrize("recipe", [streets_demo.RECIPE, streets_demo_masks.RECIPE])
def test_the_demo_trains_by_epochs_between_a_least_and_a_most(recipe: streets_demo.Recipe) -> None:
    assert recipe.minutes is None and recipe.epochs is not None and recipe.patience is not None
    least = (recipe.patience + 1) * recipe.validate_every
    assert least < recipe.epochs
