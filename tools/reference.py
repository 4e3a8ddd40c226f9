"""Write docs/reference: the public names of every file, with their signatures and docstrings, as Markdown.

Read from the syntax tree and not by import: the pages then need neither torch nor a second, and building the site can
run on a machine that has nothing of ours installed. `python -m tools.reference docs/reference` writes them;
tests/tools/test_reference.py fails where they are out of date.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "singleshot"
BY_HAND = "This page is written by `python -m tools.reference docs/reference`; change the docstrings instead.\n"
SKIPPED = ("cli", "recipes")
"""Verbs are described by `--help`; recipes are rows of choices, to be read where they are."""


def pages() -> dict[str, str]:
    """The text of each page by its file name: one for each folder of the package, one for the files beside them."""
    top = sorted(path for path in SOURCE.glob("*.py") if path.name not in ("__main__.py",))
    folders = sorted(path.parent for path in SOURCE.glob("*/__init__.py") if path.parent.name not in SKIPPED)
    made = {"singleshot.md": _page("singleshot", top)}
    for folder in folders:
        files = sorted(path for path in folder.rglob("*.py") if path.name != "__init__.py")
        made[f"{folder.name}.md"] = _page(f"singleshot.{folder.name}", files)
    lines = [f"- [{name.removesuffix('.md')}]({name})" for name in sorted(made)]
    return made | {"README.md": f"# Reference\n\n{BY_HAND}\n" + "\n".join(lines) + "\n"}


def described(path: Path) -> str:
    """One file: what it is for, then its public functions and classes. Empty for a file that holds neither."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    module = ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")
    parts = [f"## `{module}`", _text(ast.get_docstring(tree))]
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and _public(node.name):
            parts += [f"### `class {node.name}{_bases(node)}`", _text(ast.get_docstring(node))]
            for method in _functions(node):
                parts += [f"#### `{node.name}.{_signature(method)}`", _text(ast.get_docstring(method))]
    for function in _functions(tree):
        parts += [f"### `{_signature(function)}`", _text(ast.get_docstring(function))]
    return "\n\n".join(part for part in parts if part)


def main(folder: Path) -> None:
    """Write all pages, and take away those of folders that are gone."""
    made = pages()
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("*.md"):
        if stale.name not in made:
            stale.unlink()
    for name, text in made.items():
        (folder / name).write_text(text, encoding="utf-8")


def _page(title: str, files: list[Path]) -> str:
    return f"# {title}\n\n{BY_HAND}\n" + "\n\n".join(described(path) for path in files) + "\n"


def _functions(parent: ast.Module | ast.ClassDef) -> Iterator[ast.FunctionDef]:
    for node in parent.body:
        overload = isinstance(node, ast.FunctionDef) and any("overload" in ast.unparse(d) for d in node.decorator_list)
        if isinstance(node, ast.FunctionDef) and _public(node.name) and not overload:
            yield node


def _public(name: str) -> bool:
    return not name.startswith("_")


def _bases(node: ast.ClassDef) -> str:
    named = ", ".join(ast.unparse(base) for base in node.bases)
    return f"({named})" if named else ""


def _signature(node: ast.FunctionDef) -> str:
    returns = f" -> {ast.unparse(node.returns)}" if node.returns is not None else ""
    return f"{node.name}({ast.unparse(node.args)}){returns}"


def _text(docstring: str | None) -> str:
    """The docstring, its indented parts as they stand: Markdown would melt a list of arguments into a paragraph."""
    if docstring is None:
        return ""
    lead, blank, rest = docstring.partition("\n\n")
    return f"{lead}{blank}```text\n{rest}\n```" if blank else lead


if __name__ == "__main__":
    main(Path(sys.argv[1]))
