from __future__ import annotations

from pathlib import Path

import pytest

from tools.size import main


def test_the_longest_comes_first_and_one_over_the_budget_is_marked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "short.py").write_text("1\n")
    (tmp_path / "long.py").write_text("1\n" * 251)
    (tmp_path / "__init__.py").write_text("")
    assert main(tmp_path) == 0
    first, second, summary = capsys.readouterr().out.splitlines()
    assert first.split()[:2] == ["251", "long.py"]
    assert "idea" in first
    assert second.split() == ["1", "short.py"]
    assert summary == "2 files, 252 lines, median 126, over 250: 1"


def test_a_folder_without_code_is_no_success(tmp_path: Path) -> None:
    assert main(tmp_path) == 1
