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


def test_what_was_written_is_read(tmp_path: Path):
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
    safetensors.torch.save_file(TENSORS, tmp_path / "theirs")
    with pytest.raises(DataError, match="not one of singleshot's"):
        sealed.read(tmp_path / "theirs")
    with pytest.raises(InputMissingError):
        sealed.read(tmp_path / "none")
