from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import singleshot
from singleshot import hub, weights
from singleshot.detection.postprocess import detect_tensors
from singleshot.detection.ssd import SSD
from singleshot.detection.ssd import config_for as detector_config
from singleshot.errors import DataError, InputMissingError, UnreachableError, UsageError
from singleshot.foreign import importing
from singleshot.prediction.load import device_of, find_weights, load, load_detector, load_segmenter
from singleshot.prediction.predictor import Detector
from singleshot.preprocess import normalise
from singleshot.segmentation.fcn import FCN, config_for


@pytest.fixture
def segmenter_file(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    weights.save(tmp_path / "s.safetensors", FCN(config_for("fcn8s-fine", ["a", "b"], (32, 32))), {"made_by": "test"})
    return tmp_path / "s.safetensors"


@pytest.fixture
def detector_file(tmp_path: Path) -> Path:
    weights.save(tmp_path / "d.safetensors", SSD(detector_config("lite320-fine", ["a"], (64, 64))), {})
    return tmp_path / "d.safetensors"


def test_a_file_opens_as_what_it_is(segmenter_file: Path, detector_file: Path) -> None:
    segmenter, detector = singleshot.load(segmenter_file), singleshot.load(detector_file)
    assert isinstance(segmenter, singleshot.Segmenter) and isinstance(detector, singleshot.Detector)
    assert segmenter.provenance == {"made_by": "test"} and not segmenter.network.training


def test_a_loaded_segmenter_answers_bit_for_bit_as_the_saved_one(segmenter_file: Path) -> None:
    torch.manual_seed(0)
    network = FCN(config_for("fcn8s-fine", ["a", "b"], (32, 32))).eval()
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    first = singleshot.Segmenter(network.to(memory_format=torch.channels_last)).predict(image, probabilities=True)
    second = load_segmenter(segmenter_file, device="cpu").predict(image, probabilities=True)
    assert first.probabilities is not None and second.probabilities is not None
    assert (first.probabilities == second.probabilities).all()


def test_the_other_kind_is_refused_by_name(segmenter_file: Path, detector_file: Path) -> None:
    with pytest.raises(DataError, match="a detector, not a segmenter"):
        load_segmenter(detector_file)
    with pytest.raises(DataError, match="a segmenter, not a detector"):
        load_detector(segmenter_file)


def test_a_damaged_segmenter_is_refused(segmenter_file: Path) -> None:
    data = bytearray(segmenter_file.read_bytes())
    data[-3] ^= 1
    segmenter_file.write_bytes(bytes(data))
    with pytest.raises(DataError, match="damaged"):
        load(segmenter_file)


def test_a_file_that_is_there_comes_before_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("ssd300-coco").write_bytes(b"mine")
    assert find_weights("ssd300-coco") == Path("ssd300-coco")


def test_a_folder_in_the_hubs_layout_is_its_weights(tmp_path: Path):
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert find_weights(tmp_path) == tmp_path / "model.safetensors"


@pytest.mark.parametrize("name", ["best.safetensors", "train/best.safetensors"])
def test_a_folder_without_weights_of_the_hubs_name_is_66_and_those_of_a_run_are_named(name: str, tmp_path: Path):
    folder = tmp_path / "runs"
    folder.mkdir()
    with pytest.raises(InputMissingError, match=r"without model\.safetensors\. Name the file itself") as caught:
        find_weights(folder)
    assert caught.value.exit_code == 66 and caught.value.file == folder
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"")
    with pytest.raises(InputMissingError, match=f"Did you mean {folder / name}\\?"):
        find_weights(str(folder))


def test_names_and_hub_ids_are_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(importing, "cached", lambda name, **_options: tmp_path / name)
    monkeypatch.setattr(hub, "fetch", lambda name: tmp_path / name.replace("/", "+"))
    assert find_weights("ssd300_vgg16") == tmp_path / "ssd300_vgg16"
    assert find_weights("somebody/cells") == tmp_path / "somebody+cells"
    begun: list[tuple[int, int | None]] = []
    find_weights("somebody/cells", observer=lambda done, total: begun.append((done, total)))
    assert begun == [(0, None)], "a command shows that the hub is asked"


@pytest.mark.parametrize("name", ["bset", "best.v2", "best.safetensor", "best@2", "best@main", "best@refs/pr/1"])
def test_a_mistyped_path_in_a_folder_that_exists_is_never_asked_of_the_hub(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(hub, "fetch", asked.append)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for text in (f"runs/{name}", f"./runs/{name}", str(tmp_path / "runs" / name)):
        with pytest.raises(InputMissingError) as caught:
            find_weights(text)
        assert caught.value.exit_code == 66 and "hub" not in caught.value.message
    assert asked == []


def test_anything_else_is_66_with_a_suggestion():
    with pytest.raises(InputMissingError, match="Did you mean lite320-coco"):
        find_weights("lite300-coco")
    for text in ("runs/a/best.safetensors", "/nowhere/else", ""):
        with pytest.raises(InputMissingError) as caught:
            find_weights(text if text else "no-such-thing.safetensors")
        assert caught.value.exit_code == 66


def test_a_known_name_without_network_is_69(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("SINGLESHOT_CACHE", str(tmp_path))

    def refused(*_arguments: object, **_options: object) -> None:
        raise UnreachableError("no network")

    monkeypatch.setattr("singleshot.storage.download.fetch", refused)
    with pytest.raises(UnreachableError):
        find_weights("ssd300-coco")


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "mps:7", "meta", "", "cuda:x", "1\n2"])
def test_a_device_that_does_not_exist_is_refused_with_those_that_do(name: str) -> None:
    with pytest.raises(UsageError, match="Use auto, cpu"):
        device_of(name)
    with pytest.raises(UsageError, match="Use auto, cpu"):
        load("weights.safetensors", device=name)
    assert device_of("cpu").type == "cpu" and device_of("auto").type in ("cpu", "cuda")


def test_mps_is_taken_only_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch, detector_file: Path) -> None:
    """MPS was never run: its availability is patched here, and what would be moved to it stays on the CPU."""
    moved: list[torch.device] = []

    def to(network: torch.nn.Module, device: torch.device, **_format: object) -> torch.nn.Module:
        moved.append(device)
        return network

    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.nn.Module, "to", to)
    assert device_of("mps") == torch.device("mps") and device_of("auto").type != "mps"
    model = load(detector_file, device="mps")
    assert model.device.type == "mps" and [device.type for device in moved] == ["mps"]
    assert model.worker_counts() == (1, None)
    with pytest.raises(UsageError, match=r"Use auto, cpu.*, mps"):
        device_of("cuda:99")


class _DoubleWatch(TorchDispatchMode):
    """Notes every tensor of float64, which MPS does not have."""

    def __init__(self) -> None:
        super().__init__()
        self.doubles: list[str] = []

    def __torch_dispatch__(self, func: object, types: object, args: tuple = (), kwargs: dict | None = None) -> object:
        found = func(*args, **(kwargs or {}))  # pyright: ignore[reportCallIssue]
        tensors = [each for each in (*args, found) if isinstance(each, torch.Tensor)]
        self.doubles += [str(func) for each in tensors if each.dtype == torch.float64]
        return found


def test_nothing_that_an_accelerator_computes_is_of_double_precision(detector_file: Path) -> None:
    model = load(detector_file, device="cpu")
    assert isinstance(model, Detector)
    inputs = model.preprocess([np.zeros((48, 64, 3), np.uint8)])
    config = model.network.config
    with _DoubleWatch() as watch, torch.no_grad():
        raw = model.network(normalise(inputs.images, config.preprocess))
        detect_tensors(raw, model.network.anchors_cxcywh, torch.ones(1, 2), config.postprocess)
    assert watch.doubles == []


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_a_runtime_that_has_only_the_cpu_refuses_another_device(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    (tmp_path / f"model{suffix}").touch()
    with pytest.raises(UsageError, match="runs on the CPU and not on mps"):
        load(tmp_path / f"model{suffix}", device="mps")


def test_folded_weights_predict_the_same_to_the_last_digits_and_are_not_touched(tmp_path: Path):
    from torch import nn

    from tests.exporting import made

    path = made.write_weights(tmp_path)
    opened, unfolded = load(path, device="cpu", fold=True), load(path, device="cpu")
    image = made.pictures(3)[2]
    inputs = opened.preprocess([image])
    fast, exact = opened.forward(inputs), unfolded.forward(inputs)
    kinds = {type(each).__name__ for each in opened._folded_network.modules()}
    assert opened.fold and not unfolded.fold and "Identity" in kinds and "BatchNorm" not in kinds
    assert any(isinstance(each, nn.BatchNorm2d) for each in opened.network.modules())
    for one, other in zip(fast, exact, strict=True):
        assert (one - other).abs().max() < 1e-4 * other.abs().max()
    import dataclasses

    plain = dataclasses.replace(opened, fold=False).forward(inputs)
    assert all(bool((one == other).all()) for one, other in zip(plain, exact, strict=True))
