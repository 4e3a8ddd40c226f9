from __future__ import annotations

import json
from pathlib import Path

import pytest

from singleshot.errors import CannotCreateError
from singleshot.prediction.bulk.in_progress import InProgressMarker, held, note


def died_at(folder: Path, place: int) -> None:
    """What a worker leaves behind that took a picture and was killed."""
    InProgressMarker(folder, 1).take(place)


def test_an_image_that_was_in_hand_at_two_deaths_is_poison_and_no_other(tmp_path: Path) -> None:
    with held(tmp_path):
        for _ in range(2):
            assert not InProgressMarker(tmp_path, 1).crashed_too_often(7)
            died_at(tmp_path, 7)
        with InProgressMarker(tmp_path, 1) as hand:
            assert hand.crashed_too_often(7) and not hand.crashed_too_often(6)
    assert note(tmp_path, 1) == "", "whoever ends well leaves nothing"


def test_i11_deaths_of_another_run_do_not_count(tmp_path: Path) -> None:
    for _ in range(3):
        with held(tmp_path):
            died_at(tmp_path, 7)
    with held(tmp_path):
        assert not InProgressMarker(tmp_path, 1).crashed_too_often(7)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"hand": 1}', '{"hand": 1, "deaths": 3}'])
def test_a_note_that_a_kill_cut_off_blames_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "00001.hand").write_text(text)
    with InProgressMarker(tmp_path, 1) as hand:
        assert not hand.crashed_too_often(1)


def test_a_worker_that_does_anything_changes_its_note(tmp_path: Path) -> None:
    said = [note(tmp_path, 1)]
    for place in (0, 0, 1):
        died_at(tmp_path, place)
        said.append(note(tmp_path, 1))
    assert len(set(said)) == 4 and said[0] == ""
    assert json.loads(said[2])["deaths"] == {"0": 1}


def test_a_folder_is_held_by_one_run_and_given_back_as_it_was(tmp_path: Path) -> None:
    with held(tmp_path):
        token = (tmp_path / "run").read_text()
        with pytest.raises(CannotCreateError, match=r"in use by another run \(pid"), held(tmp_path):
            pass
        assert (tmp_path / "run").read_text() == token
    assert list(tmp_path.iterdir()) == []
