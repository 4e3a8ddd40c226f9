"""Write docs/reference: a page for each package, which mkdocstrings fills with signatures and docstrings.

`python -m tools.reference docs/reference` writes the pages; `make docs` calls it before mkdocs. mkdocstrings reads
the source and imports nothing of ours. While it reads, `Doctests` makes code blocks of the docstrings' examples, whose
results in brackets would be taken for links.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

try:
    from griffe import Extension  # pyright: ignore[reportMissingImports]
except ImportError:  # it comes with the extra `docs`; the tests do without
    Extension = object

SOURCE = Path(__file__).parents[1] / "src" / "singleshot"
SKIPPED = ("cli", "recipes")
"""Commands are described by `--help`; recipes are rows of choices, to be read in their files."""


def pages() -> dict[str, str]:
    """Return the text of each page by its file name: one for each package, one for the modules beside them."""
    modules = sorted(path.stem for path in SOURCE.glob("*.py") if path.stem not in ("__init__", "__main__"))
    packages = sorted(path.parent.name for path in SOURCE.glob("*/__init__.py") if path.parent.name not in SKIPPED)
    made = {f"{name}.md": f"# singleshot.{name}\n\n::: singleshot.{name}\n" for name in packages}
    directives = "\n\n".join(f"::: singleshot.{name}" for name in modules)
    made["singleshot.md"] = f"# singleshot\n\n::: singleshot\n    options: {{show_submodules: false}}\n\n{directives}\n"
    links = "\n".join(f"- [{name.removesuffix('.md')}]({name})" for name in sorted(made))
    return made | {"README.md": f"# Reference\n\n{links}\n"}


def fenced(docstring: str) -> str:
    """Return a docstring with a code block around each of its doctests, which end at an empty line."""
    return re.sub(r"^>>> .*(?:\n.+)*", lambda match: f"```pycon\n{match[0]}\n```", docstring, flags=re.MULTILINE)


class Doctests(Extension):  # pyright: ignore[reportGeneralTypeIssues]  # or `object`, above
    """What mkdocs.yml gives to mkdocstrings."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        """Change the docstring of one module, class, function or attribute."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)


def main(folder: Path) -> None:
    """Write all pages, and remove those of packages that no longer exist."""
    made = pages()
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("*.md"):
        if stale.name not in made:
            stale.unlink()
    for name, text in made.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
