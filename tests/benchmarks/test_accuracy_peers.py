"""What the comparison of accuracy does itself; the peers are not here, and one stands in for them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from benchmarks import accuracy_peers
from benchmarks.accuracy_peers import Data, read_found, shared_data, table
from singleshot.data import read
from singleshot.streets import write
from singleshot.structures import Sample

SETTINGS = ["--minutes", "0.1", "--only", "ssdlite", "libreyolo"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("streets") / "streets"
    return write.make(out, train=3, val=0, test=4, size_hw=(150, 200), seed=3, workers=1)


@pytest.fixture(scope="module")
def data(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Data:
    train, test = (read.read(folder, split) for split in ("train", "test"))
    return shared_data(train, test, tmp_path_factory.mktemp("shared") / "data")


def as_found(samples: list[Sample], files: list[Path], score: float = 1.0) -> list[dict[str, Any]]:
    """What a peer writes that finds all that is annotated and nothing else."""
    return [
        {
            "file": str(file),
            "boxes_xyxy": sample.boxes_xyxy.tolist(),
            "scores": [score] * len(sample.class_ids),
            "class_ids": sample.class_ids.tolist(),
        }
        for sample, file in zip(samples, files, strict=True)
    ]


class Stand:
    """A peer that finds everything, but no `libreyolo`, which ends without a word."""

    asked: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, script: str, *, environment: Path) -> None:
        self.script = script

    def __enter__(self) -> Stand:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def ask(self, **request: Any) -> dict[str, Any]:
        if "libreyolo" in self.script:
            sys.exit(f"{self.script} ended with code 1")
        self.asked.append(request)
        root = Path(request["train"]).parents[1]
        test = read.read(root, "test")
        there = {sample.image_path.name: sample for sample in test.samples}
        samples = [there[Path(file).name] for file in request["test"]]
        rows = as_found(samples, list(map(Path, request["test"])))
        Path(request["found"]).write_text(json.dumps(rows), encoding="utf-8")
        return {"title": "stand-in", "seconds": 6.0, "steps": 3, "batch": 2}


def test_the_copy_has_the_same_images_and_boxes_in_the_order_of_the_split(data: Data) -> None:
    copied = {sample.image_path.name: sample for sample in read.read(data.folder, "test").samples}
    assert [file.is_file() for file in data.files] == [True] * 4 and len(copied) == 4
    for file, sample in zip(data.files, data.test.samples, strict=True):
        assert file.read_bytes() == sample.image_path.read_bytes()
        np.testing.assert_allclose(copied[file.name].boxes_xyxy, sample.boxes_xyxy, atol=1e-3)
        assert copied[file.name].class_ids.tolist() == sample.class_ids.tolist()


def test_a_copy_that_is_there_is_used_again(data: Data, folder: Path) -> None:
    before = (data.folder / "data.yaml").stat().st_mtime_ns
    again = shared_data(read.read(folder, "train"), read.read(folder, "test"), data.folder)
    assert again.files == data.files and (data.folder / "data.yaml").stat().st_mtime_ns == before


def test_detections_come_back_image_by_image_and_in_the_order_of_scores(data: Data, tmp_path: Path) -> None:
    row = {"boxes_xyxy": [[0, 0, 5, 5], [1, 2, 3, 4.5]], "scores": [0.25, 0.5], "class_ids": [0, 2]}
    empty = {"boxes_xyxy": [], "scores": [], "class_ids": []}
    rows = [{"file": str(file), **(row if file is data.files[1] else empty)} for file in data.files]
    (tmp_path / "found.json").write_text(json.dumps(rows), encoding="utf-8")
    found = read_found(tmp_path / "found.json", data.files, data.test.label_map)
    assert [len(each) for each in found] == [0, 2, 0, 0]
    assert found[1].scores.tolist() == [0.5, 0.25] and found[1].class_ids.tolist() == [2, 0]
    assert found[1].boxes_xyxy[0].tolist() == [1, 2, 3, 4.5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.pop(), "has 3 images, not the 4"),
        (lambda rows: rows.reverse(), "in their order"),
        (lambda rows: rows[0]["scores"].pop(), "not one score and one class for each box"),
        (lambda rows: rows[0].update(class_ids=[99] * len(rows[0]["scores"])), "a class that is not one of"),
    ],
)
def test_what_a_peer_leaves_out_or_mixes_up_is_refused(data: Data, tmp_path: Path, change: Any, message: str) -> None:
    rows = as_found(list(data.test.samples), data.files)
    change(rows)
    (tmp_path / "found.json").write_text(json.dumps(rows), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_found(tmp_path / "found.json", data.files, data.test.label_map)


def test_a_run_judges_each_peer_goes_on_after_a_failure_and_repeats_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(accuracy_peers, "Peer", Stand)
    monkeypatch.setattr(Stand, "asked", [])
    arguments = ["--data", str(folder), "--out", str(tmp_path), "--peers", str(tmp_path), *SETTINGS]
    accuracy_peers.main(arguments)
    printed = capsys.readouterr().out
    assert "| stand-in | 0.1 | 3 × 2 | 1.000 | 1.000 | 1.000 |" in printed
    assert "libreyolo failed: benchmarks/peer_libreyolo.py ended with code 1" in printed
    assert "COCO" in (tmp_path / "table.md").read_text(encoding="utf-8")
    assert len(Stand.asked[0]["test"]) == 4 and Stand.asked[0]["minutes"] == 0.1
    accuracy_peers.main(arguments)
    assert len(Stand.asked) == 1
    with pytest.raises(SystemExit, match="made with other settings"):
        accuracy_peers.main([*arguments, "--minutes", "5"])


def test_without_the_peers_environment_the_way_to_make_one_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("SINGLESHOT_PEERS", raising=False)
    with pytest.raises(SystemExit, match=r"benchmarks/README\.md"):
        accuracy_peers.main(["--out", str(tmp_path)])


def test_the_table_gives_the_difference_to_the_first_row_with_its_interval() -> None:
    def row(title: str, value: float) -> dict[str, Any]:
        drawn = {name: [value - 0.01, value, value + 0.01] for name in ("AP50", "AP75", "AP50:95")}
        figures = dict.fromkeys(drawn, value)
        return {"title": title, "seconds": 90.0, "steps": 7, "batch": 16, "figures": figures, "drawn": drawn}

    lines = table([row("ours", 0.5), row("a peer", 0.25)])
    assert lines[2] == "| ours | 1.5 | 7 × 16 | 0.500 | 0.500 | 0.500 |  |"
    assert lines[3].endswith("| -0.250 (-0.250 to -0.250) |")


def test_a_dataset_with_no_detection_at_all_scores_zero(data: Data, tmp_path: Path) -> None:
    rows = [{"file": str(file), "boxes_xyxy": [], "scores": [], "class_ids": []} for file in data.files]
    (tmp_path / "found.json").write_text(json.dumps(rows), encoding="utf-8")
    found = read_found(tmp_path / "found.json", data.files, data.test.label_map)
    figures, _ = accuracy_peers.judged(found, data.test)
    assert figures == {"AP50": 0.0, "AP75": 0.0, "AP50:95": 0.0}
