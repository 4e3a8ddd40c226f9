"""The command line as a user meets it: real processes, real messages, real exit codes."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer

from singleshot.cli import main


def singleshot(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "singleshot", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120, check=False)


def test_help_lists_the_commands_and_imports_nothing_heavy() -> None:
    shown = singleshot("--help")
    assert shown.returncode == 0
    assert all(verb in shown.stdout for verb in ("demo", "train", "evaluate", "predict"))
    loaded = (
        "import sys, singleshot.cli.main; print([n for n in ('torch', 'numba', 'cv2', 'numpy') if n in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_importing_the_package_does_not_import_torch() -> None:
    started = time.monotonic()
    code = "import sys, singleshot; print('torch' in sys.modules, 'train' in dir(singleshot))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "True"] and time.monotonic() - started < 30


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("train", "--data", "nowhere"), 66, "nowhere"),
        (("train", "bcdd", "--data", "."), 2, "Did you mean bccd?"),
        (("train", "--data", ".", "--set", "batch_sise=1"), 78, "Did you mean batch_size?"),
        (("train", "--data", ".", "--input-size", "300"), 78, "HxW"),
        (("train", "--data", ".", "--epochs", "1", "--steps", "1"), 78, "exactly one"),
        (("evaluate", "nothing.safetensors", "--data", "."), 66, "nothing.safetensors"),
        (("evaluate", "--data", "."), 2, "WEIGHTS"),
        (("predict", "nothing.safetensors", "nothing.jpg"), 66, "nothing.jpg"),
        (("predict", "w.safetensors", ".", "--threshold", "2"), 2, "--threshold"),
        (("trian",), 2, "'trian'. Did you mean 'train'?"),
        (("evaluate", "--thresold", "1"), 2, "--thresold. Did you mean --threshold?"),
        (("data", "check", ".", "--nonsense"), 2, "--nonsense. See singleshot data check --help."),
        (("train", "--data", ".", "--epochs", "many"), 2, "'--epochs'"),
        (("demo", "--minutes"), 2, "'--minutes' requires an argument"),
        (("predict",), 2, "'[WEIGHTS] SOURCES...'. See singleshot predict --help."),
        (("predict", "a.jpg", "--out"), 2, "requires an argument. See singleshot predict --help."),
        (("data", "check", ".", "--split"), 2, "requires an argument. See singleshot data check --help."),
        (("demo", "--minutes", "-1", "--out", "d"), 2, "'--minutes': Input should be greater than"),
        (("demo", "--minutes", "0", "--out", "d"), 2, "'--minutes': Input should be greater than"),
    ],
)
def test_a_wrong_command_line_gets_one_line_a_remedy_and_its_exit_code(
    arguments: tuple[str, ...], code: int, said: str, tmp_path: Path
) -> None:
    result = singleshot(*arguments, cwd=tmp_path)
    assert result.returncode == code, result.stderr
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stderr.startswith("singleshot: error: ") and result.stderr.count("\n") == 1
    assert not result.stderr.endswith(("?.\n", "..\n"))
    assert list(tmp_path.iterdir()) == []


def test_a_group_without_a_command_shows_its_help() -> None:
    result = singleshot("data")
    assert result.returncode == 2 and result.stderr.startswith("Usage: singleshot data") and "check" in result.stderr


def test_ctrl_c_prints_one_line_and_exits_with_130(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def stopped() -> None:
        raise KeyboardInterrupt

    app = typer.Typer()
    app.command()(stopped)
    monkeypatch.setattr(main, "app", app)
    with pytest.raises(SystemExit) as end:
        main.run([])
    assert end.value.code == 130 and capfd.readouterr().err == "singleshot: stopped by Ctrl-C\n"


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    result = singleshot("train", "--data", "nowhere", "--debug", cwd=tmp_path)
    assert "Traceback" in result.stderr and "InputMissingError" in result.stderr


def test_f30_a_closed_pipe_is_not_an_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "singleshot", "train", "--help"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.returncode == 0 and done.stderr == ""


def test_python_m_singleshot_names_a_command_that_can_be_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr(main, "run", lambda: seen.append([*sys.argv]))
    monkeypatch.setattr(sys, "argv", ["/somewhere/singleshot/__main__.py", "doctor"])
    runpy.run_module("singleshot", run_name="__main__")
    assert seen == [["singleshot", "doctor"]]


def test_versions_are_checked_regardless_of_debug_and_never_for_help(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[bool] = []
    monkeypatch.setattr(main.doctor, "check_versions", lambda: checked.append(True))
    for arguments in (["--debug", "data"], ["data", "--debug"], ["--help"], ["--debug", "doctor", "--help"]):
        with pytest.raises(SystemExit):
            main.run(arguments)
    assert len(checked) == 2
