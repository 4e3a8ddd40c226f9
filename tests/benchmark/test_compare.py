from __future__ import annotations

from dataclasses import replace

import pytest

from singleshot.benchmark.compare import compare, other_machine
from singleshot.benchmark.results import Report, Result


def against(mine: Report, **changes: object) -> Report:
    return Report(mine.machine, {"vgg300": replace(mine.workloads["vgg300"], **changes)})  # pyright: ignore


@pytest.mark.parametrize(
    ("rate", "noise", "larger"),
    [(5.1, 0.0, False), (5.2, 0.0, True), (5.2, 0.1, False), (4.0, 0.1, True), (5.4, None, False), (6.0, None, True)],
)
def test_only_a_difference_beyond_both_intervals_and_the_floor_counts(
    mine: Report, rate: float, noise: float | None, larger: bool
) -> None:
    (found,) = compare(mine, against(mine, images_per_second=rate, noise=noise))
    assert found.ratio == pytest.approx(rate / 5.0) and found.larger_than_noise is larger


def test_the_noise_of_two_adds_as_squares(mine: Report) -> None:
    (found,) = compare(against(mine, noise=0.03), against(mine, noise=0.04))
    assert found.noise == pytest.approx(0.05)


def test_a_failed_one_and_other_conditions_are_said(mine: Report) -> None:
    (found,) = compare(mine, Report({}, {"vgg512": Result(8, "serial", images_per_second=1.0)}))
    assert str(found) == "vgg512: failed in one of the two" and not found.larger_than_noise
    (found,) = compare(mine, against(mine, precision="fp32"))
    assert str(found).endswith("not alike: precision")
    assert other_machine(mine, Report({**mine.machine, "cores": 4})) == ["cores: 2 → 4"]
    assert compare(mine, Report({})) == []
