"""A batch of uploaded image files → detections or a segmentation of each, or why it was refused.

A bad file fails its own request and no other. Files are decoded one by one and resized to the network's input at once,
so that one full-size image is in memory at a time, however large the batch.
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

from singleshot import preprocess
from singleshot.errors import DataError, sentence
from singleshot.images import decode_image, read_header
from singleshot.prediction.load import load
from singleshot.prediction.predictor import Predictor
from singleshot.serve.messages import PredictRequest, PredictResponse, Refusal, internal_error
from singleshot.storage.files import REPLACE
from singleshot.structures import Detections, Inputs, Segmentation

WARM_UP_S = 3.0
"""Time for trial batches before the first request."""

log = logging.getLogger(__name__)


class UploadModel:
    """A model that answers uploads.

    Args:
        model: a detector or a segmenter.
        max_pixels: of one image; larger ones are refused by the header of the file.
    """

    def __init__(self, model: Predictor[Any, Any], max_pixels: int) -> None:
        self._model, self._max_pixels = model, max_pixels
        self._as_json = {"detection": _detections_json, "segmentation": _segmentation_json}[model.task]

    @classmethod
    def open(cls, path: Path, max_pixels: int, batch_size: int, device: str = "auto") -> UploadModel:
        """Open a model file and warm it up, so that no request waits for compiled code. Raises what `load` raises.

        The smallest and the largest batch are always tried, those between as time allows: oneDNN creates and caches
        kernels per batch size.
        """
        opened = cls(load(path, device=device), max_pixels)
        blank = np.zeros((*opened._model.input_size_hw, 3), np.uint8)
        start = time.monotonic()
        for count in dict.fromkeys((1, batch_size, *range(2, batch_size))):
            if count in (1, batch_size) or time.monotonic() - start < WARM_UP_S:
                opened._predict([blank] * count, [(64, 64)] * count, [1.0] * count)
        return opened

    def facts(self) -> dict[str, Any]:
        """Return what `/v1/model` reports: `task`, `input_size_hw`, `classes` with their colours.

        A class of a detector has the `threshold` from which its detections are shown unless a request says otherwise.
        """
        names, colours = self._model.label_map.names, self._model.colours
        rows = [{"class": name, "class_id": i, "colour_rgb": colours[i].tolist()} for i, name in enumerate(names)]
        for row, threshold in zip(rows, self._model.display_thresholds, strict=False):  # a segmenter has none
            row["threshold"] = threshold
        return {"task": self._model.task, "input_size_hw": list(self._model.input_size_hw), "classes": rows}

    def respond(self, batch: Sequence[PredictRequest]) -> list[PredictResponse]:
        """Return the response to each file, in order. An empty batch gives an empty list."""
        responses: list[PredictResponse | None] = []
        inputs, sizes_hw, thresholds = [], [], []
        for request in batch:
            try:
                image = self._decode(request.image)
            except Refusal as refusal:
                responses.append(PredictResponse(refusal.status, refusal.body()))
                continue
            inputs.append(preprocess.to_input(image, self._model.network.config.preprocess))
            sizes_hw.append((int(image.shape[0]), int(image.shape[1])))
            thresholds.append(request.threshold)
            responses.append(None)
        results = iter(self._predict(inputs, sizes_hw, thresholds) if inputs else ())
        return [next(results) if response is None else response for response in responses]

    def _decode(self, data: bytes) -> UInt8[ndarray, "H W 3"]:
        try:
            header = read_header(data, file="image")
            height, width = header.stored_hw
            if height * width > self._max_pixels:
                limit = f"the limit of {self._max_pixels / 1e6:g} million"
                raise Refusal(422, "too-large-picture", f"{width}×{height} pixels are more than {limit}.")
            if header.animated:
                raise Refusal(415, "animated-picture", "The image has several frames. Send a single frame.")
            return decode_image(data, file="image")
        except DataError as error:
            status = 415 if error.kind == "unsupported-picture" else 422
            # A client sends a file again, and has none here to replace.
            remedy = "Send a whole image file" if error.remedy == REPLACE else error.remedy
            message = " ".join(sentence(part) for part in (error.message, remedy) if part)
            raise Refusal(status, error.kind, message) from error
        except Refusal:
            raise
        except Exception as error:
            log.exception("an image could not be read")
            raise internal_error() from error

    def _predict(
        self,
        inputs: Sequence[UInt8[ndarray, "_ _ 3"]],
        sizes_hw: Sequence[tuple[int, int]],
        thresholds: Sequence[float | None],
    ) -> list[PredictResponse]:
        raw = self._model.forward(Inputs(torch.from_numpy(np.stack(inputs)), sizes_hw))
        results = self._model.postprocess(raw, sizes_hw)
        shown = [self._model.shown(each, least) for each, least in zip(results, thresholds, strict=True)]
        rows = [self._as_json(each) for each in shown]
        texts = [json.dumps(row, separators=(",", ":"), ensure_ascii=False) + "\n" for row in rows]
        return [PredictResponse(200, text.encode()) for text in texts]


def _detections_json(result: Detections) -> dict[str, Any]:
    """Return detections as the response's fields."""
    return {"size_hw": list(result.size_hw), "detections": result.as_json()}


def _segmentation_json(result: Segmentation) -> dict[str, Any]:
    """Return the classes that occur, largest first, and the class ids as an 8-bit grey PNG in base64."""
    fine, png = cv2.imencode(".png", result.class_ids, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not fine:
        raise ValueError("the mask could not be encoded")
    shares = result.shares()
    rows = [
        {"class": name, "class_id": i, "share": shares[name]}
        for i, name in enumerate(result.class_names)
        if name in shares
    ]
    return {
        "size_hw": list(result.size_hw),
        "classes": sorted(rows, key=lambda row: -row["share"]),
        "mask_png": base64.b64encode(png.tobytes()).decode("ascii"),
    }
