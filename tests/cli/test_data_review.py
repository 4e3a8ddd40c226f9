"""`singleshot data review`: the list on the terminal, its files, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from singleshot.cli.main import app
from singleshot.errors import CannotCreateError, UsageError


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["data", "review", *map(str, arguments)], catch_exceptions=False)


def test_review_writes_page_list_json_and_files_for_tools(untrained: Path, scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    kinds = "labelme,labelstudio,cvat,voc,yolo,coco"
    result = run(untrained, "--data", scenes, "--out", out, "--json", tmp_path / "a.json", "--save", kinds)
    assert result.exit_code == 0, result.output
    facts = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert facts["images"] == 7 and 0 < len(facts["rows"]) <= 100
    assert f"{len(facts['rows'])} disagreements in 7 images" in result.output
    listed = {Path(row["file"]).stem for row in facts["rows"]}
    assert {path.stem for path in (out / "labelme").iterdir()} == listed
    assert {path.stem for path in (out / "voc").iterdir()} == listed
    assert {path.stem for path in (out / "yolo").iterdir()} == {*listed, "classes"}
    assert len(json.loads((out / "coco.json").read_text())["images"]) == len(listed)
    assert (out / "cvat.xml").is_file() and (out / "labelstudio" / "tasks.json").is_file()
    with pytest.raises(CannotCreateError, match="already exists"):
        run(untrained, "--data", scenes, "--out", out)
    assert run(untrained, "--data", scenes, "--out", out, "--save", kinds, "--overwrite", "--count", "3").exit_code == 0


def test_one_split_is_reviewed(untrained: Path, scenes: Path, tmp_path: Path) -> None:
    result = run(untrained, "--data", scenes, "--split", "val", "--out", tmp_path / "out")
    assert "in 1 images" in result.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "either RUN or --folds"),
        (("--recipe", "bccd"), "are for --folds"),
        (("--folds", "2", "--recipe", "fcn8s_camvid"), "segmenter"),
        (("--folds", "2", "--save", "csv"), "not saved as 'csv'"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    options: tuple[str, ...], message: str, scenes: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        run("--data", scenes, "--out", tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()


def test_the_data_folder_is_never_written_to(untrained: Path, scenes: Path) -> None:
    with pytest.raises(CannotCreateError, match="never written to"):
        run(untrained, "--data", scenes, "--out", scenes / "review")
