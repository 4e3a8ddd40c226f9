"""What a verb may write where: nothing of the user's is covered up, and a bad place shows before the work."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from singleshot.cli import outputs
from singleshot.cli.main import app
from singleshot.errors import CannotCreateError, NotPermittedError, UsageError

KEYS = ("metric", "images")
REPORT = json.dumps({"metric": "voc07", "map": None, "images": 3})


def write(path: Path, text: str = "mine") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_no_outputs_are_accepted() -> None:
    outputs.check(None, json_file=None, inputs=[None])


def test_a_new_file_in_a_new_folder_is_accepted(tmp_path: Path) -> None:
    outputs.check(tmp_path / "new" / "deep" / "a.png", json_file=tmp_path / "a.json", inputs=[tmp_path])
    assert list(tmp_path.iterdir()) == []


def test_j5_an_output_that_is_an_input_is_refused_even_with_overwrite(tmp_path: Path) -> None:
    weights = write(tmp_path / "w.safetensors")
    link = tmp_path / "other name"
    os.link(weights, link)
    for name in (weights, tmp_path / "." / "w.safetensors", link):
        with pytest.raises(UsageError, match="input"):
            outputs.check(json_file=name, json_keys=KEYS, inputs=["vgg16-hed", weights], overwrite=True)
    assert weights.read_text() == "mine"


def test_j5_a_file_of_an_input_folder_is_never_replaced(tmp_path: Path) -> None:
    annotation = write(tmp_path / "data" / "Annotations" / "a.xml")
    with pytest.raises(UsageError, match="of the input"):
        outputs.check(annotation, inputs=[tmp_path / "data"], overwrite=True)


@pytest.mark.parametrize("text", ["mine", "{", '{"images": [], "annotations": []}', "[1]", '{"metric": 1', ""])
def test_an_existing_file_is_replaced_only_with_overwrite(tmp_path: Path, text: str) -> None:
    there = write(tmp_path / "a.json", text)
    for asked in ({"json_file": there, "json_keys": KEYS}, {"json_file": there}):
        with pytest.raises(CannotCreateError, match="--overwrite") as raised:
            outputs.check(**asked)
        assert raised.value.exit_code == 73
        outputs.check(**asked, overwrite=True)


def test_only_a_json_report_of_the_same_command_may_be_replaced(tmp_path: Path) -> None:
    report = write(tmp_path / "a.json", REPORT)
    outputs.check(json_file=report, json_keys=KEYS, inputs=[tmp_path])
    with pytest.raises(CannotCreateError):
        outputs.check(report, json_keys=KEYS)
    with pytest.raises(CannotCreateError):
        outputs.check(json_file=report, json_keys=("threshold", "pictures"))
    with pytest.raises(UsageError):
        outputs.check(json_file=report, json_keys=KEYS, inputs=[report])


def test_a_dangling_link_counts_as_existing(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    with pytest.raises(CannotCreateError, match="already exists"):
        outputs.check(tmp_path / "link")


def test_a_folder_as_file_and_a_file_as_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotCreateError, match="is a folder"):
        outputs.check(tmp_path, overwrite=True)
    file = write(tmp_path / "file")
    for deep in (file / "a.json", file / "deep" / "a.json"):
        with pytest.raises(CannotCreateError, match="file"):
            outputs.check(deep)
    with pytest.raises(CannotCreateError, match="is a file"):
        outputs.check_folder(file)


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
def test_a_folder_without_write_permission_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    # The superuser, as whom tests may run, is refused nothing; so the answer of the system is given here.
    monkeypatch.setattr(os, "access", lambda place, _mode: Path(place) != closed)
    with pytest.raises(NotPermittedError, match="closed"):
        outputs.check(closed / "new" / "a.json")


def test_two_outputs_with_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="twice"):
        outputs.check(tmp_path / "a", json_file=tmp_path / "a")
    with pytest.raises(UsageError, match="twice"):
        outputs.check(json_file=tmp_path / "best.safetensors", reserved=[tmp_path / "best.safetensors"])


def test_two_paths_of_one_file_are_one_output(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    with pytest.raises(UsageError, match="twice"):
        outputs.check(tmp_path / "folder" / "a", tmp_path / "link" / "a")
    write(tmp_path / "folder" / "a")
    os.link(tmp_path / "folder" / "a", tmp_path / "b")
    with pytest.raises(UsageError, match="twice"):
        outputs.check(tmp_path / "b", reserved=[tmp_path / "link" / "a"], overwrite=True)


def test_thousands_of_outputs_need_few_system_calls_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count, asked = 5000, 0

    def counted(ask: Any) -> Any:
        def asking(*args: Any, **options: Any) -> Any:
            nonlocal asked
            asked += 1
            return ask(*args, **options)

        return asking

    files = [tmp_path / "out" / f"{number}.jpg" for number in range(count)]
    sources = [tmp_path / "in" / f"{number}.jpg" for number in range(count)]
    for name in ("stat", "lstat", "access"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    outputs.check(*files, inputs=sources, json_file=tmp_path / "out" / "a.json")
    assert count <= asked < 10 * count


VERBS = [("data", "stats"), ("data", "anchors", "--input-size", "64x96"), ("data", "check", "--workers", "0")]


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb[1])
def test_j5_data_commands_replace_neither_data_nor_files_of_the_user(
    verb: tuple[str, ...], scenes: Path, tmp_path: Path
) -> None:
    def run(*more: str | Path) -> Result:
        return CliRunner().invoke(app, [*verb[:2], str(scenes), *verb[2:], *map(str, more)])

    annotation = min((scenes / "Annotations").iterdir())
    before = annotation.read_bytes()
    assert isinstance(run("--json", annotation, "--overwrite").exception, UsageError | CannotCreateError)
    assert annotation.read_bytes() == before
    mine = write(tmp_path / "mine.json", REPORT)
    assert isinstance(run("--json", mine).exception, CannotCreateError)
    assert mine.read_text() == REPORT
    assert run("--json", mine, "--overwrite").exit_code == 0
    assert run("--json", mine).exit_code == 0, "its own report is written again"


def test_j5_weights_info_does_not_change_the_weights(untrained: Path, tmp_path: Path) -> None:
    before = untrained.read_bytes()
    for call in (("--json", untrained), ("--json", untrained, "--overwrite")):
        result = CliRunner().invoke(app, ["weights", "info", str(untrained), *map(str, call)])
        assert isinstance(result.exception, UsageError)
    assert untrained.read_bytes() == before
    for _ in range(2):
        result = CliRunner().invoke(app, ["weights", "info", str(untrained), "--json", str(tmp_path / "info.json")])
        assert result.exit_code == 0
