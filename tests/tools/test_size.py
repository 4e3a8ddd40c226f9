from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tools.size import imported_once, indicators, main, read_sources

LONG = 'def _long():\n    """Say."""\n' + "    pass\n" * 7 + "\n_long()\n"
SHORT = "def _once():\n    pass\n\ndef _twice():\n    pass\n\n_once()\n_twice()\n_twice()\n"
CHECKS = "isinstance(x, int)\nisinstance(x, SSD | FCN)\nisinstance(x, weights.SegmenterFile)\n"
HANDLERS = (
    "try:\n    pass\nexcept PermissionError as error:\n    raise NotPermittedError(str(error)) from error\n"
    "except OSError:\n    pass\nexcept ValueError:\n    raise DataError('') from None\n"
)


def package(folder: Path, **files: str) -> Path:
    root = folder / "package"
    for name, text in {"__init__": "", **files}.items():
        path = root / (name.replace("__in__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_longest_file_comes_first_and_empty_ones_are_not_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = package(tmp_path, short="1\n", long="1\n" * 251)
    assert main(root) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["251", "long.py"] and lines[1].split() == ["1", "short.py"]
    figures = indicators(read_sources(root), root)
    assert (figures["files"], figures["of these empty"]) == ("3", "1")
    assert (figures["lines"], figures["median lines of a file"]) == ("252", "126")


def test_the_indicators_count_helpers_checks_and_handlers(tmp_path: Path) -> None:
    root = package(tmp_path, a=LONG, b=SHORT, c=CHECKS, d=HANDLERS)
    figures = indicators(read_sources(root), root)
    assert figures["private functions used once, at most 6 lines"] == "1"
    assert figures["median lines of a function"] == "2"
    assert figures["isinstance checks on the kind of model"] == "2 in 1 files"
    assert figures["handlers that turn an OSError into one of our errors"] == "1 in 1 files"


def test_a_module_of_one_importer_in_its_folder_is_counted(tmp_path: Path) -> None:
    root = package(
        tmp_path,
        used_once="1\n",
        used_twice="1\n",
        a="from package import used_once, used_twice\n",
        b="def f():\n    from package.used_twice import x\n",
        inner__in__c="import package.a\n",
    )
    trees = {path: ast.parse(text) for path, text in read_sources(root).items()}
    assert imported_once(trees, root) == ["package.used_once"]


def test_a_folder_without_code_is_not_a_success(tmp_path: Path) -> None:
    assert main(tmp_path) == 1
