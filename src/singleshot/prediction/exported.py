"""Exported models behind the same calls as trained ones: `predict` gives the same records.

A picture is brought to the input size here, with OpenCV, so that the graph's own resize finds nothing to do: it is
there for people without singleshot. A whole detector's boxes then only change their scale; where its graph cuts them
off at the edge of a letterboxed picture, it is given the picture without the margin, or it would take the margin's
edge for the picture's. A raw one's answer goes through the same compiled pass as the network's own.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from singleshot.detection.raw import RawDetections
from singleshot.detection.ssd import SSD, SSDConfig
from singleshot.errors import UsageError
from singleshot.prediction.backends.backend import Backend
from singleshot.prediction.predictor import Detector
from singleshot.prediction.segmenter import Segmenter
from singleshot.preprocess import boxes_to_pixels, inner_size_hw
from singleshot.segmentation.fcn import FCN
from singleshot.structures import Detections


@dataclass(frozen=True)
class ExportedDetector(Detector):
    """A detector whose network runs elsewhere; `network` holds its config and default boxes, and no weights.

    Args:
        backend: runs it.
    """

    backend: Backend = field(kw_only=True)

    def raw(self, images: UInt8[Tensor, "B H W 3"]) -> RawDetections:
        """As `Detector.raw`. Raises UsageError for a whole detector, which does not give it."""
        if self.backend.record.form != "raw":
            raise UsageError("a whole detector gives no raw answer", remedy="Export it with --raw")
        found = self.backend.run(images.cpu().numpy())
        return RawDetections(torch.from_numpy(found["class_logits"]), torch.from_numpy(found["box_offsets"]))

    def see(self, images: UInt8[Tensor, "B H W 3"], sizes_hw: Sequence[tuple[int, int]]) -> list[Detections]:
        """As `Detector.see`."""
        if self.backend.record.form == "raw":
            return super().see(images, sizes_hw)
        config, host = self.network.config, images.cpu().numpy()
        if config.preprocess.fit == "warp" or not config.postprocess.clip_before_nms:
            found = self.backend.run(host)
            return [self._detections(found, place, size_hw) for place, size_hw in enumerate(sizes_hw)]
        results: list[Detections] = []
        insides = [inner_size_hw(size_hw, config.input_size_hw, config.preprocess.fit) for size_hw in sizes_hw]
        for (high, wide), run in itertools.groupby(range(len(insides)), insides.__getitem__):
            places = list(run)
            found = self.backend.run(host[places[0] : places[-1] + 1, :high, :wide])
            results += [self._detections(found, row, sizes_hw[place]) for row, place in enumerate(places)]
        return results

    def with_postprocess(self, **changes: Any) -> Detector:
        """Raises UsageError: thresholds are part of the file."""
        raise UsageError(
            "an exported detector has its thresholds built in", remedy="Change the weights and export them"
        )

    def _detections(self, found: Any, place: int, size_hw: tuple[int, int]) -> Detections:
        """One picture's rows, in pixels of the input, as detections in pixels of the picture."""
        config = self.network.config
        count, (high, wide) = int(found["counts"][place]), config.input_size_hw
        shares = found["boxes_xyxy"][place, :count] / np.array([wide, high, wide, high], dtype=np.float32)
        boxes_xyxy = boxes_to_pixels(shares, size_hw, config.preprocess).astype(np.float32)
        class_ids = found["class_ids"][place, :count].astype(np.int64)
        scores = found["scores"][place, :count].astype(np.float32)
        names = self.label_map.names_of(class_ids)
        return Detections(boxes_xyxy, scores, class_ids, names, (int(size_hw[0]), int(size_hw[1])))


@dataclass(frozen=True)
class ExportedSegmenter(Segmenter):
    """A segmenter whose network runs elsewhere; `network` holds its config and no weights.

    Args:
        backend: runs it.
    """

    backend: Backend = field(kw_only=True)

    def raw(self, images: UInt8[Tensor, "B H W 3"]) -> Float[Tensor, "B C H W"]:
        """As `Segmenter.raw`."""
        return torch.from_numpy(self.backend.run(images.cpu().numpy())["logits"])


def opened(backend: Backend, device: torch.device | None = None) -> ExportedDetector | ExportedSegmenter:
    """The model that a backend runs, behind the calls of a detector or a segmenter."""
    record, where = backend.record, device or torch.device("cpu")
    with torch.device("meta"):
        if isinstance(record.config, SSDConfig):
            return ExportedDetector(SSD(record.config).eval(), record.provenance, where, backend=backend)
        return ExportedSegmenter(FCN(record.config).eval(), record.provenance, where, backend=backend)
