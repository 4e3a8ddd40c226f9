"""Exported models as predictors: `predict` gives the same results as with the weights.

Images are resized to the input size here, with OpenCV, so that the graph's own resize does nothing: that one is for
programs without singleshot. The boxes of a whole detector are then only scaled. If its graph clips them at the edge of
a letterboxed image, it gets the image without the margin, because it would clip at the margin's edge instead. The
output of a raw detector goes through the same compiled postprocessing as that of the network.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from singleshot.backbones.blank import without_memory
from singleshot.detection.coding import RawDetections
from singleshot.detection.ssd import SSD
from singleshot.errors import UsageError
from singleshot.prediction.backends.backend import DETECTIONS, Backend
from singleshot.prediction.predictor import Detector, Segmenter, changed_postprocess
from singleshot.preprocess import boxes_to_pixels, inner_size_hw
from singleshot.structures import Detections, Inputs


class FinishedBoxes(NamedTuple):
    """The output of a whole detector for one image; rows past `length` are padding.

    Args:
        boxes_xyxy: (K, 4) pixels of the network's input.
        scores: (K,) descending.
        class_ids: (K,) 0-based.
        length: how many rows are the image's own.
    """

    boxes_xyxy: Float[ndarray, "K 4"]
    scores: Float[ndarray, " K"]
    class_ids: Int[ndarray, " K"]
    length: int


@dataclass(frozen=True)
class ExportedDetector(Detector):
    """A detector whose network runs in another runtime; `network` holds its config and anchors, and no weights.

    Args:
        backend: runs the file.
    """

    backend: Backend = field(kw_only=True)

    def forward(self, inputs: Inputs) -> Any:
        """Run the file: RawDetections of a raw detector, a list of `FinishedBoxes` of a whole one."""
        return self.raw_detections(inputs) if self.backend.record.form == "raw" else self._finished_boxes(inputs)

    def raw_detections(self, inputs: Inputs) -> RawDetections:
        """Run a raw detector. Raises UsageError for a whole one, whose file does not give the network's output."""
        if self.backend.record.form != "raw":
            raise UsageError("a whole detector gives no raw output", remedy="Export it with --raw")
        outputs = self.backend.run(inputs.images.cpu().numpy())
        return RawDetections(torch.from_numpy(outputs["class_logits"]), torch.from_numpy(outputs["box_offsets"]))

    def postprocess(
        self, raw: RawDetections | list[FinishedBoxes], sizes_hw: Sequence[tuple[int, int]]
    ) -> list[Detections]:
        """Return each image's detections in its own pixels, best first."""
        if isinstance(raw, RawDetections):
            return super().postprocess(raw, sizes_hw)
        (height, width), config = self.input_size_hw, self.network.config.preprocess
        results = []
        for found, size_hw in zip(raw, sizes_hw, strict=True):
            rows = slice(found.length)
            fractions = found.boxes_xyxy[rows] / np.array([width, height, width, height], dtype=np.float32)
            boxes_xyxy = boxes_to_pixels(fractions, size_hw, config).astype(np.float32)
            class_ids = found.class_ids[rows].astype(np.int64)
            scores, names = found.scores[rows].astype(np.float32), self.label_map.names_of(class_ids)
            results.append(Detections(boxes_xyxy, scores, class_ids, names, (int(size_hw[0]), int(size_hw[1]))))
        return results

    def worker_counts(self) -> tuple[int, int | None]:
        """Return one worker: the runtime has threads of its own."""
        return 1, None

    def with_postprocess(self, **changes: Any) -> Detector:
        """Return a raw detector with other thresholds; raise UsageError for a whole one: its file has them built in."""
        if self.backend.record.form != "raw":
            what = "an exported detector has its thresholds built in"
            raise UsageError(what, remedy="Export the weights again with these, or with --raw")
        config = self.network.config
        changed = changed_postprocess(config.postprocess, changes)
        with torch.device("meta"):
            return replace(self, network=SSD(replace(config, postprocess=changed)).eval())

    def _finished_boxes(self, inputs: Inputs) -> list[FinishedBoxes]:
        config, images = self.network.config, inputs.images.cpu().numpy()
        inner_sizes_hw = [config.input_size_hw] * len(inputs)
        if config.preprocess.fit == "letterbox" and config.postprocess.clip_before_nms:
            size_hw, fit = config.input_size_hw, config.preprocess.fit
            inner_sizes_hw = [inner_size_hw(image_hw, size_hw, fit) for image_hw in inputs.sizes_hw]
        results: list[FinishedBoxes] = []
        for (height, width), run in itertools.groupby(inner_sizes_hw):
            start = len(results)
            outputs = self.backend.run(images[start : start + len(list(run)), :height, :width])
            boxes_xyxy, scores, class_ids, lengths = (outputs[name] for name in DETECTIONS)
            rows = zip(boxes_xyxy, scores, class_ids, map(int, lengths), strict=True)
            results += [FinishedBoxes(*row) for row in rows]
        return results


@dataclass(frozen=True)
class ExportedSegmenter(Segmenter):
    """A segmenter whose network runs in another runtime; `network` holds its config and no weights.

    Args:
        backend: runs the file.
    """

    backend: Backend = field(kw_only=True)

    def forward(self, inputs: Inputs) -> Float[Tensor, "B C H W"]:
        """Run the file: the logits of every class at the input size."""
        return torch.from_numpy(self.backend.run(inputs.images.cpu().numpy())["logits"])


def exported_predictor(backend: Backend, device: torch.device | None = None) -> ExportedDetector | ExportedSegmenter:
    """Return the predictor whose file a backend runs."""
    record, where = backend.record, device or torch.device("cpu")
    with without_memory():
        network = record.config.build().eval()
    if network.task == "segmentation":
        return ExportedSegmenter(network, record.provenance, where, backend=backend)
    return ExportedDetector(network, record.provenance, where, backend=backend)
