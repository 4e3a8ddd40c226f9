"""What the rows of section C (test_audit_c_pictures.py) leave open."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from singleshot import images
from singleshot.data.check import images as checked
from singleshot.data.check.images import PictureReport


def test_a_good_picture_has_a_size_and_a_digest(folder) -> None:
    report = checked.report(folder.pictures / "a.jpg")
    assert (report.size_hw, report.stored_hw, report.orientation, report.faults) == ((40, 60), (40, 60), 1, ())
    assert len(report.digest) == 16
    assert report.digest != checked.report(folder.pictures / "b.jpg").digest


def test_a_missing_picture_is_a_fault_and_no_exception() -> None:
    report = checked.report(Path("nowhere.jpg"))
    assert [(fault.kind, fault.severity) for fault in report.faults] == [("unreadable-file", "fatal")]
    assert report.size_hw is None and report.digest == b""


def test_what_the_decoder_logs_goes_to_the_report_and_not_to_the_screen(folder, capfd) -> None:
    whole = folder.encoded()
    path = folder.picture("a.jpg", whole[:-2] + b"\x00\x11\x22" + whole[-2:])
    (fault,) = checked.report(path).faults
    assert fault.kind == "doubtful-picture" and "extraneous" in fault.message
    assert capfd.readouterr().err == ""
    assert not any(isinstance(each, checked._Doubts) for each in logging.getLogger(images.__name__).handlers)


@pytest.mark.parametrize(
    ("report", "said_hw", "kind"),
    [
        (PictureReport(Path("a"), (4, 6), (4, 6)), (4, 6), None),
        (PictureReport(Path("a"), None), (4, 6), None),
        (PictureReport(Path("a"), (4, 6), (4, 6)), (4, 7), "wrong-size"),
        (PictureReport(Path("a"), (6, 4), (4, 6), 6), (6, 4), None),
        (PictureReport(Path("a"), (6, 4), (4, 6), 6), (4, 6), "wrong-size"),
        (PictureReport(Path("a"), (5, 5), (5, 5), 6), (5, 5), "rotated-picture"),
    ],
)
def test_sizes_are_compared_upright(report: PictureReport, said_hw: tuple[int, int], kind: str | None) -> None:
    fault = checked.size_fault(report, said_hw, Path("a.xml"), 3)
    assert (fault.kind if fault else None) == kind
