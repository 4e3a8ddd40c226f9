"""The record in an exported file: config, form, precision and provenance; and the interface of the runtimes.

Every format can store some text as metadata. The record is stored there, as one JSON text that singleshot reads
strictly, with a few short texts beside it for people and for other programs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, get_args, runtime_checkable

from jaxtyping import UInt8
from numpy import ndarray

from singleshot import weights
from singleshot.detection.ssd import SSDConfig
from singleshot.errors import ConfigError, DataError, UsageError
from singleshot.segmentation.fcn import FCNConfig

Form = Literal["whole", "raw"]
Precision = Literal["fp32", "bf16", "fp16", "int8"]
SCHEMA = 1
KEY = "singleshot"
DETECTIONS, RAW_DETECTIONS = ("boxes_xyxy", "scores", "class_ids", "counts"), ("class_logits", "box_offsets")
SEGMENTATION, RAW_SEGMENTATION = ("class_ids", "logits"), ("logits",)
"""Names of the outputs in order, whole and raw."""
MOST_CHARACTERS = 16_000_000


@dataclass(frozen=True)
class ExportRecord:
    """The record of an exported model.

    Args:
        config: of the model, as in its weights file.
        form: `whole`, or `raw` for the network's raw output.
        precision: of the network's weights and activations.
        weights_sha256: of the weights file that was exported.
        provenance: as stored with the weights.
    """

    config: SSDConfig | FCNConfig
    form: Form
    precision: Precision
    weights_sha256: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def task(self) -> Literal["detection", "segmentation"]:
        """The task of the model."""
        return self.config.task

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the file's outputs, in order."""
        if self.task == "detection":
            return DETECTIONS if self.form == "whole" else RAW_DETECTIONS
        return SEGMENTATION if self.form == "whole" else RAW_SEGMENTATION

    def texts(self) -> dict[str, str]:
        """Return the texts of a file's metadata: `singleshot` is the record, the others are for other programs."""
        config = self.config.to_json_dict()
        record = {
            "schema": SCHEMA,
            "task": self.task,
            "form": self.form,
            "precision": self.precision,
            "weights_sha256": self.weights_sha256,
            "config": config,
            "provenance": self.provenance,
        }
        texts = {
            KEY: json.dumps(record, sort_keys=True),
            "task": self.task,
            "flavour": self.config.flavour,
            "class_names": json.dumps(list(self.config.class_names), ensure_ascii=False),
            "preprocess": json.dumps(config["preprocess"]),
            "precision": self.precision,
            "weights_sha256": self.weights_sha256,
        }
        return texts | ({"thresholds": json.dumps(config["postprocess"])} if self.task == "detection" else {})


def parse(text: str | None, path: Path) -> ExportRecord:
    """Parse the record in a file's text; None stands for a file without one.

    Raises DataError: the file was not exported by singleshot, is of a later version, or its record is invalid.
    """
    if text is None:
        remedy = "Export it with `singleshot export`"
        raise DataError("not a file that singleshot exported", kind="foreign-export", remedy=remedy, file=path)
    try:
        if len(text) > MOST_CHARACTERS:
            raise ValueError("too long")
        data = dict(json.loads(text))
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError("its record is not a JSON object", kind="bad-export", file=path) from error
    if data.get("schema") != SCHEMA:
        what = f"exported in schema {data.get('schema')}; this version reads {SCHEMA}"
        raise DataError(what, kind="newer-export", remedy="Update singleshot", file=path)
    form = next((each for each in get_args(Form) if each == data.get("form")), None)
    precision = next((each for each in get_args(Precision) if each == data.get("precision")), None)
    provenance, sha256 = data.get("provenance"), data.get("weights_sha256")
    if form is None or precision is None or not isinstance(provenance, dict) or not isinstance(sha256, str):
        raise DataError("its record makes no sense", kind="bad-export", file=path)
    try:
        config = weights.config_of(data.get("config"), data.get("task"))
        config.check_limits()
    except ConfigError as error:
        raise DataError(error.message, kind="bad-export", remedy=error.remedy, file=path) from error
    return ExportRecord(config, form, precision, sha256, provenance)


@runtime_checkable
class Backend(Protocol):
    """An exported model in its runtime.

    Attributes:
        record: the record in the file.
    """

    @property
    def record(self) -> ExportRecord:
        """The record in the file."""
        ...

    def run(self, images: UInt8[ndarray, "B H W 3"]) -> Mapping[str, Any]:
        """Return the file's outputs by name, as NumPy arrays, for uint8 RGB images of one size."""
        ...


def check_outputs(names: Sequence[str], record: ExportRecord, path: Path) -> None:
    """Raise DataError unless a file's outputs are those of its record, in order."""
    if tuple(names) != record.output_names:
        what = f"its outputs are {', '.join(names)}; needed are {', '.join(record.output_names)}"
        raise DataError(what, kind="other-outputs", remedy="Export it again with `singleshot export`", file=path)


def refused(runtime: str, error: Exception, path: Path) -> DataError:
    """Return the error for a file that a runtime cannot open; the runtime's message is part of it, on one line."""
    what = f"{runtime} refuses it ({' '.join(str(error).split())[:200]})"
    return DataError(what, kind="damaged-export", remedy="Export it again with `singleshot export`", file=path)


def refuse_fork(process: int, runtime: str) -> None:
    """Raise UsageError unless this is the process of that id: the threads of a runtime do not exist in a fork."""
    if os.getpid() != process:
        message = f"the model was opened before this process was forked, and {runtime} does not work across a fork"
        raise UsageError(message, remedy="Load the model in this process, or start it by `spawn`")
