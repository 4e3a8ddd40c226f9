"""The module that is exported: uint8 pictures of any size in, finished detections or class maps out.

A network alone is not a detector. Whoever runs it has to resize, normalise, decode, threshold and suppress just as the
training did, and most bugs of deployed models are there. So the exported graph holds all of it, by the same rules and
in the same order as `preprocess` and `detection.postprocess`, and a runtime needs nothing but the file.
"""

from __future__ import annotations

import copy
from typing import Literal

import torch
from torch import Tensor, nn

from singleshot import boxes
from singleshot.detection.coding import RawDetections, decode
from singleshot.detection.ssd import SSD
from singleshot.exporting.folding import folded
from singleshot.exporting.sampling import Frame, frame_of, normalise, positions, sample, to_input
from singleshot.exporting.suppression import Suppression
from singleshot.prediction.export_record import DETECTIONS, RAW_DETECTIONS, RAW_SEGMENTATION, SEGMENTATION
from singleshot.segmentation.fcn import FCN

Form = Literal["whole", "raw", "both"]
"""What comes out: what users want, the network's own answer, or both for comparing."""


class DetectorProgram(nn.Module):
    """A detector as a graph.

    Its outputs, K being `max_detections` and rows past a picture's own 0:

        boxes_xyxy   (B, K, 4) float32, pixels of the pictures that went in
        scores       (B, K) float32, descending
        class_ids    (B, K) int64, 0-based
        counts       (B,) int64, how many rows are a picture's own
        class_logits (B, A, C + 1), box_offsets (B, A, 4): the network's, in `raw` and `both`

    Args:
        network: the detector; a copy of it, with batch normalisation folded, becomes part of the graph.
        suppression: how the graph ranks and suppresses.
        form: which outputs.
        dtype: what the network computes in; everything around it is float32.
    """

    def __init__(
        self, network: SSD, suppression: Suppression, form: Form = "whole", dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self.config = network.config
        self.network = _prepared(network, dtype)
        self.network.anchors_cxcywh = network.anchors_cxcywh.detach().cpu().float().clone()
        self.suppression, self.form, self.dtype = suppression, form, dtype

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs in their order."""
        found, raw = DETECTIONS * (self.form != "raw"), RAW_DETECTIONS * (self.form != "whole")
        return found + raw

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The outputs for uint8 RGB pictures (B, H, W, 3)."""
        frame = frame_of(images, self.config.preprocess)
        pixels = to_input(images, self.config.preprocess, frame)
        raw = self.network(normalise(pixels, self.config.preprocess).to(self.dtype))
        found = self._found(raw, frame) if self.form != "raw" else ()
        return (*found, *(raw if self.form != "whole" else ()))

    def _found(self, raw: RawDetections, frame: Frame) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        limits, (high, wide) = self.config.postprocess, self.config.input_size_hw
        corners = boxes.cxcywh_to_xyxy(decode(raw.box_offsets, self.network.get_buffer("anchors_cxcywh")))
        if limits.clip_before_nms:
            edges = torch.stack([frame.inner_width / wide, frame.inner_height / high]).repeat(2)
            corners = torch.minimum(corners.clamp(min=0.0), edges)
        columns = list(self.config.class_columns)
        chances = raw.class_logits.softmax(dim=-1)[..., columns].transpose(1, 2)
        # Sums of what is not finite are not finite; such an anchor detects nothing.
        fine = (chances > limits.score_threshold) & (corners.sum(-1).abs() < torch.inf)[:, None]
        count = min(limits.candidates_per_class, chances.shape[2])
        scores, anchor_ids = self.suppression.greatest(torch.where(fine, chances, 0.0), count)
        rows = len(columns) * count
        candidates = corners.gather(1, anchor_ids.reshape(-1, rows, 1).expand(-1, -1, 4))
        kept = self.suppression.suppress(
            candidates.reshape(-1, count, 4), scores.reshape(-1, count), limits.nms_iou
        ).reshape(-1, rows)
        best, places = self.suppression.greatest(kept, min(limits.max_detections, rows))
        present = best > 0
        shares = candidates.gather(1, places[..., None].expand(-1, -1, 4))
        across = wide * frame.width / frame.inner_width
        down = high * frame.height / frame.inner_height
        boxes_xyxy = torch.where(present[..., None], shares * torch.stack([across, down]).repeat(2), 0.0)
        class_ids = torch.where(present, torch.div(places, count, rounding_mode="floor"), 0)
        return boxes_xyxy, best, class_ids, present.sum(dim=1)


class SegmenterProgram(nn.Module):
    """A segmenter as a graph.

    Its outputs: `class_ids` (B, H, W) uint8 at the size of the pictures that went in, not in `raw`; and `logits`
    (B, C, h, w) float32 at the network's input size. There is no form without the logits, so `both` is `whole`.
    """

    def __init__(self, network: FCN, form: Form = "whole", dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.config = network.config
        self.network = _prepared(network, dtype)
        self.form, self.dtype = form, dtype

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs in their order."""
        return SEGMENTATION if self.form != "raw" else RAW_SEGMENTATION

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The outputs for uint8 RGB pictures (B, H, W, 3)."""
        frame = frame_of(images, self.config.preprocess)
        pixels = to_input(images, self.config.preprocess, frame)
        logits = self.network(normalise(pixels, self.config.preprocess).to(self.dtype))
        if self.form == "raw":
            return (logits,)
        rows = sample(logits, 2, positions(images.shape[1], frame.inner_height, frame.height))
        scores = sample(rows, 3, positions(images.shape[2], frame.inner_width, frame.width))
        return scores.argmax(dim=1).to(torch.uint8), logits


def _prepared(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    alone = folded(copy.deepcopy(network).cpu().eval()).requires_grad_(False)
    return alone.to(dtype)
