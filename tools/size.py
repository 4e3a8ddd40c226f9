"""Measure the source: lines per file, and the indicators of how many files and helpers a reader has to follow.

`python -m tools.size` prints every file, longest first, then the indicators. They are indicators and not limits: a
figure that grows is a question to the author of a change, and no test fails on it.
"""

from __future__ import annotations

import ast
import statistics
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

SOURCE = Path("src/singleshot")
SHORT_LINES = 6
"""A private function of at most so many lines that is used once may name no idea of its own."""
MODEL_TYPES = {
    *("SSD", "FCN", "SSDConfig", "FCNConfig", "Detector", "Segmenter", "WeightsFile", "SegmenterFile"),
    *("Detections", "Segmentation"),
}
"""Types by which code can tell a detector from a segmenter."""
OS_ERRORS = {
    *("OSError", "PermissionError", "FileExistsError", "FileNotFoundError", "NotADirectoryError", "IsADirectoryError"),
    "BlockingIOError",
}
OUR_ERRORS = {"DataError", "InputMissingError", "CannotCreateError", "StorageError", "NotPermittedError"}
"""The errors that an OSError of a file can become."""
Function = ast.FunctionDef | ast.AsyncFunctionDef


def read_sources(root: Path) -> dict[Path, str]:
    """Return the text of each Python file below `root` by its path. Files without a line are left out."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(root.rglob("*.py"))}
    return {path: text for path, text in texts.items() if text.strip()}


def indicators(texts: Mapping[Path, str], root: Path) -> dict[str, str]:
    """Return the indicators of some files as text, by their names.

    Args:
        texts: the files below `root`, as `read_sources` returns them; at least one.
        root: the folder of the package, whose name is the package's.
    """
    trees = {path: ast.parse(text) for path, text in texts.items()}
    functions = [node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, Function)]
    checks = [path for path, tree in trees.items() for _ in _model_checks(tree)]
    handlers = [path for path, tree in trees.items() for _ in _os_error_handlers(tree)]
    lines = [len(text.splitlines()) for text in texts.values()]
    empty = sum(1 for _ in root.rglob("*.py")) - len(texts)
    helpers = sum(map(_short_helpers, trees.values()))
    return {
        "files": f"{len(lines) + empty}",
        "of these empty": f"{empty}",
        "lines": f"{sum(lines)}",
        "median lines of a file": f"{statistics.median(lines):g}",
        "modules imported by one neighbour only": f"{len(imported_once(trees, root))}",
        "median lines of a function": f"{statistics.median(map(_length, functions)) if functions else 0:g}",
        f"private functions used once, at most {SHORT_LINES} lines": f"{helpers}",
        "isinstance checks on the kind of model": f"{len(checks)} in {len(set(checks))} files",
        "handlers that turn an OSError into one of our errors": f"{len(handlers)} in {len(set(handlers))} files",
    }


def imported_once(trees: Mapping[Path, ast.AST], root: Path) -> list[str]:
    """Return the modules that one module of their own folder imports, at its top or in a function, and no other."""
    names = {path: ".".join((root.name, *path.relative_to(root).with_suffix("").parts)) for path in trees}
    importers: dict[str, set[str]] = {name: set() for name in names.values()}
    for path, tree in trees.items():
        for node in ast.walk(tree):
            found: list[str] = []
            if isinstance(node, ast.Import):
                found = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                found = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for name in found:
                if name in importers and name != names[path]:
                    importers[name].add(names[path])
    return sorted(
        name
        for name, users in importers.items()
        if len(users) == 1 and next(iter(users)).rpartition(".")[0] == name.rpartition(".")[0]
    )


def _length(function: Function) -> int:
    """Lines without decorators and docstring."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    return lines - (len(docstring.splitlines()) if (docstring := ast.get_docstring(function, clean=False)) else 0)


def _short_helpers(tree: ast.AST) -> int:
    """Private functions of one file that are short and named once in it."""
    used = Counter(
        node.id if isinstance(node, ast.Name) else node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.Attribute)
    )
    return sum(
        _length(node) <= SHORT_LINES and used[node.name] == 1
        for node in ast.walk(tree)
        if isinstance(node, Function) and node.name.startswith("_") and not node.name.startswith("__")
    )


def _model_checks(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance" and len(node.args) == 2:
            names = {each.id if isinstance(each, ast.Name) else "" for each in ast.walk(node.args[1])}
            names |= {each.attr for each in ast.walk(node.args[1]) if isinstance(each, ast.Attribute)}
            if names & MODEL_TYPES:
                yield node


def _os_error_handlers(tree: ast.AST) -> Iterator[ast.ExceptHandler]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and node.type is not None:
            caught = {each.id for each in ast.walk(node.type) if isinstance(each, ast.Name)}
            used = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
            if caught & OS_ERRORS and used & OUR_ERRORS:
                yield node


def main(root: Path = SOURCE) -> int:
    """Print files and indicators; 1 where there is no file, because then the figures mean nothing."""
    texts = read_sources(root)
    if not texts:
        print(f"no Python file with a line in it below {root}", file=sys.stderr)
        return 1
    for path, text in sorted(texts.items(), key=lambda item: (-len(item[1].splitlines()), item[0])):
        print(f"{len(text.splitlines()):5}  {path.relative_to(root)}")
    print()
    for name, value in indicators(texts, root).items():
        print(f"{value:>14}  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
