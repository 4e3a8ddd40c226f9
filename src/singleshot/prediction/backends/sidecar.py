"""The JSON file beside a network whose format has no place for text, or little: ncnn and LiteRT.

It holds the record of the export, which singleshot reads, and all that a program of one's own needs around the
network: class names, preprocessing, thresholds, and the anchors and numbers by which offsets become boxes. The SHA-256
of each file of the export is in it too, so that files of two exports are not taken for one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from singleshot import preprocess
from singleshot.detection.anchors import anchors_cxcywh
from singleshot.detection.coding import CENTRE_VARIANCE, MAX_GROWTH, SIZE_VARIANCE
from singleshot.errors import DataError, InputMissingError
from singleshot.prediction.backends.backend import KEY, MOST_CHARACTERS, ExportRecord, parse
from singleshot.preprocess import Preprocess
from singleshot.storage.files import file_bytes

SUFFIX = ".json"
AGAIN = "Export it again with `singleshot export`, or copy all its files again"


def facts(record: ExportRecord, graph: Mapping[str, Any]) -> dict[str, Any]:
    """What a program needs to know around a network, as JSON holds it.

    Args:
        record: of the export.
        graph: what the format itself calls its input and outputs, and what else is its own.
    """
    texts = record.texts()
    whole = json.loads(texts[KEY])
    found: dict[str, Any] = {KEY: texts[KEY], **graph}
    found |= {name: whole[name] for name in ("task", "precision", "weights_sha256")}
    found |= {name: whole["config"][name] for name in ("flavour", "class_names")}
    found["preprocess"] = whole["config"]["preprocess"] | {"channel_order": "rgb"}  # see `input_of`
    config = record.config
    if config.task == "detection":
        anchors = anchors_cxcywh(config.anchors, config.input_size_hw, config.clip_anchors)
        found |= {
            "thresholds": whole["config"]["postprocess"],
            "scores": config.scores,
            "class_columns": list(config.class_columns),
            "decoding": {
                "centre_variance": CENTRE_VARIANCE,
                "size_variance": SIZE_VARIANCE,
                "max_growth": MAX_GROWTH,
            },
            # Nine digits are a float32's own.
            "anchors_cxcywh": [[float(f"{value:.9g}") for value in row] for row in anchors.tolist()],
        }
    return found


def input_of(images: Sequence[UInt8[ndarray, "_ _ 3"]], config: Preprocess) -> Float[Tensor, "B 3 H W"]:
    """Images of any sizes as networks alone take them: at the input size, normalised, always RGB.

    For weights that read BGR, the first convolution's channels were exchanged when they were exported.
    """
    resized = np.stack([preprocess.to_input(image, config) for image in images])
    return preprocess.normalise(torch.from_numpy(resized), replace(config, channel_order="rgb"))


def write(path: Path, record: ExportRecord, graph: Mapping[str, Any], files: Mapping[str, Path]) -> None:
    """Write `path`.

    Args:
        path: the JSON file.
        record: of the export.
        graph: as `facts`.
        files: the export's other files by suffix.
    """
    hashes = {suffix: _sha256(file) for suffix, file in files.items()}
    path.write_text(json.dumps(facts(record, graph) | {"sha256": hashes}, ensure_ascii=False), encoding="utf-8")


def read(path: Path, files: Mapping[str, Path]) -> tuple[ExportRecord, dict[str, Any]]:
    """The record out of a JSON file, and all that is in it, if the export's files are those that it speaks of.

    Args:
        path: the JSON file.
        files: the export's other files by suffix.

    Raises:
        InputMissingError: it or one of the files is not there.
        DataError: it is not one that `write` wrote, or a file is damaged or another export's.
    """
    for file in (path, *files.values()):
        if not file.is_file():
            other = next(iter(files.values()))
            raise InputMissingError(f"{file.name} is not beside it", remedy=f"Copy {file.name} too", file=other)
    try:
        found = json.loads(file_bytes(path, MOST_CHARACTERS))
        text = found.get(KEY)
        hashes = dict(found["sha256"]) if text is not None else {}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DataError("not a JSON object of an export", kind="bad-export", remedy=AGAIN, file=path) from error
    if text is not None and not isinstance(text, str):
        raise DataError("its record is not a text", kind="bad-export", remedy=AGAIN, file=path)
    record = parse(text, path)
    for suffix, file in files.items():
        if hashes.get(suffix) != _sha256(file):
            what = f"SHA-256 mismatch with {path.name}: it is damaged or another model's"
            raise DataError(what, kind="damaged-export", remedy=AGAIN, file=file)
    return record, found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
