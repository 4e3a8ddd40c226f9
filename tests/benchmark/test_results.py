from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from singleshot.benchmark import results
from singleshot.benchmark.results import Report, Result, compare, other_machine
from singleshot.errors import DataError, InputMissingError

PROMISED = {
    "images_per_second",
    "epoch_seconds",
    "loader_images_per_second",
    "network_images_per_second",
    "verdict",
    "waiting_share",
    "cpu_utilisation",
    "peak_memory_bytes",
    "batch_size",
    "precision",
    "steps",
    "measured_seconds",
    "data",
    "loader",
    "error",
}


def test_the_file_has_every_promised_figure_and_is_read_back(ours: Report, tmp_path: Path) -> None:
    results.write(ours, tmp_path / "mine.json")
    tree = json.loads((tmp_path / "mine.json").read_text())
    assert set(tree) == {"machine", "workloads"}
    assert all(set(row) >= PROMISED for row in tree["workloads"].values())
    assert results.read(tmp_path / "mine.json") == ours


def test_a_file_with_only_the_promised_figures_is_read(ours: Report, tmp_path: Path) -> None:
    tree = json.loads(ours.to_json())
    tree["workloads"] = {
        name: {key: value for key, value in row.items() if key in PROMISED} for name, row in tree["workloads"].items()
    }
    (tmp_path / "a.json").write_text(json.dumps(tree))
    assert results.read(tmp_path / "a.json").workloads["vgg300"].images_per_second == 5.0


@pytest.mark.parametrize(
    "figure",
    [
        '"epoch_seconds": 0',
        '"epoch_seconds": -3.5',
        '"epoch_seconds": Infinity',
        '"epoch_seconds": NaN',
        '"epoch_seconds": 1e-300',
        f'"epoch_seconds": 1{"0" * 400}',
        '"images_per_second": -1.0',
        '"noise": -0.1',
        '"steps": -1',
        '"peak_memory_bytes": -5',
    ],
)
def test_figures_that_cannot_be_measured_are_refused_by_name(tmp_path: Path, figure: str) -> None:
    file = tmp_path / "a.json"
    row = '{"batch_size": 8, "loader": "serial", ' + figure + "}"
    file.write_text('{"machine": {}, "workloads": {"kitti": ' + row + "}}")
    with pytest.raises(DataError, match=rf"workloads\.kitti\.{figure.split(chr(34))[1]} is "):
        results.read(file)


@pytest.mark.parametrize("fact", ["gpu", "cpu", "precision", "data_disk"])
def test_a_fact_that_is_not_text_is_refused_by_name(tmp_path: Path, fact: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"machine": {fact: 1}, "workloads": {}}))
    with pytest.raises(DataError, match=rf"machine\.{fact} is 1 and not text"):
        results.read(tmp_path / "a.json")


@pytest.mark.parametrize("text", ["", "[]", '{"machine": {}}', '{"machine": {}, "workloads": {"a": 3}}'])
def test_another_file_is_refused_with_its_path(tmp_path: Path, text: str) -> None:
    file = tmp_path / "a.json"
    file.write_text(text)
    with pytest.raises(DataError, match="json"):
        results.read(file)
    with pytest.raises(InputMissingError):
        results.read(tmp_path / "absent.json")


def against(ours: Report, **changes: object) -> Report:
    return Report(ours.machine, {"vgg300": replace(ours.workloads["vgg300"], **changes)})  # pyright: ignore


@pytest.mark.parametrize(
    ("rate", "noise", "larger"),
    [(5.1, 0.0, False), (5.2, 0.0, True), (5.2, 0.1, False), (4.0, 0.1, True), (5.4, None, False), (6.0, None, True)],
)
def test_a_difference_must_exceed_both_intervals_and_three_percent(
    ours: Report, rate: float, noise: float | None, larger: bool
) -> None:
    (found,) = compare(ours, against(ours, images_per_second=rate, noise=noise))
    assert found.ratio == pytest.approx(rate / 5.0) and found.larger_than_noise is larger


def test_the_noise_of_two_adds_in_quadrature(ours: Report) -> None:
    (found,) = compare(against(ours, noise=0.03), against(ours, noise=0.04))
    assert found.noise == pytest.approx(0.05)


def test_failures_and_differing_conditions_are_reported(ours: Report) -> None:
    (found,) = compare(ours, Report({}, {"vgg512": Result(8, "serial", images_per_second=1.0)}))
    assert str(found) == "vgg512: failed in one of the two" and not found.larger_than_noise
    (found,) = compare(ours, against(ours, precision="fp32"))
    assert str(found).endswith("conditions that differ: precision")
    assert other_machine(ours, Report({**ours.machine, "cores": 4})) == ["cores: 2 → 4"]
    assert compare(ours, Report({})) == []
