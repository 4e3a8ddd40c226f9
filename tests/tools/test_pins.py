from __future__ import annotations

import re
from pathlib import Path

from tools.pins import main, pins

CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"


def lines_of(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]


def test_every_pin_is_one_exact_version() -> None:
    pinned = lines_of(CONSTRAINTS)
    assert pinned
    assert [line for line in pinned if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line)] == []


def test_everything_that_is_needed_here_is_pinned() -> None:
    names = {line.partition("==")[0] for line in lines_of(CONSTRAINTS)}
    assert [pin for pin in pins() if pin.partition("==")[0] not in names] == []


def test_a_written_file_names_the_command_that_writes_it(tmp_path: Path) -> None:
    main(tmp_path / "constraints.txt")
    assert "make pins" in (tmp_path / "constraints.txt").read_text(encoding="utf-8")
    assert lines_of(tmp_path / "constraints.txt") == pins()
