from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from singleshot.cli import data_check
from singleshot.cli.main import app
from singleshot.data.check.report import Audit
from singleshot.errors import CannotCreateError, DataError, Fault, InputMissingError, UsageError
from singleshot.streets import write


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    return write.make(tmp_path / "streets", train=3, val=1, test=1, size_hw=(150, 200), seed=1, workers=1)


def check(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["data", "check", "--workers", "0", *map(str, arguments)])


def test_clean_data_ends_with_0_and_says_what_it_is(drawn: Path) -> None:
    result = check(drawn)
    assert result.exit_code == 0
    assert result.output.startswith("voc: 5 pictures, ")


def test_a_fatal_fault_ends_with_65_and_is_shown_counted_and_written(drawn: Path, tmp_path: Path) -> None:
    picture = min((drawn / "JPEGImages").iterdir())
    picture.write_bytes(picture.read_bytes()[:1000])
    file = tmp_path / "faults.json"
    result = check(drawn, "--json", file)
    assert isinstance(result.exception, DataError) and result.exception.exit_code == 65
    assert "1 fatal fault" in str(result.exception)
    assert f"{picture}: truncated" in result.output and "truncated-picture  fatal         1" in result.output
    written = json.loads(file.read_text(encoding="utf-8"))
    assert list(written) == ["format", "images", "objects", "classes", "faults"]
    (fault,) = [fault for fault in written["faults"] if fault["severity"] == "fatal"]
    assert (fault["file"], fault["line"], fault["kind"]) == (str(picture), None, "truncated-picture")


def test_twenty_of_a_kind_are_shown_and_the_rest_counted() -> None:
    faults = tuple(Fault(Path("a.xml"), line, "clipped-box", "warning", "[red]thin[/red].") for line in range(25))
    shown = data_check.lines(Audit("voc", 1, 25, ("cat",), faults))
    assert sum(line.startswith("  a.xml:") for line in shown) == 20
    assert "  … and 5 more: all are in --json FILE" in shown and shown[-1] == "clipped-box  warning      25"


def test_nothing_is_written_into_the_data_nor_over_a_file(drawn: Path, tmp_path: Path) -> None:
    before = sorted(drawn.rglob("*"))
    result = check(drawn, "--json", drawn / "faults.json")
    assert isinstance(result.exception, CannotCreateError) and "never written to" in str(result.exception)
    assert sorted(drawn.rglob("*")) == before
    file = tmp_path / "faults.json"
    file.write_text("mine", encoding="utf-8")
    assert isinstance(check(drawn, "--json", file).exception, CannotCreateError)
    assert file.read_text(encoding="utf-8") == "mine"
    assert check(drawn, "--json", file, "--overwrite").exit_code == 0


def test_options_reach_the_audit(drawn: Path) -> None:
    assert check(drawn, "--split", "val").output.startswith("voc: 1 pictures, ")
    assert isinstance(check(drawn, "--split", "nope").exception, InputMissingError)
    assert isinstance(check(drawn, "--data-format", "klingon").exception, UsageError)
    assert isinstance(check(drawn, "--classes", "zebra").exception, DataError)
