from __future__ import annotations

import builtins
import json
import math
import pickle
import resource
import struct
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from singleshot import weights
from singleshot.config import to_json_dict
from singleshot.detection.ssd import SSD, config_for
from singleshot.errors import DataError, InputMissingError, StorageError
from singleshot.preprocess import Preprocess
from singleshot.storage import sealed

CLASSES = ("car", "Fußgänger")
PICKLE_PROTOCOLS = (2, 3, 4, 5)


@pytest.fixture(scope="module")
def network() -> SSD:
    torch.manual_seed(0)
    return SSD(config_for("lite320-fine", CLASSES, input_size_hw=(96, 128))).eval()


@pytest.fixture(scope="module")
def good(network: SSD, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "good.safetensors"
    weights.save(path, network, {"command": "train", "score": 0.5})
    return path


def write(path: Path, tensors: dict[str, torch.Tensor], record: Any) -> Path:
    """A file with a right hash, as somebody else's program could make it."""
    text = record if isinstance(record, str) else json.dumps(record)
    metadata = {sealed.RECORD: text, sealed.HASH: sealed.digest_of(tensors, text), "format": "pt"}
    safetensors.torch.save_file(tensors, path, metadata)
    return path


def record_of(network: SSD, **changes: object) -> dict[str, Any]:
    return {"schema": 1, "task": "detection", "config": to_json_dict(network.config), "provenance": {}} | changes


def refusal(path: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        weights.load(path)
    assert caught.value.file == path
    assert caught.value.exit_code == 65
    return caught.value


def test_a_loaded_network_gives_equal_outputs_names_config_and_provenance(network: SSD, good: Path):
    loaded = weights.load(good)
    images = torch.randn(2, 3, 96, 128)
    with torch.inference_mode():
        before, after = network(images), loaded.network(images)
    assert torch.equal(before.class_logits, after.class_logits)
    assert torch.equal(before.box_offsets, after.box_offsets)
    assert loaded.network.config == network.config
    assert loaded.network.config.class_names == CLASSES
    assert loaded.provenance == {"command": "train", "score": 0.5}
    assert not loaded.network.training


def test_the_hash_is_the_same_for_the_same_weights_and_another_for_others(network: SSD, good: Path, tmp_path: Path):
    provenance = {"command": "train", "score": 0.5}
    assert weights.save(tmp_path / "again", network, provenance) == weights.load(good).sha256
    assert weights.save(tmp_path / "other", network, provenance | {"score": 0.6}) != weights.load(good).sha256


@pytest.fixture
def copy(good: Path, tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "copy.safetensors"
    path.write_bytes(good.read_bytes())
    yield path


def test_e1_a_file_cut_at_any_place_is_refused(copy: Path):
    size = copy.stat().st_size
    header = struct.unpack("<Q", copy.read_bytes()[:8])[0]
    for length in sorted(
        {0, 1, 7, 8, 9, header, header + 7, header + 8, header + 9, size // 2, size - 1}, reverse=True
    ):
        with copy.open("r+b") as file:
            file.truncate(length)
        assert refusal(copy).kind == "damaged-weights"


def test_bytes_behind_the_end_are_refused(copy: Path):
    with copy.open("ab") as file:
        file.write(b"\0")
    assert refusal(copy).kind == "damaged-weights"


def flips(data: bytes) -> list[tuple[int, int]]:
    """Places and bits: the metadata that no tensor covers, and a sample of the length, header and tensors."""
    rng = np.random.default_rng(0)
    header = struct.unpack("<Q", data[:8])[0] + 8
    start = data.index(b'"format"')
    places = [*range(start, start + len('"format":"pt"')), data.index(b'"sha256"') + 20, header - 1, header]
    places += [0, 1, 3, 7, 8, len(data) - 1, *rng.integers(8, header, 20), *rng.integers(header, len(data), 15)]
    return [(int(place), int(rng.integers(8))) for place in places]


def test_e2_one_flipped_bit_anywhere_is_refused(copy: Path):
    data = copy.read_bytes()
    for place, bit in flips(data):
        with copy.open("r+b") as file:
            file.seek(place)
            file.write(bytes([data[place] ^ (1 << bit)]))
        refusal(copy)
        with copy.open("r+b") as file:
            file.seek(place)
            file.write(data[place : place + 1])
    weights.load(copy)  # the file that the flips were made in was a good one


class Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return (Path.touch, (self.path,))


@pytest.fixture
def unpickled() -> Iterator[list[tuple[object, ...]]]:
    """What any unpickler looks up while the test runs. An audit hook cannot be taken off, so it is switched off."""
    found: list[tuple[object, ...]] = []
    on = [True]
    sys.addaudithook(lambda event, args: found.append(args) if on[0] and event == "pickle.find_class" else None)
    yield found
    on[0] = False


def test_e3_a_pickle_is_refused_and_nothing_of_it_is_run(tmp_path: Path, unpickled: list[tuple[object, ...]]):
    canary = tmp_path / "canary"
    for protocol in PICKLE_PROTOCOLS:
        raw = tmp_path / f"raw-{protocol}.pt"
        raw.write_bytes(pickle.dumps({"a": Canary(canary), "b": "x" * 100}, protocol=protocol))
        assert refusal(raw).kind == "pickle"
    for zipped in (True, False):
        path = tmp_path / f"torch-{zipped}.pt"
        torch.save({"a": Canary(canary)}, path, _use_new_zipfile_serialization=zipped)
        assert refusal(path).kind == "pickle"
        assert "weights import" in str(refusal(path))
    assert not canary.exists()
    assert unpickled == []


def test_the_oldest_pickles_are_refused_too(tmp_path: Path):
    path = tmp_path / "raw-0.pt"
    path.write_bytes(pickle.dumps({"a": Canary(tmp_path / "canary")}, protocol=0))
    refusal(path)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("start", [b"PK", b"\x80\x4c"])
def test_a_good_file_whose_header_length_reads_like_another_format_is_loaded(
    network: SSD, good: Path, tmp_path: Path, start: bytes
):
    # "PK" as a length is 19,280, a common one. Provenance is padded until the header is as long as that.
    missing = (int.from_bytes(start, "little") - int.from_bytes(good.read_bytes()[:8], "little")) % 0x10000
    path = tmp_path / "unlucky.safetensors"
    weights.save(path, network, {"command": "train" + "x" * missing, "score": 0.5})
    assert path.read_bytes()[:2] == start
    assert weights.load(path).network.config == network.config


def test_a_safetensors_file_of_another_program_is_refused(tmp_path: Path):
    for metadata in (None, {"format": "pt"}, {sealed.RECORD: "{}"}):
        path = tmp_path / "foreign.safetensors"
        safetensors.torch.save_file({"a": torch.zeros(2)}, path, metadata)
        assert refusal(path).kind == "foreign-weights"


@pytest.mark.parametrize("content", [b"", b"x", b"\x80", b"{}", b"\xff" * 64, b"<html>not found</html>"])
def test_a_file_of_another_format_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    refusal(path)


def test_a_missing_file_or_a_folder_ends_with_66(tmp_path: Path):
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(InputMissingError) as caught:
            weights.load(path)
        assert caught.value.exit_code == 66
        assert str(path) in str(caught.value)


def test_e4_tensors_for_other_classes_are_refused_with_both_shapes(network: SSD, tmp_path: Path):
    config = to_json_dict(network.config) | {"class_names": ["car"]}
    path = write(tmp_path / "w", network.state_dict(), record_of(network, config=config))
    what = str(refusal(path))
    columns = {tuple(tensor.shape) for tensor in network.state_dict().values()}
    assert "class_heads" in what
    assert " and not " in what
    assert any(str(shape) in what for shape in columns)


def test_e5_missing_and_unknown_tensors_are_named_five_of_them_then_counted(network: SSD, tmp_path: Path):
    tensors = dict(network.state_dict())
    removed = next(iter(tensors))
    del tensors[removed]
    path = write(tmp_path / "w", tensors | {"extra": torch.zeros(1)}, record_of(network))
    assert f"{removed} is missing; extra is unknown" in str(refusal(path))
    assert f"and {len(network.state_dict()) - 5} more" in str(refusal(write(tmp_path / "e", {}, record_of(network))))


def test_e7_a_newer_schema_is_refused_with_both_versions(network: SSD, tmp_path: Path):
    error = refusal(write(tmp_path / "w", network.state_dict(), record_of(network, schema=2)))
    assert error.kind == "newer-weights"
    assert "schema 2; this version reads 1" in error.message


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_e8_a_tensor_that_is_not_finite_is_named(network: SSD, tmp_path: Path, value: float):
    tensors = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    name = next(name for name in tensors if name.startswith("box_heads"))
    tensors[name].view(-1)[-1] = value
    assert f"{name} has values that are not finite" in str(refusal(write(tmp_path / "w", tensors, record_of(network))))


def test_a_record_that_is_no_object_or_lacks_its_parts_is_refused(network: SSD, tmp_path: Path):
    wrong_maps = to_json_dict(network.config)
    wrong_maps["anchors"] = wrong_maps["anchors"][:-1]
    records = ["not JSON", "[1]", "null", "{}", "[" * 100_000, {"schema": 1}]
    records += [record_of(network, config=config) for config in (None, {}, wrong_maps, {"surprise": 1})]
    for record in records:
        refusal(write(tmp_path / "w", {"a": torch.zeros(1)}, record))


def test_e9_an_absurd_config_is_refused_before_memory_is_taken(network: SSD, tmp_path: Path):
    def changed(**changes: Any) -> dict[str, Any]:
        return record_of(network, config=to_json_dict(network.config) | changes)

    config = to_json_dict(network.config)
    rows = [row | {"size_hw": [125_000, 125_000]} for row in config["anchors"]]
    records = [
        changed(preprocess=config["preprocess"] | {"size_hw": [10**6, 10**6]}, anchors=rows),
        changed(preprocess=config["preprocess"] | {"size_hw": [10**30, 10**30]}, anchors=rows),
        changed(anchors=[row | {"size_hw": [-5, -5]} for row in config["anchors"]]),
        changed(anchors=[]),
        changed(class_names=[f"class {place}" for place in range(200_000)]),
        changed(postprocess=config["postprocess"] | {"max_detections": 10**12}),
        changed(postprocess=config["postprocess"] | {"candidates_per_class": -1}),
    ]
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (2 << 30), hard))
    try:
        for record in records:
            refusal(write(tmp_path / "w", network.state_dict(), record))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_e9_a_header_that_claims_more_than_the_file_has_is_refused(copy: Path):
    header = b'{"a":{"dtype":"F32","shape":[100000,100000],"data_offsets":[0,40000000000]}}'
    for data in (struct.pack("<Q", len(header)) + header, struct.pack("<Q", 2**63) + b"{"):
        copy.write_bytes(data)
        refusal(copy)


def test_e17_text_in_the_record_is_text_and_never_imported(network: SSD, tmp_path: Path, monkeypatch: Any):
    imported: list[str] = []
    honest = builtins.__import__

    def watched(name: str, *arguments: Any, **options: Any) -> Any:
        imported.append(name)
        return honest(name, *arguments, **options)

    path = tmp_path / "w"
    weights.save(path, network, {"_instantiator": "antigravity.fly", "_target_": "os.system"})
    monkeypatch.setattr(builtins, "__import__", watched)
    assert weights.load(path).provenance["_instantiator"] == "antigravity.fly"
    assert "antigravity" not in imported and "antigravity" not in sys.modules
    config = to_json_dict(network.config) | {"_instantiator": "antigravity"}
    refusal(write(path, network.state_dict(), record_of(network, config=config)))
    assert "antigravity" not in sys.modules


def test_names_order_and_unnamed_slots_survive_the_file_and_json(network: SSD, tmp_path: Path):
    config = replace(network.config, class_names=("zebra", "ant", "car"), unnamed_slots=(2, 4))
    weights.save(tmp_path / "w", SSD(config), {})
    found = weights.load(tmp_path / "w").network.config
    assert found == config and found.class_columns == (1, 3, 5)
    assert weights.config_of(json.loads(json.dumps(config.to_json_dict()))) == config


def test_a_config_without_later_fields_is_read_as_before(network: SSD, tmp_path: Path):
    old = to_json_dict(network.config)
    del old["unnamed_slots"], old["preprocess"]["fit"], old["postprocess"]["class_agnostic_nms"]
    path = write(tmp_path / "w", network.state_dict(), record_of(network, config=old))
    assert weights.load(path).network.config == network.config


def test_loaded_weights_stay_when_their_file_is_truncated(good: Path, copy: Path, network: SSD):
    loaded = weights.load(copy).network
    with copy.open("r+b") as file:
        file.truncate(100)
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, network.state_dict()[name])
    assert all(parameter.requires_grad for parameter in loaded.parameters())


@pytest.fixture(scope="module")
def trunk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tensors = {"trunk.vgg.conv1_1.weight": torch.ones(64, 3, 3, 3), "trunk.vgg.conv1_1.bias": torch.zeros(64)}
    path = tmp_path_factory.mktemp("trunk") / "t.safetensors"
    weights.save_backbone(
        path, weights.BackboneConfig("vgg16", Preprocess(channel_order="bgr")), tensors, {"made_by": "test"}
    )
    return path


def test_a_backbone_is_read_with_its_tensors_and_is_not_a_detector(trunk: Path):
    file = weights.read(trunk)
    assert isinstance(file, weights.BackboneFile) and file.config.preprocess.channel_order == "bgr"
    assert torch.equal(file.tensors["trunk.vgg.conv1_1.weight"], torch.ones(64, 3, 3, 3))
    assert refusal(trunk).kind == "trunk-weights"


def test_e2_e5_e8_a_backbone_is_checked_like_a_detector(trunk: Path, tmp_path: Path):
    data = bytearray(trunk.read_bytes())
    data[-1] ^= 1
    (tmp_path / "flipped").write_bytes(data)
    assert refusal(tmp_path / "flipped").kind == "damaged-weights"
    config = to_json_dict(weights.BackboneConfig("vgg16", Preprocess()))
    for tensors in ({"trunk.vgg.conv1_1.weight": torch.zeros(3)}, {"other": torch.zeros(3)}, {},
                    {"trunk.vgg.conv1_1.bias": torch.full((64,), math.nan)}):  # fmt: skip
        record = {"schema": 1, "task": "trunk", "config": config, "provenance": {}}
        refusal(write(tmp_path / "w", tensors, record))
    refusal(write(tmp_path / "w", {}, {"schema": 1, "task": "trunk", "config": config | {"trunk": "residual-fine"}}))


def test_a_full_disk_is_reported_as_such_and_leaves_the_old_file(network: SSD, copy: Path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(StorageError):
            weights.save(copy, network, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert weights.load(copy).provenance["command"] == "train"
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]
