from __future__ import annotations

from pathlib import Path

import pytest

from singleshot.errors import DataError
from singleshot.training.manifest import sealed, unsealed


def test_what_is_unsealed_is_what_was_sealed() -> None:
    content = {"name": "Straße", "log": [{"loss": 0.1, "map": None}], "empty": {}}
    assert unsealed(sealed(content).encode(), Path("m.json")) == content
    assert unsealed(sealed({}).encode(), Path("m.json")) == {}


def test_e2_every_changed_byte_is_noticed() -> None:
    data = sealed({"step": 3, "log": [1.5]}).encode()
    for place in range(len(data)):
        with pytest.raises(DataError, match=r"m\.json: damaged or cut off"):
            unsealed(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :], Path("m.json"))


def test_content_that_changes_while_it_is_written_is_sealed_as_it_was_at_one_moment() -> None:
    class Growing(dict[str, int]):
        def items(self) -> object:  # pyright: ignore[reportIncompatibleMethodOverride]
            self[f"row {len(self)}"] = 1
            return super().items()

    data = sealed({"log": Growing({"row 0": 1})}).encode()
    assert unsealed(data, Path("m.json")) == {"log": {"row 0": 1, "row 1": 1}}
