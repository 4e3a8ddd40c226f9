"""A second of every fuzz target, and the harness itself. Long runs: README.md."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from singleshot.errors import DataError
from tests.fuzz.harness import FoundError, Target, fuzz

FOLDER = Path(__file__).parent
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if "TARGET = Target(" in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "test_fuzz"])
@pytest.mark.filterwarnings("ignore")  # decoders warn about what they refuse a line later
def test_damaged_input_is_answered_or_refused(name: str, tmp_path: Path) -> None:
    target: Target = import_module(f"tests.fuzz.{name}").TARGET
    assert target.name == name
    outcome = fuzz(target, seconds=0.8, seed=1, keep=tmp_path)
    assert outcome.inputs >= len(target.seeds) and outcome.answers


def test_every_target_is_listed_with_its_last_long_run() -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert [name for name in NAMES if f"`{name}`" not in page and name != "test_fuzz"] == []


@pytest.mark.parametrize("failure", [ValueError("a bug"), AssertionError("wrong"), DataError("two\nlines", file="a")])
def test_what_breaks_the_law_is_found_and_kept(failure: Exception, tmp_path: Path) -> None:
    def run(data: bytes, _scratch: Path) -> str:
        if b"x" in data:
            raise failure
        return "good"

    if isinstance(failure, DataError):
        failure.message = "fine"
        assert fuzz(Target("t", [b"x"], [b"x"], run), seconds=0.05).answers["fine"] > 0
        return
    with pytest.raises(FoundError) as caught:
        fuzz(Target("t", [b"a"], [b"x"], run), seconds=60, keep=tmp_path)
    assert b"x" in caught.value.file.read_bytes() and caught.value.__cause__ is failure


def test_equal_seeds_try_the_same() -> None:
    tried: list[list[bytes]] = [[], []]
    for inputs in tried:
        fuzz(Target("t", [b"abc"], [b"x"], lambda data, _, inputs=inputs: inputs.append(data) or "good"), seconds=0.05)
    length = min(map(len, tried))
    assert length > 5 and tried[0][:length] == tried[1][:length]
