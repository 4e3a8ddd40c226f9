from __future__ import annotations

from importlib import metadata

import pytest

from tools.closure import closure, normalised


def test_the_core_leads_to_torch_and_to_what_torch_needs_but_not_to_test_tools() -> None:
    core = closure()
    assert {"torch", "sympy", "mpmath"} <= set(core)
    assert "pytest" not in core
    assert "singleshot" not in core


def test_an_extra_adds_to_the_core() -> None:
    core, with_dev = set(closure()), set(closure(frozenset({"dev"})))
    assert core < with_dev
    assert {"pytest", "iniconfig"} <= with_dev - core


def test_what_is_not_installed_is_an_error() -> None:
    with pytest.raises(metadata.PackageNotFoundError):
        closure(root="no-such-distribution")


def test_names_have_one_spelling() -> None:
    assert normalised("Pydantic__Core.x") == "pydantic-core-x"
