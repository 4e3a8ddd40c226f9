"""One safe file with a whole model: tensors, the config that builds the network, class names, provenance.

The file is sealed (`storage.sealed`): nothing in it can run, and a flipped bit is found before it is used. Its record
is JSON and is read strictly. The network is built from it without memory, and gets some when the tensors fit. A file
has a detector, a segmenter, or a backbone alone that training can start from.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from singleshot.backbones import residual
from singleshot.backbones.blank import without_memory
from singleshot.backbones.vgg import atrous_vgg16
from singleshot.config import from_json_dict, to_json_dict
from singleshot.detection.ssd import SSD, BackboneName, SSDConfig
from singleshot.errors import ConfigError, DataError
from singleshot.preprocess import Preprocess
from singleshot.segmentation.fcn import FCN, FCNConfig
from singleshot.storage import sealed

SCHEMA = 1


@dataclass(frozen=True)
class WeightsFile:
    """A detector's weights file.

    Args:
        network: the network with its weights, in evaluation mode.
        provenance: the origin of the weights: command, data, date, versions, score. Free text and numbers.
        sha256: the hash of tensors and record, as hexadecimal digits.
    """

    task: ClassVar[Literal["detection"]] = "detection"
    network: SSD
    provenance: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""


@dataclass(frozen=True)
class BackboneConfig:
    """The config of a backbone without a detector. Its field names are stored, and stay.

    Args:
        trunk: the name of the backbone.
        preprocess: the preprocessing of its training: channel order, mean and deviation apply to detectors that start
            from it; the size does not.
    """

    trunk: BackboneName
    preprocess: Preprocess


@dataclass(frozen=True)
class BackboneFile:
    """A backbone to start from.

    Args:
        config: its name and its preprocessing.
        tensors: by their names in `SSD`; layers may be missing (fc6 and fc7 of a network that never had them).
        provenance: as in `WeightsFile`.
        sha256: as in `WeightsFile`.
    """

    task: ClassVar[Literal["trunk"]] = "trunk"
    config: BackboneConfig
    tensors: dict[str, Tensor]
    provenance: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""


@dataclass(frozen=True)
class SegmenterFile:
    """A segmenter's weights file; see `WeightsFile`."""

    task: ClassVar[Literal["segmentation"]] = "segmentation"
    network: FCN
    provenance: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""


def save(path: Path, network: SSD | FCN, provenance: dict[str, Any]) -> str:
    """Write `network` to `path` atomically. Returns the SHA-256."""
    return _save(path, network.task, network.config, network.state_dict(), provenance)


def save_backbone(path: Path, config: BackboneConfig, tensors: dict[str, Tensor], provenance: dict[str, Any]) -> str:
    """Write a backbone to `path` atomically; see `BackboneFile`. Returns the SHA-256."""
    return _save(path, "trunk", config, tensors, provenance)


def load(path: Path) -> WeightsFile:
    """Read and check a weights file; the network is on the CPU and in evaluation mode.

    Raises:
        InputMissingError: there is no such file.
        DataError: the file is damaged, not written by singleshot, a pickle, a backbone or segmenter, or its tensors do
            not fit its config.
        NotPermittedError: no permission to read the file.
    """
    file = read(path)
    if isinstance(file, BackboneFile):
        raise DataError(
            f"a {file.config.trunk} backbone, not a detector",
            kind="trunk-weights",
            remedy="Train one from it: singleshot train --weights",
            file=path,
        )
    return file


def read(path: Path) -> WeightsFile | BackboneFile:
    """Read a detector or a backbone, like `load`. A segmenter is refused."""
    file = read_any(path)
    if file.task == "segmentation":
        raise DataError(
            "a segmenter, not a detector", kind="other-task", remedy="Name a detector or a backbone", file=path
        )
    return file


def peek(path: Path) -> dict[str, Any]:
    """Return a file's record unchecked: `task`, `config`, `provenance`. For callers that `read` the file later."""
    return _record(sealed.peek(path), path)


def read_any(path: Path) -> WeightsFile | BackboneFile | SegmenterFile:
    """Read a detector, a segmenter or a backbone, like `load`."""
    tensors, record_text, stated = sealed.read(path)
    record = _record(record_text, path)
    provenance = record.get("provenance")
    if not isinstance(provenance, dict):
        raise DataError("its record has no provenance", kind="bad-weights", file=path)
    try:
        if record.get("task") == "trunk":
            config = from_json_dict(BackboneConfig, record.get("config"))
            backbone = _backbone_state(config.trunk)
            if not tensors:
                raise DataError("it has no tensors", kind="bad-weights", file=path)
            _check({name: backbone[name] for name in backbone if name in tensors}, tensors, path)
            return BackboneFile(config, {name: tensor.clone() for name, tensor in tensors.items()}, provenance, stated)
        # Built without memory, which is allocated when the tensors are known to fit.
        config = config_of(record.get("config"), record.get("task"))
        config.check_limits()
        with without_memory():
            network = config.build()
    except ConfigError as error:
        raise DataError(error.message, kind="bad-weights", remedy=error.remedy, file=path) from error
    wanted = network.state_dict()
    _check(wanted, tensors, path)
    # Copies: safetensors maps the file into memory, and another process may truncate it.
    own = {name: tensor.to(wanted[name].dtype, copy=True) for name, tensor in tensors.items()}
    network.load_state_dict(own, assign=True)
    if network.task == "segmentation":
        return SegmenterFile(network.eval(), provenance, stated)
    return WeightsFile(network.eval(), provenance, stated)


def config_of(data: Any, task: Any = "detection") -> SSDConfig | FCNConfig:
    """Read the stored config of a segmenter (`segmentation`) or a detector (any other task).

    Fields of a detector that were added after version 0.1 default to what it did.

    Raises ConfigError on unknown, missing or mistyped fields.
    """
    if task == "segmentation":
        return FCNConfig.from_json_dict(data)
    if isinstance(data, dict) and isinstance(data.get("preprocess"), dict):
        data = {"unnamed_slots": []} | data | {"preprocess": {"fit": "warp"} | data["preprocess"]}
    if isinstance(data, dict) and isinstance(data.get("postprocess"), dict):
        data = data | {"postprocess": {"class_agnostic_nms": False} | data["postprocess"]}
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


def _backbone_state(trunk: BackboneName) -> dict[str, Tensor]:
    """Names and shapes of the tensors that a file of this backbone may have, without merge and extra layers."""
    with torch.device("meta"):
        if trunk == "vgg16":
            return {f"trunk.vgg.{name}": tensor for name, tensor in atrous_vgg16().state_dict().items()}
        if trunk in residual.LAYOUTS:
            stages = residual.ResidualPyramid(residual.LAYOUTS[trunk]).state_dict()
            return {f"trunk.{name}": tensor for name, tensor in stages.items() if name.startswith(("stem.", "stages."))}
    raise ConfigError(f"a {trunk} backbone is stored in whole detectors only")


def _check(wanted: dict[str, Tensor], tensors: dict[str, Tensor], path: Path) -> None:
    """Raise DataError unless these tensors have the wanted names and shapes, and are finite."""
    wrong = [f"{name} is missing" for name in wanted if name not in tensors]
    wrong += [f"{name} is unknown" for name in tensors if name not in wanted]
    wrong += [
        f"{name} is {tuple(tensors[name].shape)} and not {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    wrong += [
        f"{name} has values that are not finite"
        for name, tensor in tensors.items()
        if tensor.is_floating_point() and not bool(tensor.isfinite().all())
    ]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise DataError(f"tensors do not fit the network: {'; '.join(wrong[:5])}{more}", kind="bad-weights", file=path)
