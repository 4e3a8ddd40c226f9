from __future__ import annotations

from singleshot.cli.frames_bar import frames_bar, pace


def test_d8_a_count_from_a_header_is_shown_as_a_guess_and_may_be_passed() -> None:
    assert pace(50, 200, 1.0) == "50/~200  50 frames/s  0:03 left"
    assert pace(250, 200, 5.0) == "250  50 frames/s"


def test_without_a_terminal_nothing_is_shown(capsys) -> None:
    with frames_bar("a.mp4", None) as advance:
        advance(1)
    assert capsys.readouterr().err == ""
