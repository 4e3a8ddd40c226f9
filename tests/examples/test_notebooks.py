"""The notebooks of the documentation: each is tidy and uses public names alone; `make test-long` runs them."""

from __future__ import annotations

import ast
import json
import os
from pathlib import Path
from typing import Any

import pytest

import singleshot
from tests.test_readme import unknown_parts

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def code_cells(path: Path) -> list[str]:
    return ["".join(cell["source"]) for cell in read(path)["cells"] if cell["cell_type"] == "code"]


def private_names(code: str) -> list[str]:
    """What a program takes from singleshot beyond `import singleshot` and its public names."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found += [each.name for each in node.names if each.name.startswith("singleshot.")]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "singleshot":
            public = node.module == "singleshot"
            found += [each.name for each in node.names if not public or each.name not in singleshot.__all__]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "singleshot":
            found += [node.attr] if node.attr not in (*singleshot.__all__, "__file__") else []
        elif isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            found.append(node.attr)
    return found


def run_calls(code: str) -> list[list[str]]:
    """The words of each call of the notebook's own `run`, which starts a command; a placeholder for what is no text."""
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    return [
        [str(each.value) if isinstance(each, ast.Constant) else "X" for each in call.args]
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id == "run"
    ]


def test_there_are_two_notebooks_and_a_page_links_to_each() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["deploy", "own-data"]
    index = (FOLDER.parent / "how-to" / "notebooks.md").read_text(encoding="utf-8")
    assert [path.name for path in NOTEBOOKS if f"(../notebooks/{path.name})" not in index] == []


@each_notebook
def test_a_notebook_is_valid_and_stored_without_outputs(path: Path) -> None:
    stored = read(path)
    assert (stored["nbformat"], stored["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in stored["cells"]]
    assert len(set(ids)) == len(ids) and stored["cells"][0]["cell_type"] == "markdown"
    for cell in stored["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None


@each_notebook
def test_the_code_of_a_notebook_compiles_and_uses_public_names_alone(path: Path) -> None:
    cells = code_cells(path)
    assert len(cells) >= 5
    for cell in cells:
        compile(cell, path.name, "exec")
        assert private_names(cell) == []
        assert [part for words in run_calls(cell) for part in unknown_parts(words)] == []


def test_the_checks_find_what_is_private_or_unknown() -> None:
    bad = "import singleshot.data\nfrom singleshot.errors import Fault\nsingleshot.hub()\nmodel._results([])\n"
    assert private_names(bad) == ["singleshot.data", "Fault", "hub", "_results"]
    assert private_names("from singleshot import load\nsingleshot.load('x').predict('y')\n") == []
    assert run_calls('run("data", "check", DATA)\nrun("train", "--steps", 60)') == [
        ["data", "check", "X"],
        ["train", "--steps", "60"],
    ]


@pytest.mark.skipif(not os.environ.get("SINGLESHOT_LONG"), reason="minutes: make test-long runs it")
@pytest.mark.timeout(1200)
@pytest.mark.filterwarnings("default")
@each_notebook
def test_a_notebook_runs_from_top_to_bottom(path: Path, tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat", reason="needs the extra notebooks")
    nbclient = pytest.importorskip("nbclient", reason="needs the extra notebooks")
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    nbclient.NotebookClient(notebook, timeout=1000, resources={"metadata": {"path": str(tmp_path)}}).execute()
    kinds = {
        kind
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if output.output_type in ("display_data", "execute_result")
        for kind in output.data
    }
    assert "image/png" in kinds, "a result is shown as its image"
    assert path.stem != "own-data" or "text/html" in kinds, "a report is shown as a table"
