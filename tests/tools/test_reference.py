from __future__ import annotations

from pathlib import Path

import pytest

from tools import reference


def test_every_public_file_has_its_place_in_a_page() -> None:
    made = reference.pages()
    everything = "\n".join(made.values())
    files = [path for path in reference.SOURCE.rglob("*.py") if path.name not in ("__init__.py", "__main__.py")]
    names = [".".join(path.relative_to(reference.SOURCE.parent).with_suffix("").parts) for path in files]
    wanted = [name for name in names if name.split(".")[1] not in reference.SKIPPED]
    assert wanted and [name for name in wanted if f"## `{name}`" not in everything] == []
    assert all(f"]({name})" in made["README.md"] for name in made if name != "README.md")


def test_a_file_is_described_by_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "SOURCE", tmp_path / "singleshot")
    (tmp_path / "singleshot").mkdir()
    file = tmp_path / "singleshot" / "a.py"
    file.write_text(
        '"""What it is.\n\nArgs:\n    x: y.\n"""\n'
        "class Thing(Base):\n    '''A thing.'''\n"
        "    def of(self, x: int = 1, *, y: str) -> None:\n        '''Does.'''\n"
        "    def _own(self): ...\n"
        "def twice(x: float) -> float:\n    '''Twice x.'''\ndef _hidden(): ...\n"
    )
    said = reference.described(file)
    assert said.startswith("## `singleshot.a`\n\nWhat it is.\n\n```text\nArgs:\n    x: y.\n```")
    assert "### `class Thing(Base)`" in said and "#### `Thing.of(self, x: int=1, *, y: str) -> None`" in said
    assert "### `twice(x: float) -> float`\n\nTwice x." in said
    assert "_own" not in said and "_hidden" not in said


def test_pages_of_folders_that_are_gone_go(tmp_path: Path) -> None:
    (tmp_path / "gone.md").write_text("x")
    reference.main(tmp_path)
    assert not (tmp_path / "gone.md").exists() and (tmp_path / "detection.md").is_file()
