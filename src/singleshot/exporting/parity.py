"""The parity check: whether an export gives the same outputs as the model that it was made from.

There are two comparisons on real images. First the network's raw outputs for equal resized images: they differ by
rounding only. Then the whole path from an image of any size to boxes: the graph's resize and NMS against ours. If two
boxes of an object have equal scores to the fourth digit, rounding decides which one is kept. So a box is compared with
the model's candidates at the same place, kept or not, and agreement on the kept boxes is counted separately: once for
the graph at the image's own size, as other programs run it, and once for `singleshot.load`, which resizes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray

from singleshot import preprocess
from singleshot.boxes import cxcywh_to_xyxy
from singleshot.detection.coding import RawDetections, class_scores, decode, fold_unnamed
from singleshot.errors import ParityError, UsageError
from singleshot.prediction.backends.backend import Backend, Precision
from singleshot.prediction.exported import exported_predictor
from singleshot.prediction.predictor import Detector, Segmenter
from singleshot.structures import Detections


@dataclass(frozen=True)
class Bounds:
    """The tolerances of an export.

    Args:
        raw: largest difference of the network's outputs for equal images, relative to their largest magnitude.
        box_px: largest difference of a box's edges, in pixels.
        score: largest difference of scores (of probabilities, for a segmenter).
        agreement: least fraction of detections (of pixels, for a segmenter) that both have.
        share: fraction of the detections with scores below `SURE` that must satisfy `box_px` and `score`.
    """

    raw: float
    box_px: float
    score: float
    agreement: float
    share: float = 1.0


BOUNDS: dict[Precision, Bounds] = {
    "fp32": Bounds(1e-3, 0.5, 1e-2, 0.97),
    "fp16": Bounds(1e-2, 2.0, 3e-2, 0.90),
    "bf16": Bounds(5e-2, 8.0, 0.10, 0.80),
    "int8": Bounds(1.0, 40.0, 0.50, 0.50, share=0.99),
}
"""By precision. The cost of int8 is measured by AP; its bounds only detect broken exports.

With eight bits almost every box is within two pixels, and one in some thousands, with a score of 0.01, is off by 50.
"""
SURE = 0.1
"""The score from which a detection must satisfy the bounds in every precision."""
FEW = 10
"""Fewer detections than this, in all images together, prove little."""
TELLING = 50
"""Candidates that are compared where a model detects nothing in the images of the comparison."""


@dataclass(frozen=True)
class Parity:
    """The result of a parity check. The fields are those of `Bounds`; 0 and 1 where there was nothing to compare.

    `box_px` and `score` are the largest differences, without the detections that `Bounds.share` exempts.

    Args:
        pictures: the number of images.
        compared: the number of detections, or pixels, of the export.
        bounds: the tolerances.
        let_pass: the number of exempted detections.
    """

    pictures: int
    compared: int
    raw: float
    box_px: float
    score: float
    agreement: float
    bounds: Bounds
    let_pass: int = 0

    def failures(self) -> list[str]:
        """Return what is out of bounds, as text; NaN always is."""
        rows = [(name, getattr(self, name), getattr(self.bounds, name)) for name in ("raw", "box_px", "score")]
        found = [f"{name} {value:.3g} above {limit:g}" for name, value, limit in rows if not value <= limit]
        if not self.agreement >= self.bounds.agreement:
            found.append(f"agreement {self.agreement:.3f} below {self.bounds.agreement:g}")
        return found

    def require(self) -> None:
        """Raise ParityError if anything is out of bounds, and UsageError if there was nothing to compare."""
        if failures := self.failures():
            what = f"the export does not answer as the model: {', '.join(failures)}, on {self.pictures} pictures"
            raise ParityError(what, remedy="Nothing was written; try another precision, or report this")
        if not self.compared:
            what = f"nothing is detected in the {self.pictures} pictures of the comparison, so nothing is proven"
            raise UsageError(what, remedy="Name pictures of its own kind with --check-pictures, or say --no-check")

    def as_json(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        return asdict(self)

    def __str__(self) -> str:
        bounds = self.bounds
        but = f", but for {self.let_pass} scored below {SURE:g}" if self.let_pass else ""
        head = f"parity on {self.pictures} images, {self.compared} compared"
        return "\n".join(
            [
                f"{head:<37}{'difference':>10}   {'allowed':>9}",
                f"  network's outputs, equal images     {self.raw:9.2e}   {bounds.raw:9.0e}   of the largest",
                f"  boxes, from image to box            {self.box_px:9.4f}   {bounds.box_px:9g}   pixels{but}",
                f"  scores                              {self.score:9.5f}   {bounds.score:9g}",
                f"  the same in both                    {self.agreement:9.2%}   {bounds.agreement:9.0%}   or more",
            ]
        )


def compare(
    model: Detector | Segmenter,
    export: Backend,
    probe: Backend,
    images: Sequence[UInt8[ndarray, "_ _ 3"]],
    precision: Precision,
) -> Parity:
    """Compare an export with the model that it was made from.

    Args:
        model: the original model, in float32.
        export: the exported file in its runtime.
        probe: the same graph with the network's raw outputs too; `export` itself if it has them.
        images: images of any sizes, at least one.
        precision: of the export; decides the bounds.
    """
    bounds, loaded = BOUNDS[precision], exported_predictor(export)
    if model.task == "detection" and loaded.task == "detection":
        rows = [_detections_of(model, export, loaded, probe, image, bounds) for image in images]
    elif model.task == "segmentation" and loaded.task == "segmentation":
        rows = [_pixels_of(model, export, loaded, probe, image) for image in images]
    else:
        raise TypeError("the export is of another task")
    compared, same, whole = sum(row[0] for row in rows), sum(row[3] for row in rows), sum(row[4] for row in rows)
    raw = _worst([row[1] for row in rows])
    off = np.array([each for row in rows for each in row[2]], dtype=np.float64).reshape(-1, 3)
    held = _held(off, bounds)
    box_px, score = _worst(held[:, 0]), _worst(held[:, 1])
    return Parity(len(rows), compared, raw, box_px, score, same / whole if whole else 1.0, bounds, len(off) - len(held))


def telling_threshold(model: Detector, images: Sequence[UInt8[ndarray, "_ _ 3"]]) -> float:
    """Return a score threshold that the best `TELLING` scores of these images exceed, over all anchors and classes.

    For images without objects of the model's classes.
    """
    best = np.zeros(0)
    for image in images:
        inputs = model.preprocess([image])
        _, probabilities = _candidates(model, model.forward(inputs), inputs.sizes_hw[0])
        best = np.sort(np.concatenate([best, probabilities.ravel()]))[-TELLING:]
    return float(best[0]) * 0.99 if len(best) else 0.0


def _worst(values: Sequence[float] | Float[ndarray, " N"]) -> float:
    """Return the largest value, 0 for none; NaN stays NaN, which Python's `max` may drop."""
    return float(np.max(values, initial=0.0))


def _held(off: Float[ndarray, "N 3"], bounds: Bounds) -> Float[ndarray, "M 3"]:
    """Drop the worst detections with low scores, as many as the share exempts; never those with NaN."""
    unsure = off[:, 2] < SURE
    excess = (off[:, :2] / (bounds.box_px, bounds.score)).max(axis=1, initial=0.0)
    excess[~unsure | ~np.isfinite(excess)] = -1.0
    return off[np.argsort(excess)[: len(off) - int(unsure.sum() * (1.0 - bounds.share))]]


Row = tuple[int, float, list[tuple[float, float, float]], int, int]
"""Of one image: compared, raw, (box_px, score difference, score) of each detection, agreeing, out of."""


def _detections_of(
    model: Detector,
    export: Backend,
    loaded: Detector,
    probe: Backend,
    image: UInt8[ndarray, "H W 3"],
    bounds: Bounds,
) -> Row:
    inputs = model.preprocess([image])
    (size_hw,) = inputs.sizes_hw
    ours, theirs = model.forward(inputs), probe.run(inputs.images.numpy())
    raw = _worst([_relative(getattr(ours, name).cpu().numpy(), theirs[name]) for name in RawDetections._fields])
    wanted = model.postprocess(ours, [size_hw])[0]
    boxes_xyxy, scores, class_ids = _found(loaded, export.run(image[None]), size_hw)
    off: list[tuple[float, float, float]] = []
    places, probabilities = _candidates(model, ours, size_hw)
    places = _inside(places, size_hw)
    for box, one_score, class_id in zip(_inside(boxes_xyxy, size_hw), scores, class_ids, strict=True):
        box_off = np.abs(places - box).max(axis=1)
        score_off = np.abs(probabilities[:, class_id] - one_score)
        nearest = int(np.argmin(np.maximum(box_off / bounds.box_px, score_off / bounds.score)))
        off.append((float(box_off[nearest]), float(score_off[nearest]), float(one_score)))
    again = loaded.predict(image, threshold=0.0)
    counts = [
        _agreement(model, wanted, found, bounds)
        for found in ((boxes_xyxy, scores, class_ids), (again.boxes_xyxy, again.scores, again.class_ids))
    ]
    same, whole = (sum(column) for column in zip(*counts, strict=True))
    return len(scores), raw, off, same, whole


def _found(loaded: Detector, outputs: Any, size_hw: tuple[int, int]) -> tuple[Any, Any, Any]:
    """Return boxes, scores and class ids of an export for one image at its own size."""
    if "counts" in outputs:
        count = int(outputs["counts"][0])
        return tuple(outputs[name][0, :count] for name in ("boxes_xyxy", "scores", "class_ids"))  # pyright: ignore[reportReturnType]
    raw = RawDetections(*(torch.from_numpy(outputs[name]) for name in RawDetections._fields))
    found = loaded.postprocess(raw, [size_hw])[0]
    return found.boxes_xyxy, found.scores, found.class_ids


def _candidates(
    model: Detector, raw: RawDetections, size_hw: tuple[int, int]
) -> tuple[Float[ndarray, "A 4"], Float[ndarray, "A C"]]:
    """Return every anchor's box in pixels of the image and its probabilities by class id, before NMS."""
    config = model.network.config
    folded = fold_unnamed(raw, config.unnamed_slots)
    corners = cxcywh_to_xyxy(decode(folded.box_offsets[0], model.network.anchors_cxcywh)).cpu().numpy()
    seen_hw = preprocess.padded_hw(size_hw, config.input_size_hw, config.preprocess.fit)
    if config.postprocess.clip_before_nms:
        edges = np.array([size_hw[1] / seen_hw[1], size_hw[0] / seen_hw[0]] * 2, dtype=np.float32)
        corners = corners.clip(0.0, edges)
    probabilities = class_scores(folded.class_logits[0], config.scores).cpu().numpy()
    return preprocess.boxes_to_pixels(corners, size_hw, config.preprocess), probabilities


def _inside(boxes_xyxy: Float[ndarray, "N 4"], size_hw: tuple[int, int]) -> Float[ndarray, "N 4"]:
    """Clip boxes to the image: how far a box extends beyond it depends on the rounding of an exponential."""
    height, width = size_hw
    return np.clip(boxes_xyxy, 0.0, [width, height, width, height])


def _agreement(model: Detector, wanted: Detections, found: tuple[Any, Any, Any], bounds: Bounds) -> tuple[int, int]:
    """Return how many detections of both sides the other side has too, and how many there are.

    Detections near the threshold, or near the last kept score of a full list, may be on either side and do not count.
    """
    limits = model.network.config.postprocess
    boxes_xyxy, scores, class_ids = found
    size_hw = wanted.size_hw
    floor = limits.score_threshold
    for each in (wanted.scores, scores):
        if len(each) >= limits.max_detections:
            floor = max(floor, float(each[-1]))
    floor += bounds.score
    alike = (
        (wanted.class_ids[:, None] == class_ids)
        & (
            np.abs(_inside(wanted.boxes_xyxy, size_hw)[:, None] - _inside(boxes_xyxy, size_hw)).max(axis=2, initial=0.0)
            <= bounds.box_px
        )
        & (np.abs(wanted.scores[:, None] - scores) <= bounds.score)
    )
    ours, theirs = wanted.scores > floor, scores > floor
    same = int((alike.any(axis=1) & ours).sum() + (alike.any(axis=0) & theirs).sum())
    return same, int(ours.sum() + theirs.sum())


def _pixels_of(
    model: Segmenter, export: Backend, loaded: Segmenter, probe: Backend, image: UInt8[ndarray, "H W 3"]
) -> Row:
    inputs = model.preprocess([image])
    ours = model.forward(inputs).cpu()
    theirs = torch.from_numpy(probe.run(inputs.images.numpy())["logits"])
    score = float((ours.softmax(dim=1) - theirs.softmax(dim=1)).abs().max())
    outputs, wanted = export.run(image[None]), model.predict(image).class_ids
    if "class_ids" in outputs:
        class_ids = outputs["class_ids"][0]
    else:
        class_ids = model.postprocess(torch.from_numpy(outputs["logits"]), inputs.sizes_hw)[0].class_ids
    same = int((class_ids == wanted).sum()) + int((loaded.predict(image).class_ids == wanted).sum())
    return wanted.size, _relative(ours.numpy(), theirs.numpy()), [(0.0, score, 1.0)], same, 2 * wanted.size


def _relative(wanted: ndarray, found: ndarray) -> float:
    """Return the largest difference relative to the largest magnitude; infinity if `found` is not finite."""
    if wanted.shape != found.shape or not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(wanted - found).max(initial=0.0) / max(np.abs(wanted).max(initial=0.0), 1e-30))
