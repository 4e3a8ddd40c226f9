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


@pytest.mark.parametrize("text", ["", "[]", '{"machine": {}}', '{"machine": {}, "workloads": {"a": 3}}'])
def test_another_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    file = tmp_path / "a.json"
    file.write_text(text)
    with pytest.raises(DataError, match="json"):
        results.read(file)
    with pytest.raises(InputMissingError):
        results.read(tmp_path / "absent.json")
