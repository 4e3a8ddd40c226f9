from __future__ import annotations

from pathlib import Path

import pytest
import torch

from singleshot.errors import DataError
from singleshot.foreign.renaming import renamed

FILE = Path("theirs.pth")


def zeros(*names: str) -> dict[str, torch.Tensor]:
    return {name: torch.zeros(2) for name in names}


def test_the_longest_prefix_up_to_a_dot_counts():
    prefixes = {"a": "x", "a.b": "y", "ab": "z"}
    found = renamed(zeros("x.c", "y.c", "z.c"), prefixes, zeros("a.c", "a.b.c", "ab.c"), FILE)
    assert list(found) == ["a.c", "a.b.c", "ab.c"]


def test_a_prefix_of_nothing_gives_bare_names():
    assert list(renamed(zeros("0.bias"), {"conv.1": "0"}, zeros("conv.1.bias"), FILE)) == ["conv.1.bias"]
    assert renamed({}, {}, {}, FILE) == {}


def test_e5_missing_and_unknown_tensors_are_named_by_the_files_names_five_of_them_then_counted():
    wanted = zeros(*(f"conv.{place}" for place in range(7)))
    with pytest.raises(DataError) as caught:
        renamed(zeros("x.0", "surprise"), {"conv": "x"}, wanted, FILE)
    text = str(caught.value)
    assert text.startswith("theirs.pth: ") and caught.value.exit_code == 65
    assert "x.1 is missing; x.2 is missing" in text and "and 2 more" in text


def test_e4_another_shape_is_told_with_both():
    with pytest.raises(DataError, match=r"x\.c is \(3,\) and not \(2,\)"):
        renamed({"x.c": torch.zeros(3)}, {"a": "x"}, zeros("a.c"), FILE)


def test_what_may_be_left_over_is_left_over():
    tensors = zeros("x.c", "classifier.6.bias")
    assert list(renamed(tensors, {"a": "x"}, zeros("a.c"), FILE, ignored=("classifier.",))) == ["a.c"]
    with pytest.raises(DataError, match=r"classifier\.6\.bias is unknown"):
        renamed(tensors, {"a": "x"}, zeros("a.c"), FILE)
