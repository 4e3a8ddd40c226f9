from __future__ import annotations

import json
from pathlib import Path

import pytest

from singleshot.errors import DataError, InputMissingError
from singleshot.prediction.backends import sidecar
from tests.exporting import made


def pair(folder: Path, of: object = None) -> tuple[Path, dict[str, Path]]:
    """A JSON file and the network that it describes."""
    files = {".net": folder / "d.net"}
    files[".net"].write_bytes(b"weights")
    sidecar.write(folder / "d.json", made.record("raw", of=of), {"outputs": {}}, files)
    return folder / "d.json", files


def test_what_is_written_is_read_back(tmp_path: Path):
    record, facts = sidecar.read(*pair(tmp_path))
    assert record == made.record("raw")
    assert facts["scores"] == "softmax" and facts["class_columns"] == [1, 2, 3]


def test_a_segmenter_has_no_anchors(tmp_path: Path):
    record, facts = sidecar.read(*pair(tmp_path, made.segmenter_network()))
    assert record.task == "segmentation" and "anchors_cxcywh" not in facts


@pytest.mark.parametrize("name", ["d.json", "d.net"])
def test_a_missing_file_is_named(tmp_path: Path, name: str):
    path, files = pair(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(InputMissingError, match=f"{name} is not beside it"):
        sidecar.read(path, files)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ("[]", "bad-export"),
        ("{", "bad-export"),
        ('{"class_names": []}', "foreign-export"),
        ('{"singleshot": 3, "sha256": {}}', "bad-export"),
        ('{"singleshot": "{}"}', "bad-export"),
        ("[" * 5000, "bad-export"),
    ],
)
def test_another_json_file_is_refused(tmp_path: Path, change: str, kind: str):
    path, files = pair(tmp_path)
    path.write_text(change)
    with pytest.raises(DataError) as caught:
        sidecar.read(path, files)
    assert caught.value.kind == kind


def test_the_network_of_another_export_is_refused(tmp_path: Path):
    path, files = pair(tmp_path)
    files[".net"].write_bytes(b"weightS")
    with pytest.raises(DataError, match="another model's"):
        sidecar.read(path, files)


def test_the_file_is_plain_json_with_the_names_in_their_own_letters(tmp_path: Path):
    path, _ = pair(tmp_path)
    assert json.loads(path.read_text(encoding="utf-8"))["class_names"] == list(made.NAMES)
