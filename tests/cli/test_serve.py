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


def test_h22_a_missing_model_is_reported_before_the_port_is_bound(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:  # an address that would be refused too, if it came to that
        code = exit_code(str(tmp_path / "none.safetensors"), "--port", str(taken.getsockname()[1]))
    said = capsys.readouterr().err
    assert code == 66 and "none.safetensors" in said and said.count("\n") == 1


def test_h22_a_port_in_use_exits_with_73(untrained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code = exit_code(str(untrained), "--port", str(taken.getsockname()[1]))
    assert code == 73 and "in use. Choose another --port." in capsys.readouterr().err


def test_serving_beyond_loopback_requires_a_token(untrained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(str(untrained), "--host", "0.0.0.0") == 2
    assert "SINGLESHOT_TOKEN" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("models", "said"),
    [
        (("a={0}", "a={0}"), "two models are called a"),
        (("{0}", "{0}"), "two models are called w.safetensors"),
        (("a b={0}",), "'a b' is no name"),
        (("={0}",), "'' is no name"),
    ],
)
def test_models_need_names_that_differ(
    models: tuple[str, ...], said: str, untrained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(*(each.format(untrained) for each in models)) == 2
    assert said in capsys.readouterr().err


def test_a_missing_model_among_several_is_named(
    untrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(f"a={untrained}", f"b={tmp_path / 'none.safetensors'}") == 66
    assert "none.safetensors" in capsys.readouterr().err


def test_an_origin_with_a_path_is_refused(untrained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(str(untrained), "--cors", "https://a.example/app") == 2
    assert "'https://a.example/app' is not an origin. Write it as" in capsys.readouterr().err
