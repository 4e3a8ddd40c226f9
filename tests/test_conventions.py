"""The conventions that a program can check; CONTRIBUTING.md states them in words."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "singleshot"
FILES = sorted(SOURCE.rglob("*.py"))

# Calls that only some files may make. `*` stands for any file of a folder.
ALLOWED_CALLERS = {
    "cv2.imread": ("images.py",),
    "cv2.imdecode": ("images.py", "data/masks/files.py"),
    "PIL.Image.open": (),
    "torch.load": ("foreign/torch_file.py",),
    "torch.save": (),
    "numpy.load": (),
    "yaml.load": (),
    "eval": (),
    "exec": (),
    "print": ("cli/*",),
}

# Source files that are tested in another file, and where.
TESTED_ELSEWHERE = {
    "__init__.py": "its public names are tried by tests/test_readme.py and by the tests of what they lead to",
    "__main__.py": "two lines, tried by every test of the command line that starts a process",
    "training/fit.py": "a loop is tried as a run: tests/training/test_run.py",
    "serve/preload.py": "tests/serve/test_worker.py, and SIGTERM to a process group in test_server.py",
    "serve/messages.py": "its doctest, and every request in tests/serve",
    "cli/demo.py": "verbs are tried together, on one another's output: tests/cli/test_workflow.py",
    "cli/evaluate.py": "tests/cli/test_workflow.py",
    "cli/predict.py": "tests/cli/test_workflow.py",
    "cli/predict_outputs.py": "tests/cli/test_predict.py, test_predict_images.py and test_predict_videos.py",
    "cli/train.py": "tests/cli/test_workflow.py and its doctest",
    "reporting/masks.py": "the page as a whole: tests/reporting/test_pages.py",
    "cli/report.py": "tests/reporting/test_report.py and test_comparison.py",
    "streets/scenery.py": "tests/streets/test_scene.py",
}


def name_of(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def is_folder_init(path: Path) -> bool:
    return path.name == "__init__.py" and path.parent != SOURCE


CODE = [path for path in FILES if not is_folder_init(path)]
each_code_file = pytest.mark.parametrize("path", CODE, ids=name_of)


def comments(text: str) -> Iterator[str]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


def calls(text: str) -> Iterator[str]:
    """Names of what a file calls, with the imported module's full name in front: `np.load` is numpy.load."""
    tree = ast.parse(text)
    aliases: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            aliases |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom):
            aliases |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            first, _, rest = ast.unparse(node.func).partition(".")
            yield aliases.get(first, first) + ("." + rest if rest else "")


def bad_ignores(text: str) -> list[str]:
    return [
        each for each in comments(text) if re.search(r"type:\s*ignore(?!\[)|pyright:\s*ignore(?!\[)|noqa(?!:)", each)
    ]


def todos(text: str) -> list[str]:
    return [each for each in comments(text) if re.search(r"\b(TODO|FIXME|XXX|HACK)\b", each)]


def test_source_files_are_found() -> None:
    assert len(CODE) >= 5


@each_code_file
def test_a_file_starts_with_a_docstring(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring, "a file starts with a docstring"
    assert docstring.partition("\n\n")[0].rstrip().endswith((".", ":")), "its first paragraph is a sentence"


@pytest.mark.parametrize("path", [path for path in FILES if is_folder_init(path)], ids=name_of)
def test_a_folder_init_is_empty(path: Path) -> None:
    assert not path.read_text(encoding="utf-8").strip(), "names are imported from the file that defines them"


@each_code_file
def test_no_check_is_an_assert(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)] == [], "`python -O` drops asserts"


@each_code_file
def test_restricted_calls_are_made_by_their_files_only(path: Path) -> None:
    violations = [
        call
        for call in calls(path.read_text(encoding="utf-8"))
        if call in ALLOWED_CALLERS
        and not any(path.relative_to(SOURCE).match(allowed) for allowed in ALLOWED_CALLERS[call])
    ]
    assert violations == []


@each_code_file
def test_no_comment_is_a_todo(path: Path) -> None:
    assert todos(path.read_text(encoding="utf-8")) == []


@each_code_file
def test_an_ignore_comment_names_its_rule(path: Path) -> None:
    assert bad_ignores(path.read_text(encoding="utf-8")) == []


@each_code_file
def test_every_file_has_its_tests(path: Path) -> None:
    relative = path.relative_to(SOURCE)
    # Recipes are rows of choices; tests/recipes/test_recipes.py trains three steps with each of them.
    if relative.as_posix() in TESTED_ELSEWHERE or relative.parent.name == "recipes":
        return
    mirror = ROOT / "tests" / relative.parent / f"test_{relative.stem.lstrip('_')}.py"
    assert mirror.is_file(), f"{relative} has no {mirror.relative_to(ROOT)}"


def test_decisions_are_numbered_one_by_one_and_listed() -> None:
    folder = ROOT / "docs" / "decisions"
    pages = sorted(path.name for path in folder.glob("*.md") if path.name != "README.md")
    assert [page[:4] for page in pages] == [f"{number:03}-" for number in range(1, len(pages) + 1)]
    index = (folder / "README.md").read_text(encoding="utf-8")
    assert [page for page in pages if f"({page})" not in index] == []


def test_a_decision_is_a_short_page_with_three_parts() -> None:
    for page in (ROOT / "docs" / "decisions").glob("0*.md"):
        lines = page.read_text(encoding="utf-8").splitlines()
        assert [line for line in lines if line.startswith("## ")] == ["## Context", "## Decision", "## Consequences"]
        assert len(lines) <= 40, page.name


def test_the_checks_find_violations() -> None:
    bad = (
        "import numpy as np\nfrom torch import load\nnp.load('x')  # type: ignore\nload('y')  # TODO: later\nprint(1)\n"
    )
    assert list(calls(bad)) == ["numpy.load", "torch.load", "print"]
    assert bad_ignores(bad) == ["# type: ignore"]
    assert todos(bad) == ["# TODO: later"]
    assert bad_ignores("x = 1  # type: ignore[arg-type]\ny = 2  # noqa: N801\n") == []
