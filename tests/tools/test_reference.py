from __future__ import annotations

from pathlib import Path

from tools import reference


def test_every_public_module_is_in_a_page() -> None:
    made = reference.pages()
    everything = "\n".join(made.values()).splitlines()
    files = [path for path in reference.SOURCE.rglob("*.py") if path.name not in ("__init__.py", "__main__.py")]
    parts = {path.relative_to(reference.SOURCE).with_suffix("").parts[0] for path in files} - {*reference.SKIPPED}
    assert len(parts) > 10 and [name for name in parts if f"::: singleshot.{name}" not in everything] == []
    assert all(f"]({name})" in made["README.md"] for name in made if name != "README.md")


def test_pages_of_packages_that_no_longer_exist_are_removed(tmp_path: Path) -> None:
    (tmp_path / "gone.md").write_text("x")
    reference.main(tmp_path)
    assert not (tmp_path / "gone.md").exists() and (tmp_path / "detection.md").is_file()


def test_each_doctest_of_a_docstring_becomes_a_code_block() -> None:
    text = "Say.\n\n>>> a = [1]\n>>> a\n[1]\n\nThen:\n\n>>> b\n2\n\nArgs:\n    x: one."
    assert reference.fenced(text).count("```pycon\n>>> ") == 2 == text.count("\n\n>>> ")
    assert "[1]\n```\n\nThen:" in reference.fenced(text) and reference.fenced(text).endswith(
        "2\n```\n\nArgs:\n    x: one."
    )
    assert reference.fenced("No example: `a >>> b`.") == "No example: `a >>> b`."
