from __future__ import annotations

import json
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from singleshot.cli import doctor
from singleshot.cli.main import app


def test_doctor_lists_the_installation_and_exits_with_0(tmp_path: Path) -> None:
    for _ in range(2):
        result = CliRunner().invoke(app, ["doctor", "--json", str(tmp_path / "d.json")])
        assert result.exit_code == 0, result.exception
    facts = json.loads((tmp_path / "d.json").read_text())
    assert facts["packages"]["torch"] == torch.__version__
    assert torch.__version__ in result.output and "serve" in result.output
    assert set(doctor.JSON_KEYS) <= set(facts) and facts["verbs"]["serve"]["ready"] in (True, False)


def test_missing_packages_of_a_command_are_named_with_their_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor.version
    replaced = {"tensorboard": None, "fastapi": "0.1"}
    monkeypatch.setattr(doctor, "version", lambda name: replaced[name] if name in replaced else real(name))
    verbs = doctor.examine()["verbs"]
    log, serve = verbs["train --log tensorboard"], verbs["serve"]
    assert not log["ready"] and log["missing"][0].startswith("tensorboard>=")
    assert log["remedy"] == "pip install 'singleshot[log]'"
    assert not serve["ready"] and "installed is 0.1" in serve["missing"][0]


def test_a_command_with_two_extras_names_both(monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor.version
    monkeypatch.setattr(doctor, "version", lambda name: None if name in ("onnx", "scipy") else real(name))
    verbs = doctor.examine()["verbs"]
    openvino = verbs["export --format openvino"]
    assert any(each.startswith("onnx>=") for each in openvino["missing"])
    assert openvino["remedy"] == "pip install 'singleshot[export,openvino]'"
    assert not verbs["predict on video, --track"]["ready"], "tracks take scipy"


def test_doctor_works_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(doctor, "_folders", lambda: (_ for _ in ()).throw(ImportError()))
    result = CliRunner().invoke(app, ["doctor"], catch_exceptions=False)
    assert result.exit_code == 0 and "not installed" in result.output.partition("backends")[0].partition("devices")[2]


def test_doctor_survives_a_broken_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> str:
        raise RuntimeError("no such\nlibrary")

    def absent() -> str:
        raise ImportError

    monkeypatch.setattr(doctor, "_openvino", broken)
    monkeypatch.setattr(doctor, "_onnxruntime", absent)
    backends = doctor.examine()["backends"]
    assert backends["openvino"] == {"broken": "RuntimeError: no such library"} and backends["onnxruntime"] is None


def test_doctor_does_not_replace_a_file_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text("{}")
    assert CliRunner().invoke(app, ["doctor", "--json", str(tmp_path / "mine.json")]).exit_code
    assert (tmp_path / "mine.json").read_text() == "{}"


def test_requirements_are_those_of_the_package() -> None:
    assert doctor.requirements(None)["torch"] == "2.11"
    assert "fastapi" not in doctor.requirements(None) and set(doctor.requirements("log")) == {"tensorboard"}
    assert doctor.requirements("no such extra") == {}


def test_the_installed_packages_are_new_enough() -> None:
    doctor.check_versions()


def test_a_checkout_that_was_never_installed_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_name: str) -> None:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "requires", unknown)
    assert doctor.requirements(None) == {}
    doctor.check_versions()


@pytest.mark.parametrize(
    ("text", "numbers"), [("2.13.0+cpu", (2, 13, 0)), ("5.0.0.93", (5, 0, 0, 93)), ("2.12.0a0", (2, 12, 0)), ("x", ())]
)
def test_versions_are_compared_by_their_leading_numbers(text: str, numbers: tuple[int, ...]) -> None:
    assert doctor.version_numbers(text) == numbers


@pytest.mark.parametrize(
    ("name", "installed", "task"),
    [
        ("av", "17.1.0", "predict on video, --track"),
        ("uvicorn", "0.55.0", "serve"),
        ("uvicorn", "0.33.0", "serve"),
        ("hotcoco", "2.0", "demo, train, evaluate, predict, data, weights, benchmark"),
        ("opencv-python-headless", "4.9.0.80", "demo, train, evaluate, predict, data, weights, benchmark"),
    ],
)
def test_a_version_outside_our_bounds_is_named_for_the_command_that_needs_it(
    name: str, installed: str, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = doctor.version
    monkeypatch.setattr(doctor, "version", lambda each: installed if each == name else of(each))
    facts = doctor.examine()
    assert facts["packages"][name] == installed
    assert any(f"{name}>=" in each and f"installed is {installed}" in each for each in facts["verbs"][task]["missing"])


def test_upper_bounds_are_those_of_the_package() -> None:
    assert doctor.upper_bounds().get("hotcoco") == "2" and "torch" not in doctor.upper_bounds()


def test_every_extra_belongs_to_a_task_of_a_user() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    extras = set(tomllib.loads(text)["project"]["optional-dependencies"])
    assert {extra for each in doctor.EXTRAS.values() for extra in each} == extras


def test_a_package_that_is_pinned_is_a_requirement_too(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ['teacher-model==0.1.0; extra == "pretrain"', "torch>=2.11"]
    monkeypatch.setattr(metadata, "requires", lambda name: lines)
    assert doctor.requirements("pretrain") == {"teacher-model": "0.1.0"}
    assert doctor.requirements(None) == {"torch": "2.11"}
