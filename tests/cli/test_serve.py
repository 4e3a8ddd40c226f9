"""`singleshot serve` as a person starts it; what it serves is tried in tests/serve."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from singleshot.cli import main


def exit_code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main.run(["serve", *arguments])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_h22_a_model_that_is_missing_is_said_before_anything_is_bound(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:  # an address that would be refused too, if it came to that
        code = exit_code(str(tmp_path / "none.safetensors"), "--port", str(taken.getsockname()[1]))
    said = capsys.readouterr().err
    assert code == 66 and "none.safetensors" in said and said.count("\n") == 1


def test_h22_a_port_in_use_ends_with_73(untrained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code = exit_code(str(untrained), "--port", str(taken.getsockname()[1]))
    assert code == 73 and "in use. Choose another --port." in capsys.readouterr().err


def test_beyond_this_machine_a_token_is_asked_for(untrained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(str(untrained), "--host", "0.0.0.0") == 2
    assert "SINGLESHOT_TOKEN" in capsys.readouterr().err
