from __future__ import annotations

import json
from pathlib import Path

import pytest

from singleshot.benchmark import results
from singleshot.benchmark.results import Report
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


def test_the_file_has_every_figure_that_is_promised_and_comes_back(mine: Report, tmp_path: Path) -> None:
    results.write(mine, tmp_path / "mine.json")
    tree = json.loads((tmp_path / "mine.json").read_text())
    assert set(tree) == {"machine", "workloads"}
    assert all(set(row) >= PROMISED for row in tree["workloads"].values())
    assert results.read(tmp_path / "mine.json") == mine


def test_a_file_with_the_promised_figures_alone_is_read(mine: Report, tmp_path: Path) -> None:
    tree = json.loads(mine.to_json())
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
def test_figures_that_no_measurement_gives_are_refused_by_name(tmp_path: Path, figure: str) -> None:
    file = tmp_path / "a.json"
    row = '{"batch_size": 8, "loader": "serial", ' + figure + "}"
    file.write_text('{"machine": {}, "workloads": {"kitti": ' + row + "}}")
    with pytest.raises(DataError, match=rf"workloads\.kitti\.{figure.split(chr(34))[1]} is "):
        results.read(file)


@pytest.mark.parametrize("fact", ["gpu", "cpu", "precision", "data_disk"])
def test_a_fact_that_is_no_text_is_refused_by_name(tmp_path: Path, fact: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"machine": {fact: 1}, "workloads": {}}))
    with pytest.raises(DataError, match=rf"machine\.{fact} is 1 and not text"):
        results.read(tmp_path / "a.json")


@pytest.mark.parametrize("text", ["", "[]", '{"machine": {}}', '{"machine": {}, "workloads": {"a": 3}}'])
def test_another_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    file = tmp_path / "a.json"
    file.write_text(text)
    with pytest.raises(DataError, match="json"):
        results.read(file)
    with pytest.raises(InputMissingError):
        results.read(tmp_path / "absent.json")
