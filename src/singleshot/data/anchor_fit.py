"""Anchors and a data set: which objects a model's anchors cover, and anchors whose sizes and ratios fit the data.

An object that overlaps no anchor by half is trained on its single best anchor or, by some rules, not at all, and no
loss curve shows it. The 2017 author of an SSD gave up traffic lights for this reason. So coverage is measured before
anything is trained: `report` gives the figures behind `singleshot data anchors`, `coverage_warning` the line at the
start of a training, `fit_anchors` the search, and `AnchorFile` what `data anchors --out` writes and `train --anchors`
reads.

All anchors of one shape form a grid, and of these the one with the nearest centre overlaps an object most: along each
axis the common length falls with the distance of the centres. So one comparison a shape gives what a table of all
anchors would, and five million objects take seconds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from singleshot import boxes, fonts
from singleshot.boxes import area
from singleshot.config import from_json_dict, to_json_dict
from singleshot.detection.anchors import AnchorLevel, Clip
from singleshot.detection.ssd import SSDConfig
from singleshot.errors import ConfigError, DataError
from singleshot.preprocess import Fit, Preprocess, boxes_to_input
from singleshot.storage import atomic
from singleshot.storage.files import file_bytes
from singleshot.structures import Sample, evenly_spaced

IOU_THRESHOLD = 0.5
MAX_UNCOVERED = 0.05
SIZE_BANDS_PX = ((0.0, 8.0), (8.0, 16.0), (16.0, 32.0), (32.0, 64.0), (64.0, 128.0), (128.0, math.inf))
RATIOS = (1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0)
MAX_FILE_BYTES = 1 << 20
_WARNING_IMAGES = 5000
_CHUNK = 1 << 16  # objects compared at once: bounds the memory of a table with one column a shape
_FACTORS = (0.6, 0.75, 0.87, 0.94, 0.98, 1.02, 1.06, 1.15, 1.33, 1.67)
_MIN_CELLS = 1.5  # smallest side, in cells of the level; the first level, which has no finer one, may go lower
_MIN_CELLS_FIRST = 0.5
_FIT_OBJECTS = 4000
_MAX_SWEEPS = 12
_MIN_GAIN = 1e-4
_SOFTNESS = 0.04


# --- the figures


@dataclass(frozen=True)
class Group:
    """The objects of one class and size, and how many of them some anchor covers.

    Args:
        class_name: their class.
        size_px: from and below, √area in pixels of the network's input.
        objects: their number, at least 1.
        reached: how many the model's own anchors cover.
        reached_fitted: how many the fitted anchors cover.
    """

    class_name: str
    size_px: tuple[float, float]
    objects: int
    reached: int
    reached_fitted: int


@dataclass(frozen=True)
class AnchorReport:
    """The coverage of some objects by anchors; without objects the arrays and `groups` are empty.

    Args:
        groups: by class, then by size; groups without objects are left out.
        best_iou: (N,) each object's best IoU with the model's own anchors.
        best_iou_fitted: (N,) the same with the fitted ones.
        suggested: the fitted levels; the model's own where the search found none that are better.
    """

    groups: tuple[Group, ...]
    best_iou: Float[ndarray, " N"]
    best_iou_fitted: Float[ndarray, " N"]
    suggested: tuple[AnchorLevel, ...]

    @property
    def unreached(self) -> float:
        """The share of the objects below the threshold with the model's own anchors; 0 for no objects."""
        return _share_below(self.best_iou)

    @property
    def unreached_fitted(self) -> float:
        """The same share with the fitted anchors."""
        return _share_below(self.best_iou_fitted)

    def as_json(self) -> dict[str, Any]:
        """Return the figures and the histogram as a JSON object; shares are fractions, an open size is null."""
        edges = np.linspace(0, 1, 21)
        return {
            "iou_threshold": IOU_THRESHOLD,
            "objects": len(self.best_iou),
            "unreached": self.unreached,
            "unreached_fitted": self.unreached_fitted,
            "groups": [
                {
                    "class": group.class_name,
                    "size_px": [edge if math.isfinite(edge) else None for edge in group.size_px],
                    "objects": group.objects,
                    "reached": group.reached,
                    "reached_fitted": group.reached_fitted,
                }
                for group in self.groups
            ],
            "histogram": {
                "edges": edges.round(2).tolist(),
                "counts": np.histogram(self.best_iou, edges)[0].tolist(),
                "counts_fitted": np.histogram(self.best_iou_fitted, edges)[0].tolist(),
            },
            "suggested": [to_json_dict(row) for row in self.suggested],
        }


def report(samples: Sequence[Sample], config: SSDConfig) -> AnchorReport:
    """Measure the coverage by the anchors of a config, and fits better ones.

    Args:
        samples: images with boxes; those of unknown size are left out.
        config: the detector's; its class names are those of the samples.
    """
    boxes_xyxy, class_ids = boxes_at_input(samples, config.preprocess)
    size_hw, clip = config.input_size_hw, config.clip_anchors
    suggested = fit_anchors(boxes_xyxy, config.anchors, size_hw, clip=clip, iou_threshold=IOU_THRESHOLD)
    before, after = (
        best_iou(boxes_xyxy, levels, size_hw, clip).max(axis=1, initial=0.0) for levels in (config.anchors, suggested)
    )
    sides, groups = np.sqrt(area(boxes_xyxy)), []
    for class_id, name in enumerate(config.class_names):
        for low, high in SIZE_BANDS_PX:
            members: Bool[ndarray, " N"] = (class_ids == class_id) & (sides >= low) & (sides < high)
            if members.any():
                counts = (int((each[members] >= IOU_THRESHOLD).sum()) for each in (before, after))
                groups.append(Group(name, (low, high), int(members.sum()), *counts))
    return AnchorReport(tuple(groups), before, after, suggested)


def coverage_warning(samples: Sequence[Sample], config: SSDConfig) -> str | None:
    """Return a line for a user whose data has many objects that no anchor covers; None where they are few.

    Of more than some thousand images, evenly spaced ones are measured.
    """
    some = [samples[index] for index in evenly_spaced(len(samples), _WARNING_IMAGES)]
    boxes_xyxy, _ = boxes_at_input(some, config.preprocess)
    if len(boxes_xyxy) == 0:
        return None
    share = _share_below(best_iou(boxes_xyxy, config.anchors, config.input_size_hw, config.clip_anchors).max(axis=1))
    if share <= MAX_UNCOVERED:
        return None
    height, width = config.input_size_hw
    return (
        f"{share:.0%} of the objects overlap no anchor of {config.model} at {height}x{width} by IoU "
        f"{IOU_THRESHOLD:g}, and are hard to learn. `singleshot data anchors` shows which; fitted anchors (--anchors) "
        f"or a larger --input-size match more"
    )


def _share_below(best: Float[ndarray, " N"]) -> float:
    return float((best < IOU_THRESHOLD).mean()) if len(best) else 0.0


# --- coverage


def boxes_at_input(
    samples: Sequence[Sample], preprocess: Preprocess
) -> tuple[Float[ndarray, "N 4"], Int[ndarray, " N"]]:
    """Return all boxes of some images in pixels of the network's input, and their class ids. N may be 0.

    An image whose annotation does not give its size is left out, and so are crowds, which are never trained on.
    Difficult boxes count: they are trained on.
    """
    rows, ids = [np.zeros((0, 4))], [np.zeros(0, np.int64)]
    for sample in samples:
        if sample.size_hw is not None and len(sample.boxes_xyxy):
            kept = slice(None) if sample.crowd is None else ~sample.crowd
            rows.append(boxes_to_input(sample.boxes_xyxy[kept].astype(np.float64), sample.size_hw, preprocess))
            ids.append(sample.class_ids[kept])
    return np.concatenate(rows), np.concatenate(ids)


def best_iou(
    boxes_xyxy: Float[ndarray, "N 4"],
    levels: Sequence[AnchorLevel],
    input_size_hw: tuple[int, int],
    clip: Clip = "none",
) -> Float[ndarray, "N K"]:
    """Return every box's best IoU with the anchors of each of the K levels, 0…1. Boxes are pixels of the input.

    Equals `anchors.anchors_cxcywh` with `boxes.pairwise_iou`, without the table of all pairs. (N, 0) for no levels.
    """
    found = np.zeros((len(boxes_xyxy), len(levels)))
    for start in range(0, len(boxes_xyxy), _CHUNK):
        rows = slice(start, start + _CHUNK)
        truths = boxes.xyxy_to_cxcywh(boxes_xyxy[rows].astype(np.float64))
        for index, level in enumerate(levels):
            offsets = _nearest_offsets(truths[:, :2], level, input_size_hw, clip)
            found[rows, index] = _iou_of_shapes(offsets, truths[:, 2:], _shapes_wh(level, input_size_hw, clip)).max(1)
    return found


def coverage(
    boxes_xyxy: Float[ndarray, "N 4"],
    levels: Sequence[AnchorLevel],
    input_size_hw: tuple[int, int],
    *,
    clip: Clip = "none",
    iou_threshold: float = 0.5,
) -> float:
    """Return the share of the objects that overlap some anchor by at least `iou_threshold`; 1.0 for no objects."""
    if len(boxes_xyxy) == 0:
        return 1.0
    return float((best_iou(boxes_xyxy, levels, input_size_hw, clip).max(axis=1) >= iou_threshold).mean())


def _nearest_offsets(
    centres_xy: Float[ndarray, "N 2"], level: AnchorLevel, input_size_hw: tuple[int, int], clip: Clip
) -> Float[ndarray, "N 2"]:
    """Return each centre's distance to the nearest centre of an anchor of that level, in x and in y, 0 or more."""
    columns = []
    for axis, (cells, length) in enumerate(zip(level.size_hw[::-1], input_size_hw[::-1], strict=True)):
        grid = (np.arange(cells) + 0.5) * (length / cells if level.step is None else level.step)
        if clip == "all":
            grid = np.minimum(grid, length)
        right = np.searchsorted(grid, centres_xy[:, axis]).clip(0, cells - 1)
        left = (right - 1).clip(0)
        distances = [np.abs(grid[index] - centres_xy[:, axis]) for index in (left, right)]
        columns.append(np.minimum(*distances))
    return np.stack(columns, axis=1)


def _shapes_wh(level: AnchorLevel, input_size_hw: tuple[int, int], clip: Clip) -> Float[ndarray, "S 2"]:
    """Return width and height of a level's anchors in pixels of the input, after `clip`."""
    shapes = np.array(level.shapes_wh)
    return shapes if clip == "none" else np.minimum(shapes, input_size_hw[::-1])


def _iou_of_shapes(
    offsets: Float[ndarray, "N 2"], sizes_wh: Float[ndarray, "N 2"], shapes: Float[ndarray, "S 2"]
) -> Float[ndarray, "N S"]:
    """Return the IoU of N boxes with S others whose centres are `offsets` away.

    >>> _iou_of_shapes(np.array([[0.0, 0.0], [5.0, 0.0]]), np.full((2, 2), 10.0), np.array([[10.0, 10.0]]))
    array([[1.        ],
           [0.33333333]])
    """
    half_sum = (sizes_wh[:, None] + shapes[None]) / 2
    smaller = np.minimum(sizes_wh[:, None], shapes[None])
    common = np.minimum(half_sum - offsets[:, None], smaller).clip(0).prod(axis=2)
    union = sizes_wh.prod(axis=1)[:, None] + shapes.prod(axis=1)[None] - common
    return common / union.clip(1e-12)


# --- the search


def fit_anchors(
    boxes_xyxy: Float[ndarray, "N 4"],
    levels: Sequence[AnchorLevel],
    input_size_hw: tuple[int, int],
    *,
    clip: Clip = "none",
    iou_threshold: float = 0.5,
) -> tuple[AnchorLevel, ...]:
    """Return levels with the cells and the counts of `levels`, whose anchors cover more of these objects.

    The grid and the number of anchors in a cell do not change, so a fitted detector costs the same. Each level's two
    sizes and its ratios change one at a time, as long as more objects are covered. The search starts twice: from
    `levels`, of which those that no object uses stay, and from sizes spread over the data's, which must be clearly
    better. The anchors of a coarse level never become small beside its cells: nine small anchors in an image cover an
    object by chance. Nor can the search place an anchor where the grid has no cell: objects smaller than the first
    level's cells need a larger input or a finer first level.

    Args:
        boxes_xyxy: ground truths in pixels of the input. Of more than some thousands, evenly spaced ones are used.
        levels: where to start.
        input_size_hw: of the network.
        clip: see `anchors.anchors_cxcywh`.
        iou_threshold: the IoU from which an object is covered.

    The same arguments give the same levels. Without objects, or without a gain, `levels` are returned.
    """
    if len(boxes_xyxy) == 0:
        return tuple(levels)
    levels = [replace(level, shapes=()) for level in levels]  # listed shapes have no sizes to change
    indices = np.unique(np.linspace(0, len(boxes_xyxy) - 1, min(_FIT_OBJECTS, len(boxes_xyxy))).astype(int))
    truths = boxes.xyxy_to_cxcywh(boxes_xyxy[indices].astype(np.float64))
    grids = []
    for index, level in enumerate(levels):
        (height, width), (rows, columns) = input_size_hw, level.size_hw
        cell = math.sqrt(height * width / (rows * columns))
        least = min((_MIN_CELLS if index else _MIN_CELLS_FIRST) * cell, level.min_size)
        offsets = _nearest_offsets(truths[:, :2], level, input_size_hw, clip)
        grids.append(_Grid(offsets, truths[:, 2:], input_size_hw, clip, least))
    spread = _sizes_by_quantiles(levels, grids, np.sqrt(truths[:, 2:].prod(axis=1)))
    (kept, score), (other, other_score) = (_climb(start, grids, iou_threshold) for start in (tuple(levels), spread))
    # The second start drops sizes that this data lacks and others may have: it must be clearly better.
    best = other if other_score > score + 0.01 else kept
    fitted: tuple[AnchorLevel, ...] = ()
    for level in best:  # sizes to a tenth of a pixel, for people to read, and ascending ratios
        low = round(level.min_size, 1)
        high = None if level.max_size is None else max(low, round(level.max_size, 1))
        fitted += (replace(level, min_size=low, max_size=high, ratios=tuple(sorted(level.ratios))),)
    before, after = (
        coverage(boxes_xyxy, each, input_size_hw, clip=clip, iou_threshold=iou_threshold) for each in (levels, fitted)
    )
    return fitted if after > before else tuple(levels)


@dataclass(frozen=True)
class _Grid:
    """The objects relative to one level: distances to the nearest centre, sizes, and the smallest side allowed."""

    offsets: Float[ndarray, "N 2"]
    sizes_wh: Float[ndarray, "N 2"]
    input_size_hw: tuple[int, int]
    clip: Clip
    least: float

    def best(self, level: AnchorLevel) -> Float[ndarray, " N"]:
        """Return each object's best IoU with the anchors of that level."""
        return _iou_of_shapes(self.offsets, self.sizes_wh, _shapes_wh(level, self.input_size_hw, self.clip)).max(axis=1)


def _score(best: Float[ndarray, " N"], iou_threshold: float) -> float:
    """Return the share covered, softened so that a small step has a gradient, plus a little for overlap as such."""
    soft = 1 / (1 + np.exp(-(best - iou_threshold) / _SOFTNESS))
    return float(soft.mean() + 0.1 * best.mean())


def _climb(
    levels: tuple[AnchorLevel, ...], grids: Sequence[_Grid], iou_threshold: float
) -> tuple[tuple[AnchorLevel, ...], float]:
    """Change one number at a time, always to its best value, until a whole sweep gains nothing."""
    table = np.stack([grid.best(level) for grid, level in zip(grids, levels, strict=True)], axis=1)
    score, current = _score(table.max(axis=1), iou_threshold), list(levels)
    for _ in range(_MAX_SWEEPS):
        before = score
        for index, grid in enumerate(grids):
            others = np.delete(table, index, axis=1).max(axis=1, initial=0.0)
            for move in _moves(current[index], grid.least):
                column = grid.best(move)
                moved = _score(np.maximum(others, column), iou_threshold)
                if moved > score + _MIN_GAIN:
                    score, current[index], table[:, index] = moved, move, column
        if score - before < _MIN_GAIN:
            break
    return tuple(current), score


def _moves(level: AnchorLevel, least: float) -> Iterator[AnchorLevel]:
    """Yield the level with one of its numbers changed."""
    most = level.max_size
    for factor in _FACTORS:
        low = max(level.min_size * factor, least)
        if most is None:
            yield replace(level, min_size=low)
            continue
        yield replace(level, min_size=low, max_size=max(most, low))
        yield replace(level, max_size=max(most * factor, level.min_size))
        yield replace(level, min_size=low, max_size=max(most * factor, low))
    for index in range(len(level.ratios)):
        for ratio in RATIOS:
            if ratio not in level.ratios:
                yield replace(level, ratios=(*level.ratios[:index], ratio, *level.ratios[index + 1 :]))


def _sizes_by_quantiles(
    levels: Sequence[AnchorLevel], grids: Sequence[_Grid], sides: Float[ndarray, " N"]
) -> tuple[AnchorLevel, ...]:
    """Return the levels with sizes at the quantiles of the objects' own."""
    quantiles = np.quantile(sides, np.linspace(0.02, 0.98, len(levels) + 1)).tolist()
    found = []
    for level, grid, (low, high) in zip(levels, grids, pairwise(quantiles), strict=True):
        low = max(low, grid.least)
        found.append(replace(level, min_size=low, max_size=None if level.max_size is None else max(low, high)))
    return tuple(found)


# --- the file


@dataclass(frozen=True)
class AnchorFile:
    """Anchors, and the model and input that they belong to: with another model or size they are refused.

    Args:
        model: the model's name, such as `vgg300`.
        input_size_hw: height and width of the network's input.
        fit: how images are resized to it, see `Preprocess`.
        feature_maps: one row a level.
    """

    model: str
    input_size_hw: tuple[int, int]
    fit: Fit
    feature_maps: tuple[AnchorLevel, ...]

    def __post_init__(self) -> None:
        for index, row in enumerate(self.feature_maps):
            lengths = [row.min_size, *row.ratios, *([row.max_size] if row.max_size is not None else [])]
            lengths += [length for shape in row.shapes for length in shape]
            lengths += [row.step] if row.step is not None else []
            if not all(0 < length < 1e6 for length in lengths) or min(row.size_hw) < 1:
                raise ConfigError(f"feature_maps[{index}] has a length that is not a positive number of pixels")

    def to_json(self) -> str:
        """Return the text of the file."""
        return json.dumps(to_json_dict(self), indent=2) + "\n"


def write_anchors(path: Path, anchors: AnchorFile) -> None:
    """Write the file, whole or not at all. Raises as `atomic.write_text`."""
    atomic.write_text(path, anchors.to_json())


def read_anchors(path: Path) -> AnchorFile:
    """Read a file of anchors.

    Raises:
        InputMissingError: the file does not exist.
        NotPermittedError, StorageError: it cannot be read.
        ConfigError: it is not a plain file or not JSON, or a field is missing, unknown or of another type.
    """
    remedy = "Make it anew with `singleshot data anchors … --out FILE`"
    try:
        data = file_bytes(path, MAX_FILE_BYTES)
    except DataError as error:  # empty, too large, not a plain file
        raise ConfigError(f"{error.message}: no anchors", remedy=remedy, file=path) from error
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"not JSON ({error})", remedy=remedy, file=path) from error
    try:
        return from_json_dict(AnchorFile, content, "anchors")
    except ConfigError as error:
        raise ConfigError(error.message, remedy=remedy, file=path) from error


# --- the histogram


def draw_best_iou(found: AnchorReport, path: Path, *, title: str) -> None:
    """Save the histogram of best IoU as a PNG, for the model's own anchors and the fitted ones.

    Args:
        found: the figures.
        path: the file to write. Its folder must exist.
        title: such as the model and the input size.
    """
    with fonts.in_charts([title]):
        _draw_best_iou(found, path, title)


def _draw_best_iou(found: AnchorReport, path: Path, title: str) -> None:
    # Imported here: matplotlib takes a second to load. Figure without pyplot keeps no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 5.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    edges = np.linspace(0, 1, 41).tolist()
    axes.axvspan(0, IOU_THRESHOLD, color="0.93", zorder=0)
    for best, colour, label, share in (
        (found.best_iou, "tab:orange", "the model's own anchors", found.unreached),
        (found.best_iou_fitted, "tab:blue", "fitted anchors", found.unreached_fitted),
    ):
        label = f"{label}: {share:.1%} not covered"
        axes.hist(best, edges, histtype="stepfilled", alpha=0.35, color=colour, label=label)
        axes.hist(best, edges, histtype="step", linewidth=1.4, color=colour)
    axes.set_xlim(0, 1)
    axes.set_xlabel("best IoU of an object with any anchor")
    axes.set_ylabel("objects")
    axes.text(IOU_THRESHOLD - 0.01, 0.98, "not covered", ha="right", va="top", transform=axes.get_xaxis_transform())
    axes.set_title(f"{title}, {len(found.best_iou)} objects")
    axes.legend(loc="upper left", bbox_to_anchor=(0.0, 0.92))
    figure.savefig(path, dpi=110, format="png")
