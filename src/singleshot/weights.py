"""One safe file that is a whole detector: tensors, the config that builds the network, class names, provenance.

The file is a sealed one (`sealed`), so nothing in it can run and a flipped bit is found before it is used. Its record
is JSON, read strictly, and the network is built from it without memory before the tensors are seen to fit. A file may
also hold a segmenter, or a trunk alone, trained on something else, for others to start from.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from singleshot.backbones.vgg import atrous_vgg16
from singleshot.config import from_json_dict, to_json_dict
from singleshot.detection.presets import Trunk
from singleshot.detection.ssd import SSD, SSDConfig
from singleshot.errors import ConfigError, DataError
from singleshot.preprocess import Preprocess
from singleshot.segmentation.fcn import FCN, FCNConfig
from singleshot.storage import sealed

SCHEMA = 1
MOST_BOXES, MOST_DETECTIONS, LONGEST_SIDE = 5_000_000, 1_000_000, 16_384
"""A config beyond these is no detector's: building it would take all memory before anything else could be checked."""


@dataclass(frozen=True)
class WeightsFile:
    """What a weights file holds besides its tensors.

    Args:
        network: the network with its weights, in evaluation mode.
        provenance: where the weights come from: command, data, date, versions, score. Free text and numbers.
        sha256: the hash of tensors and record, as hexadecimal digits.
    """

    network: SSD
    provenance: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""


@dataclass(frozen=True)
class TrunkConfig:
    """What is known of a trunk by itself.

    Args:
        trunk: which one.
        preprocess: how it was shown its pictures: channel order, mean and deviation hold for detectors that start
            from it; the size does not.
    """

    trunk: Trunk
    preprocess: Preprocess


@dataclass(frozen=True)
class TrunkFile:
    """A trunk to start from.

    Args:
        config: which trunk, and its preprocessing.
        tensors: by their names in `SSD`; layers may be missing (fc6 and fc7 of a network that never had them).
        provenance: as in `WeightsFile`.
        sha256: as in `WeightsFile`.
    """

    config: TrunkConfig
    tensors: dict[str, Tensor]
    provenance: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""


@dataclass(frozen=True)
class SegmenterFile:
    """What a segmenter's weights file holds; the fields are those of `WeightsFile`."""

    network: FCN
    provenance: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""


def save(path: Path, network: SSD | FCN, provenance: dict[str, Any]) -> str:
    """Write `network` to `path`, replacing what is there only once all is on the disk. Returns the SHA-256."""
    task = "segmentation" if isinstance(network, FCN) else "detection"
    return _save(path, task, network.config, network.state_dict(), provenance)


def save_trunk(path: Path, config: TrunkConfig, tensors: dict[str, Tensor], provenance: dict[str, Any]) -> str:
    """The same for a trunk; see `TrunkFile`."""
    return _save(path, "trunk", config, tensors, provenance)


def load(path: Path) -> WeightsFile:
    """Read and check a weights file; the network is on the CPU and in evaluation mode.

    Raises:
        InputMissingError: there is no such file.
        DataError: the file is damaged, not of ours, a pickle, a trunk alone, or its tensors do not fit its config.
        NotPermittedError: the file may not be read.
    """
    file = read(path)
    if isinstance(file, TrunkFile):
        raise DataError(
            f"a {file.config.trunk} trunk and no detector",
            kind="trunk-weights",
            remedy="Train one from it: singleshot train --weights",
            file=path,
        )
    return file


def read(path: Path) -> WeightsFile | TrunkFile:
    """Like `load`, for a detector or a trunk, whichever it is. A segmenter is refused."""
    file = read_any(path)
    if isinstance(file, SegmenterFile):
        raise DataError(
            "a segmenter and no detector", kind="other-task", remedy="Name a detector or a trunk", file=path
        )
    return file


def peek(path: Path) -> dict[str, Any]:
    """A file's record, unchecked: `task`, `config`, `provenance`. Only for what a later `read` will check."""
    return _record(sealed.peek(path), path)


def read_any(path: Path) -> WeightsFile | TrunkFile | SegmenterFile:
    """Like `load`, for whatever the file holds."""
    tensors, record_text, stated = sealed.read(path)
    record = _record(record_text, path)
    provenance = record.get("provenance")
    if not isinstance(provenance, dict):
        raise DataError("its record has no provenance", kind="bad-weights", file=path)
    try:
        if record.get("task") == "trunk":
            config = from_json_dict(TrunkConfig, record.get("config"))
            trunk = _trunk_state(config.trunk)
            if not tensors:
                raise DataError("it holds no tensors", kind="bad-weights", file=path)
            _check({name: trunk[name] for name in trunk if name in tensors}, tensors, path)
            return TrunkFile(config, {name: tensor.clone() for name, tensor in tensors.items()}, provenance, stated)
        # Built without memory: none is taken before the file was seen to have what the config asks for.
        network = _segmenter(record) if record.get("task") == "segmentation" else _detector(record)
    except ConfigError as error:
        raise DataError(error.message, kind="bad-weights", remedy=error.remedy, file=path) from error
    wanted = network.state_dict()
    _check(wanted, tensors, path)
    # Copies: what safetensors gives is the file itself in memory, which somebody may shorten.
    own = {name: tensor.to(wanted[name].dtype, copy=True) for name, tensor in tensors.items()}
    network.load_state_dict(own, assign=True)
    if isinstance(network, FCN):
        return SegmenterFile(network.eval(), provenance, stated)
    return WeightsFile(network.eval(), provenance, stated)


def _detector(record: dict[str, Any]) -> SSD:
    refuse_absurd(config := config_of(record.get("config")))
    with torch.device("meta"):
        return SSD(config)


def _segmenter(record: dict[str, Any]) -> FCN:
    refuse_absurd(config := FCNConfig.from_json_dict(record.get("config")))
    with torch.device("meta"):
        return FCN(config)


def config_of(data: Any) -> SSDConfig:
    """A stored config as a record; fields that came after version 0.1 are what was then the only way.

    Raises ConfigError on unknown, missing or mistyped fields.
    """
    if isinstance(data, dict) and isinstance(data.get("preprocess"), dict):
        data = {"unnamed_slots": []} | data | {"preprocess": {"fit": "warp"} | data["preprocess"]}
    return SSDConfig.from_json_dict(data)


def _save(path: Path, task: str, config: Any, state: dict[str, Tensor], provenance: dict[str, Any]) -> str:
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    record = json.dumps(
        {"schema": SCHEMA, "task": task, "config": to_json_dict(config), "provenance": provenance}, sort_keys=True
    )
    return sealed.write(path, tensors, record)


def _record(text: str, path: Path) -> dict[str, Any]:
    try:
        record = dict(json.loads(text))
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError("its record is not a JSON object", kind="bad-weights", file=path) from error
    if record.get("schema") != SCHEMA:
        raise DataError(
            f"written in schema {record.get('schema')}; this version reads {SCHEMA}",
            kind="newer-weights",
            remedy="Update singleshot",
            file=path,
        )
    return record


def refuse_absurd(config: SSDConfig | FCNConfig) -> None:
    """Raise ConfigError for a config that no network has, before one is built from it."""
    if isinstance(config, FCNConfig):
        if max(config.input_size_hw) > LONGEST_SIDE:
            raise ConfigError(f"an input of {config.input_size_hw} is no segmenter's")
        return
    sides = [*config.input_size_hw, *(side for row in config.anchors for side in row.size_hw)]
    boxes = sum(row.boxes for row in config.anchors)
    thresholds = config.postprocess
    counts = (thresholds.candidates_per_class, thresholds.max_detections)
    if not (min(sides) > 0 and max(sides) <= LONGEST_SIDE and 0 < boxes <= MOST_BOXES):
        raise ConfigError(f"an input of {config.input_size_hw} with {boxes} default boxes is no detector's")
    if not (min(counts) >= 0 and max(counts) <= MOST_DETECTIONS):
        raise ConfigError(f"{counts[0]} candidates and {counts[1]} detections are no detector's thresholds")


def _trunk_state(trunk: Trunk) -> dict[str, Tensor]:
    """Names and shapes of a trunk's tensors; those of VGG-16 alone, because other trunks come as whole detectors."""
    if trunk != "vgg16":
        raise ConfigError(f"a {trunk} trunk does not come by itself")
    with torch.device("meta"):
        return {f"trunk.vgg.{name}": tensor for name, tensor in atrous_vgg16().state_dict().items()}


def _check(wanted: dict[str, Tensor], tensors: dict[str, Tensor], path: Path) -> None:
    """Raises DataError unless these tensors are the wanted ones, in name and shape, and finite."""
    wrong = [f"{name} is missing" for name in wanted if name not in tensors]
    wrong += [f"{name} is unknown" for name in tensors if name not in wanted]
    wrong += [
        f"{name} is {tuple(tensors[name].shape)} and not {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    wrong += [f"{name} holds values that are not finite" for name, tensor in tensors.items() if not _finite(tensor)]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise DataError(f"tensors do not fit the network: {'; '.join(wrong[:5])}{more}", kind="bad-weights", file=path)


def _finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(tensor.isfinite().all())
