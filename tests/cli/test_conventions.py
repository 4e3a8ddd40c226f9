"""Rows J1 to J10 of the fault matrix: how the program behaves as a program, whichever verb is asked for."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from singleshot.cli import doctor, main

RUN = "import sys; from singleshot.cli import main; main.run(sys.argv[1:])"


def run(capfd: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str]:
    """Exit code and stderr of the program, in this process."""
    with pytest.raises(SystemExit) as end:
        main.run([str(each) for each in arguments])
    return int(end.value.code or 0), capfd.readouterr().err


def process(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, timeout=120, check=False, **options
    )


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


VERBS = dict(commands(typer.main.get_command(main.app)))
each_verb = pytest.mark.parametrize("verb", VERBS, ids=" ".join)


@each_verb
def test_j1_a_misspelt_option_suggests_the_nearest(verb: tuple[str, ...], capfd: pytest.CaptureFixture[str]) -> None:
    options = [option for each in VERBS[verb].params for option in each.opts if option.startswith("--")]
    longest = max((option for option in options if option != "--help"), key=len, default="--help")
    wrong = longest[:4] + longest[5:] + "e"
    code, said = run(capfd, *verb, wrong)
    assert code == 2 and f"Did you mean {longest}?" in said and said.count("\n") == 1


def test_j1_a_misspelt_choice_suggests_the_nearest(capfd: pytest.CaptureFixture[str]) -> None:
    code, said = run(capfd, "evaluate", "w", "--data", ".", "--metric", "voc7")
    assert code == 2 and "'voc7' is not one of" in said and said.endswith("Did you mean voc07?\n")


@each_verb
def test_j2_an_invalid_number_names_option_and_range(verb: tuple[str, ...], capfd: pytest.CaptureFixture[str]) -> None:
    for each in VERBS[verb].params:
        kind = each.type_descriptor.annotation
        if not each.opts[-1].startswith("--") or kind not in (int, float):
            continue
        values = ["many", "", "1e", *(["1.5"] if kind is int else [])]
        assert each.min is not None, f"{each.opts[-1]} says nothing of its range"
        values += [
            "-1000000000",
            *(["nan"] if kind is float else []),
            *(["1e12"] if kind is float and each.max else []),
        ]
        for value in values:
            code, said = run(capfd, *verb, f"{each.opts[-1]}={value}")
            assert code == 2 and f"'{each.opts[-1]}'" in said and said.count("\n") == 1, (value, said)


def test_j2_an_option_without_a_value_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    code, said = run(capfd, "train", "--data")
    assert code == 2 and "'--data' requires an argument" in said


def test_j3_an_unknown_recipe_field_suggests_the_nearest(capfd: pytest.CaptureFixture[str], scenes: Path) -> None:
    code, said = run(capfd, "train", "--data", scenes, "--set", "optimizer.lrr=1")
    assert code == 78 and "optimizer.lr" in said


def test_j3_a_data_yaml_cannot_create_objects(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("names: !!python/object/apply:os.system ['touch made']\n")
    code, said = run(capfd, "data", "check", tmp_path)
    assert code == 78 and "data.yaml:1" in said and not (tmp_path / "made").exists()


@pytest.mark.parametrize("source", ["-", "empty", "*.jpg", "gone.jpg"])
def test_j4_a_source_without_images_exits_with_66(
    source: str, untrained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    code, said = run(capfd, "predict", untrained, source)
    assert code == 66 and source in said
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_j4_a_folder_as_weights_is_refused(capfd: pytest.CaptureFixture[str], scenes: Path) -> None:
    code, said = run(capfd, "evaluate", scenes, "--data", scenes)
    assert code in (65, 66) and str(scenes) in said


def test_j5_a_report_never_replaces_an_input(capfd: pytest.CaptureFixture[str], untrained: Path, scenes: Path) -> None:
    before = untrained.read_bytes()
    code, said = run(capfd, "evaluate", untrained, "--data", scenes, "--report", untrained, "--overwrite")
    assert code == 2 and "is itself an input" in said and untrained.read_bytes() == before


@pytest.mark.slow
def test_j6_commands_work_in_an_empty_environment(untrained: Path, scenes: Path, tmp_path: Path) -> None:
    bare = {"TMPDIR": str(tmp_path / "gone"), "LC_ALL": "C", "TZ": "Nowhere/None", "PYTHONCOERCECLOCALE": "0"}
    out = tmp_path / "größe"
    call = ["evaluate", untrained, "--data", scenes, "--metric", "voc12", "--json", out / "f.json"]
    done = process("-X", "utf8=0", "-c", RUN, *call, env=bare, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "f.json").read_text(encoding="utf-8"))["images"] == 4
    assert "\x1b" not in done.stdout + done.stderr, "colours are for terminals"


@pytest.mark.slow
def test_j7_j8_no_network_access_and_equal_results_with_o_and_strict_warnings(
    untrained: Path, scenes: Path, tmp_path: Path
) -> None:
    lonely = (
        "import sys\n"
        "def hook(event, arguments):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo'): raise OSError(f'a call home: {arguments}')\n"
        f"sys.addaudithook(hook)\n{RUN}"
    )
    for number, flags in enumerate(([], ["-O", "-W", "error"])):
        call = ["evaluate", untrained, "--data", scenes, "--json", tmp_path / f"{number}.json"]
        done = process(*flags, "-c", lonely, *call, env=os.environ | {"PYTHONWARNINGS": "error" if number else ""})
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "0.json").read_bytes() == (tmp_path / "1.json").read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs root, to become somebody else")
def test_j9_commands_work_with_a_read_only_package_and_another_home(scenes: Path, tmp_path: Path) -> None:
    code = (
        "import os, sys, ctypes\n"
        # All rights of the superuser are dropped but his name: what he may not write to, he now may not write to.
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()\n"
        "assert libc.capset(header, data) == 0\n"
        f"{RUN}"
    )
    package = tmp_path / "site" / "singleshot"
    shutil.copytree(Path(main.__file__).parents[1], package, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["chmod", "-R", "a-w", package], check=True)
    (tmp_path / "home").mkdir()
    env = {"PYTHONPATH": str(package.parent), "HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"]}
    call = ["data", "check", scenes, "--workers", "0", "--json", tmp_path / "f.json"]
    done = process("-c", code, *call, env=env)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "f.json").is_file() and not list(package.rglob("__pycache__"))


@pytest.mark.parametrize(("name", "here"), [("torch", "2.4.0"), ("opencv-python-headless", "3.4.18"), ("torch", None)])
def test_j10_an_old_or_missing_package_exits_with_78_and_its_version(
    name: str, here: str | None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    real = doctor.version
    monkeypatch.setattr(doctor, "version", lambda asked: here if asked == name else real(asked))
    code, said = run(capfd, "train", "--data", "nowhere")
    assert code == 78 and f"pip install '{name}>=" in said and (here or "not installed") in said


def test_help_takes_less_than_a_third_of_a_second() -> None:
    def spent() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    times = []
    for _ in range(4):
        before = spent()
        assert process("-m", "singleshot", "--help").returncode == 0
        times.append(spent() - before)
    assert min(times) < 0.3, times


def test_completion_lists_the_commands() -> None:
    asked = {"_SINGLESHOT_COMPLETE": "complete_bash", "COMP_WORDS": "singleshot ev", "COMP_CWORD": "1"}
    assert process("-m", "singleshot", env=os.environ | asked).stdout.split() == ["evaluate"]
