from __future__ import annotations

from importlib import metadata

import pytest

from singleshot.cli import versions


def test_needs_are_those_of_the_package() -> None:
    assert versions.needs(None)["torch"] == "2.11"
    assert "fastapi" not in versions.needs(None) and set(versions.needs("log")) == {"tensorboard"}
    assert versions.needs("no such extra") == {}


def test_what_is_installed_here_is_new_enough() -> None:
    versions.check()


def test_a_checkout_that_was_never_installed_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_name: str) -> None:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "requires", unknown)
    assert versions.needs(None) == {}
    versions.check()


@pytest.mark.parametrize(
    ("text", "numbers"), [("2.13.0+cpu", (2, 13, 0)), ("5.0.0.93", (5, 0, 0, 93)), ("2.12.0a0", (2, 12, 0)), ("x", ())]
)
def test_versions_are_compared_by_their_numbers(text: str, numbers: tuple[int, ...]) -> None:
    assert versions.parts(text) == numbers
