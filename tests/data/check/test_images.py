"""What the rows of section C (test_audit_c_pictures.py) leave open."""

from __future__ import annotations

import logging
import os
import signal
import time
from pathlib import Path

import pytest

from singleshot import decoder_process, images
from singleshot.data.check import images as checked
from singleshot.data.check.images import ImageReport
from singleshot.errors import StoppedError


def test_a_good_image_has_a_size_and_a_digest(folder) -> None:
    report = checked.report(folder.pictures / "a.jpg")
    assert (report.size_hw, report.stored_hw, report.orientation, report.faults) == ((40, 60), (40, 60), 1, ())
    assert len(report.digest) == 16
    assert report.digest != checked.report(folder.pictures / "b.jpg").digest


def test_a_missing_image_is_a_fault_and_no_exception() -> None:
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
        (ImageReport(Path("a"), (4, 6), (4, 6)), (4, 6), None),
        (ImageReport(Path("a"), None), (4, 6), None),
        (ImageReport(Path("a"), (4, 6), (4, 6)), (4, 7), "wrong-size"),
        (ImageReport(Path("a"), (6, 4), (4, 6), 6), (6, 4), None),
        (ImageReport(Path("a"), (6, 4), (4, 6), 6), (4, 6), "wrong-size"),
        (ImageReport(Path("a"), (5, 5), (5, 5), 6), (5, 5), "rotated-picture"),
    ],
)
def test_sizes_are_compared_upright(report: ImageReport, said_hw: tuple[int, int], kind: str | None) -> None:
    fault = checked.size_fault(report, said_hw, Path("a.xml"), 3)
    assert (fault.kind if fault else None) == kind


def _work(path: Path) -> ImageReport:
    """Stands in for a decoder that dies of some pictures and hangs on others."""
    if path.stem.startswith("crash"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if path.stem.startswith("hang"):
        time.sleep(60)
    return ImageReport(path, (1, 1))


def _reports(names: list[str], processes: int, **options: float) -> dict[str, str]:
    """Kind of fault, or "good", by name."""
    found = list(checked.reports([Path(name) for name in names], processes=processes, work=_work, **options))
    assert sorted(report.path.name for report in found) == sorted(names)
    return {report.path.name: report.faults[0].kind if report.faults else "good" for report in found}


def test_every_image_gets_a_report() -> None:
    names = [str(number) for number in range(100)]
    assert set(_reports(names, 2).values()) == {"good"}
    assert _reports(names, 0) == _reports(names, 1)


@pytest.mark.parametrize("processes", [0, 2])
def test_no_images_need_no_process(processes: int) -> None:
    assert list(checked.reports([], processes=processes)) == []


@pytest.mark.timeout(60)
def test_c19_an_image_that_crashes_or_stops_the_decoder_is_named_and_the_rest_goes_on() -> None:
    names = ["a", "crash1", "b", "hang", "c", *map(str, range(40)), "crash2", "d"]
    found = _reports(names, 2, timeout_s=3.0)
    bad = {name: kind for name, kind in found.items() if kind != "good"}
    assert bad == {"crash1": "decoder-crash", "crash2": "decoder-crash", "hang": "stuck-picture"}


def test_the_message_names_the_signal() -> None:
    (report,) = checked.reports([Path("crash")], processes=1, work=_work)
    assert report.faults[0].message == "crashed the decoder (SIGSEGV). Replace or delete it."
    assert (report.faults[0].file, report.faults[0].severity) == (Path("crash"), "fatal")


def test_processes_that_cannot_start_are_no_fault_of_an_image() -> None:
    with pytest.raises(StoppedError, match="could not start"):
        list(checked.reports([Path("a")], processes=1, work=_Unloadable()))


def test_a_slow_start_is_no_fault_of_an_image_and_a_start_that_takes_for_ever_ends_the_audit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = list(checked.reports([Path("a"), Path("b")], processes=1, work=_Slow(2.0), timeout_s=1.0))
    assert [report.faults for report in found] == [(), ()]
    monkeypatch.setattr(decoder_process, "START_S", 1.0)
    started = time.monotonic()
    with pytest.raises(StoppedError, match="could not start in 1 s"):
        list(checked.reports([Path("a")], processes=1, work=_Slow(30.0)))
    assert time.monotonic() - started < 10


class _Slow:
    """Work that keeps the process which receives it waiting."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self, path: Path) -> ImageReport:
        return ImageReport(path, (1, 1))

    def __reduce__(self) -> tuple:
        return _slowly, (self.seconds,)


def _slowly(seconds: float) -> _Slow:
    time.sleep(seconds)
    return _Slow(seconds)


class _Unloadable:
    """Work that kills the process which receives it."""

    def __call__(self, path: Path) -> ImageReport:
        return ImageReport(path, None)

    def __reduce__(self) -> tuple:
        return os._exit, (3,)


def test_leaving_early_ends_the_processes() -> None:
    running = checked.reports([Path(str(number)) for number in range(50)], processes=2, work=_work)
    next(iter(running))
    started = time.monotonic()
    running.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert time.monotonic() - started < 5
