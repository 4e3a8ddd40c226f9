from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import safetensors.torch
import torch

from singleshot.errors import DataError, InputMissingError
from singleshot.storage import sealed

# What hostile and damaged files do is tried on whole weights files in test_weights.py.
TENSORS = {"b": torch.tensor([1.0, 2.0]), "a": torch.zeros(0, 3), "c": torch.tensor(7)}


def test_written_tensors_are_read_back(tmp_path: Path):
    digest = sealed.write(tmp_path / "w", TENSORS, "Straße")
    tensors, record, stated = sealed.read(tmp_path / "w")
    assert (record, stated) == ("Straße", digest)
    assert set(tensors) == set(TENSORS) and all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


def test_the_hash_is_over_record_names_types_shapes_and_bytes():
    by_hand = hashlib.sha256(b"text" + b"\na torch.float32 (2,)\n" + bytes(4) + bytes([0, 0, 128, 63]))
    assert sealed.digest_of({"a": torch.tensor([0.0, 1.0])}, "text") == by_hand.hexdigest()
    base = sealed.digest_of(TENSORS, "r")
    others = [
        sealed.digest_of(TENSORS, "s"),
        sealed.digest_of({"x" + name: tensor for name, tensor in TENSORS.items()}, "r"),
        sealed.digest_of(TENSORS | {"a": torch.zeros(3, 0)}, "r"),
        sealed.digest_of(TENSORS | {"c": torch.tensor(7, dtype=torch.int32)}, "r"),
        sealed.digest_of(TENSORS | {"b": torch.tensor([1.0, 2.5])}, "r"),
    ]
    assert len({base, *others}) == 6
    assert sealed.digest_of(dict(reversed(TENSORS.items())), "r") == base


def test_another_hash_another_programs_file_and_no_file_are_refused(tmp_path: Path):
    metadata = {sealed.RECORD: "r", sealed.HASH: "0" * 64, sealed.FORMAT: "pt"}
    safetensors.torch.save_file(TENSORS, tmp_path / "w", metadata)
    with pytest.raises(DataError, match="SHA-256 mismatch"):
        sealed.read(tmp_path / "w")
    safetensors.torch.save_file(TENSORS, tmp_path / "other")
    with pytest.raises(DataError, match="singleshot did not write"):
        sealed.read(tmp_path / "other")
    with pytest.raises(InputMissingError):
        sealed.read(tmp_path / "none")


@pytest.mark.parametrize("key", ["sha256", "sealed"])
def test_sealed_json_is_read_back(key: str) -> None:
    content = {"name": "Straße", "log": [{"loss": 0.1, "map": None}], "empty": {}}
    assert sealed.unseal_json(sealed.seal_json(content, key).encode(), key) == content
    assert sealed.unseal_json(sealed.seal_json({}, key).encode(), key) == {}


def test_the_hash_of_json_is_over_its_compact_text() -> None:
    digest = hashlib.sha256(b'{"a": 1}').hexdigest()
    assert sealed.seal_json({"a": 1}) == f'{{\n "a": 1,\n "sha256": "{digest}"\n}}\n'


def test_e2_every_changed_byte_is_noticed() -> None:
    data = sealed.seal_json({"step": 3, "log": [1.5]}).encode()
    for index in range(len(data)):
        with pytest.raises(ValueError, match="damaged or cut off"):
            sealed.unseal_json(data[:index] + bytes([data[index] ^ 1]) + data[index + 1 :])


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"3", b'{"a": 1}', b"[" * 100_000])
def test_json_without_a_seal_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="damaged or cut off"):
        sealed.unseal_json(data)


def test_content_that_changes_while_it_is_written_is_sealed_as_it_was_at_one_moment() -> None:
    class Growing(dict[str, int]):
        def items(self) -> object:  # pyright: ignore[reportIncompatibleMethodOverride]
            self[f"row {len(self)}"] = 1
            return super().items()

    data = sealed.seal_json({"log": Growing({"row 0": 1})}).encode()
    assert sealed.unseal_json(data) == {"log": {"row 0": 1, "row 1": 1}}
