from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tools import cases


@pytest.mark.parametrize(
    ("name", "text", "passes"),
    [
        ("good.sh", 'test -n "$SINGLESHOT" && test -n "$WEIGHTS" && echo PASS', True),
        ("bad.sh", "exit 3", False),
        ("said.sh", "echo FAIL: something", False),
        ("good.py", "print('PASS')", True),
        ("bad.py", "raise SystemExit(1)", False),
        ("train_no_guard.py", "raise SystemExit(1)", False),
        ("train_no_guard.py", "print('done')", False),
        ("train_no_guard.py", f"raise SystemExit({cases.EXPLANATIONS['train_no_guard']!r} + '…')", True),
    ],
)
def test_a_script_passes_by_its_exit_code_and_without_the_word_fail(
    tmp_path: Path, name: str, text: str, passes: bool
) -> None:
    (tmp_path / name).write_text(text)
    assert cases.run(tmp_path / name, tmp_path)[0] is passes


def test_no_script_to_run_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["cases", str(tmp_path)])
    assert cases.main() == 1 and "0 of 0 pass" in capsys.readouterr().out
