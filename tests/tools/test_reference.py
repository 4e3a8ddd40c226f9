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
