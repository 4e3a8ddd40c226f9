from __future__ import annotations

import json
from pathlib import Path

import pytest

from singleshot.cli import predict_bulk
from singleshot.errors import CannotCreateError, DataError, InputMissingError, UsageError
from singleshot.prediction.bulk import shards
from tests.prediction.bulk.bulk_data import detector_file, draw_pictures


@pytest.mark.slow
def test_i11_an_engine_gives_the_json_of_predict_and_refuses_a_finished_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from singleshot.cli import predict_bulk as verb
    from tests.cli.test_main import singleshot

    monkeypatch.chdir(tmp_path)
    files = draw_pictures(tmp_path, 3)
    weights = detector_file(tmp_path)
    (tmp_path / "list.txt").write_text("\n".join(str(file) for file in files) + "\n\n")
    plain = singleshot("predict", weights, *files, "--threshold", "0.05", "--json", tmp_path / "plain.json")
    options = ("--threshold", "0.05", "--engine", "process", "--out", tmp_path / "out")
    whole = singleshot("predict", weights, tmp_path / "list.txt", *options)
    assert plain.returncode == whole.returncode == 65 and "1 of 3 images could not be read" in whole.stderr
    assert (tmp_path / "out/detections.json").read_bytes() == (tmp_path / "plain.json").read_bytes()
    assert json.loads((tmp_path / "plain.json").read_text())["pictures"][0]["detections"]
    with pytest.raises(CannotCreateError, match="finished"):
        verb.predict_bulk(
            weights,
            [str(tmp_path / "list.txt")],
            engine="process",
            out=tmp_path / "out",
            thresholds={"": 0.05},
            classes=None,
            recursive=False,
            overwrite=False,
        )


def test_an_engine_needs_a_known_name_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There are ray, process"):
        predict_bulk.find_engine("spark")
    assert predict_bulk.find_engine("process") is not None
    with pytest.raises(UsageError, match="Give --out DIR"):
        predict_bulk.predict_bulk(
            tmp_path, [], engine="process", out=None, thresholds={}, classes=None, recursive=False, overwrite=False
        )


def test_a_list_of_images_names_missing_files_with_their_line(tmp_path: Path) -> None:
    picture = tmp_path / "a b.jpg"
    picture.touch()
    listing = tmp_path / "list.txt"
    listing.write_text(f"\ufeff{picture}\r\n\r\n", encoding="utf-8")
    assert predict_bulk.read_list(listing) == [str(picture)]
    listing.write_text(f"{picture}\n\nnone.jpg\n")
    with pytest.raises(InputMissingError, match=r"list\.txt:3: no such image: none\.jpg"):
        predict_bulk.read_list(listing)
    listing.write_text("\n")
    with pytest.raises(InputMissingError, match="the list is empty"):
        predict_bulk.read_list(listing)
    with pytest.raises(InputMissingError, match="no such file"):
        predict_bulk.read_list(tmp_path / "absent.txt")


def test_shards_are_small_enough_to_lose_little_in_a_crash() -> None:
    assert shards.PER_SHARD <= 100


def test_a_list_of_images_that_is_not_a_text_file_is_refused(tmp_path: Path) -> None:
    listing = tmp_path / "list.txt"
    listing.write_text("a.jpg\n", encoding="utf-16")
    with pytest.raises(DataError, match=r"list\.txt: not UTF-8 text\. Save the list as UTF-8"):
        predict_bulk.read_list(listing)
    with pytest.raises(DataError, match="not a plain file"):
        predict_bulk.read_list(tmp_path)
