"""A batch of uploaded files → what the model sees in each, or why it is not looked at.

One bad file costs its sender an answer and nobody else anything. Files are decoded one by one and brought to the
network's input size at once, so that one full-size picture is in memory at a time, however large the batch.
"""

from __future__ import annotations

import base64
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray

from singleshot import classes, preprocess
from singleshot.errors import DataError, sentence
from singleshot.images import decode_image, read_header
from singleshot.prediction.opening import load
from singleshot.prediction.predictor import Detector
from singleshot.prediction.segmenter import Segmenter
from singleshot.serve.batcher import Answer, Asked
from singleshot.serve.refusal import Refusal
from singleshot.structures import Segmentation

WARM_S = 3.0
"""For trying batches before the first caller comes."""

log = logging.getLogger(__name__)


class Seer:
    """A model that answers uploads.

    Args:
        model: a detector or a segmenter.
        max_pixels: of one picture; more are refused from the file's header.
    """

    def __init__(self, model: Detector | Segmenter, max_pixels: int) -> None:
        self._model, self._max_pixels = model, max_pixels

    @classmethod
    def opened(cls, path: Path, max_pixels: int, batch_size: int) -> Seer:
        """From a model's file, warm: the first caller does not wait for compiled code. Raises what `load` raises.

        The least and the largest batch are always tried, those between as time allows: oneDNN makes kernels for each
        number of pictures when it first sees it, and keeps them.
        """
        seer = cls(load(path), max_pixels)
        blank = np.zeros((*seer._model.input_size_hw, 3), np.uint8)
        start = time.monotonic()
        for count in dict.fromkeys((1, batch_size, *range(2, batch_size))):
            if count in (1, batch_size) or time.monotonic() - start < WARM_S:
                seer._see([blank] * count, [(64, 64)] * count, [1.0] * count)
        return seer

    def facts(self) -> dict[str, Any]:
        """What a caller may know of the model: `task`, `input_size_hw`, `classes` with their colours."""
        names = self._model.label_map.names
        if isinstance(self._model, Segmenter):
            task, colours = "segmentation", self._model.colours
        else:
            task, colours = "detection", classes.colours(len(names))
        rows = [{"class": name, "class_id": i, "colour_rgb": colours[i].tolist()} for i, name in enumerate(names)]
        return {"task": task, "input_size_hw": list(self._model.input_size_hw), "classes": rows}

    def answers(self, batch: Sequence[Asked]) -> list[Answer]:
        """An answer for each file, in their order. An empty batch gives none."""
        found: list[Answer | None] = []
        inputs, sizes_hw = [], []
        for asked in batch:
            try:
                image = self._decoded(asked.picture)
            except Refusal as refusal:
                found.append(Answer(refusal.status, refusal.body()))
                continue
            inputs.append(preprocess.to_input(image, self._model.network.config.preprocess))
            sizes_hw.append((int(image.shape[0]), int(image.shape[1])))
            found.append(None)
        thresholds = [asked.threshold for asked, answer in zip(batch, found, strict=True) if answer is None]
        seen = iter(self._see(inputs, sizes_hw, thresholds) if inputs else ())
        return [next(seen) if answer is None else answer for answer in found]

    def _decoded(self, data: bytes) -> UInt8[ndarray, "H W 3"]:
        try:
            header = read_header(data, file="picture")
            height, width = header.stored_hw
            if height * width > self._max_pixels:
                what = f"{width}×{height} pixels are more than the {self._max_pixels / 1e6:g} million that are taken."
                raise Refusal(422, "too-large-picture", what)
            if header.animated:
                raise Refusal(415, "animated-picture", "It has several frames. Send one of them.")
            return decode_image(data, file="picture")
        except DataError as error:
            status = 415 if error.kind == "unsupported-picture" else 422
            what = " ".join(sentence(part) for part in (error.message, error.remedy) if part)
            raise Refusal(status, error.kind, what) from error
        except Refusal:
            raise
        except Exception as error:
            log.exception("a picture could not be read")
            raise Refusal(500, "internal", "Something failed inside.") from error

    def _see(
        self,
        inputs: Sequence[UInt8[ndarray, "_ _ 3"]],
        sizes_hw: Sequence[tuple[int, int]],
        thresholds: Sequence[float],
    ) -> list[Answer]:
        batch = torch.from_numpy(np.stack(inputs))
        if isinstance(self._model, Segmenter):
            maps = self._model.class_maps(self._model.raw(batch), list(sizes_hw))
            return [_said(_as_json(self._model.segmentation(class_ids))) for class_ids in maps]
        found = [
            each.above(threshold)
            for each, threshold in zip(self._model.see(batch, list(sizes_hw)), thresholds, strict=True)
        ]
        return [_said({"size_hw": list(each.size_hw), "detections": each.as_json()}) for each in found]


def _as_json(found: Segmentation) -> dict[str, Any]:
    """The classes that occur, and the class of each pixel as an 8-bit grey PNG in base64."""
    fine, png = cv2.imencode(".png", found.class_ids, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not fine:
        raise ValueError("the mask could not be encoded")
    shares = found.shares()
    rows = [
        {"class": name, "class_id": i, "share": shares[name]}
        for i, name in enumerate(found.class_names)
        if name in shares
    ]
    return {
        "size_hw": list(found.size_hw),
        "classes": sorted(rows, key=lambda row: -row["share"]),
        "mask_png": base64.b64encode(png.tobytes()).decode("ascii"),
    }


def _said(what: dict[str, Any]) -> Answer:
    return Answer(200, json.dumps(what, separators=(",", ":"), ensure_ascii=False).encode() + b"\n")
