"""The module that is exported: uint8 images of any size in, detections or class maps out.

A network alone is not a detector. Its users would have to resize, normalise, decode, threshold and suppress exactly as
in training, and most bugs of deployed models are there. So the exported graph contains all of it, by the same rules and
in the same order as `preprocess` and `detection.postprocess`, and a runtime needs nothing but the file.

Resize. Runtimes have resize operators, but they differ in where the centre of a pixel is and in what happens at the
edge, and most convert the whole image to floating point first. Here pixels are gathered at computed positions, four
for each cell, and interpolated. That is the same arithmetic in every runtime, reads only the pixels that
count, and lets one graph stretch an image (`warp`) or keep its aspect ratio (`letterbox`).

NMS. torch programs have no operator for it: `loop` processes the candidates in blocks by rank, all classes at once, and
stops after the longest class. That is exact greedy NMS, without a matrix of all overlaps. ONNX has NonMaxSuppression,
which other runtimes optimise: `nms_placeholder` marks its place during tracing, and `onnx` inserts the operator. Both
take sorted candidates and set dropped scores to 0.

Batch normalisation is folded into the preceding convolution (`folded`), which is the same function in evaluation.
ONNX Runtime and OpenVINO would do so when they load a graph, but torch does not, and running variances lose precision
in float16. It is done once, in float32, before anything else.
"""

from __future__ import annotations

import copy
from typing import Literal, NamedTuple, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from singleshot import boxes
from singleshot.backbones.folding import folded
from singleshot.detection.coding import RawDetections, decode
from singleshot.detection.ssd import SSD
from singleshot.prediction.backends.backend import DETECTIONS, RAW_DETECTIONS, RAW_SEGMENTATION, SEGMENTATION
from singleshot.preprocess import Preprocess
from singleshot.segmentation.fcn import FCN

Form = Literal["whole", "raw", "both"]
"""Which outputs a graph has: the results (`whole`), the network's raw output, or both for comparisons."""


class DetectorProgram(nn.Module):
    """A detector as a graph.

    Its outputs, with K = `max_detections`; rows beyond an image's count are 0:

        boxes_xyxy   (B, K, 4) float32, pixels of the input images
        scores       (B, K) float32, descending
        class_ids    (B, K) int64, 0-based
        counts       (B,) int64, the number of detections of each image
        class_logits (B, A, C + 1), box_offsets (B, A, 4): the network's output, in `raw` and `both`; (B, A, C) without
                     the background where a sigmoid scores the classes

    Args:
        network: the detector; a copy of it, with batch normalisation folded, becomes part of the graph.
        suppression: how the graph ranks candidates and applies NMS.
        form: which outputs the graph has.
        dtype: the dtype of the network; everything around it is float32.
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
        """Names of the outputs, in order."""
        found, raw = DETECTIONS * (self.form != "raw"), RAW_DETECTIONS * (self.form != "whole")
        return found + raw

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Compute the outputs for uint8 RGB images (B, H, W, 3)."""
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
        softmax = self.config.scores == "softmax"
        scores = raw.class_logits.softmax(dim=-1) if softmax else raw.class_logits.sigmoid()
        probabilities = scores[..., columns].transpose(1, 2)
        # An anchor with a value that is not finite has a sum that is not finite, and detects nothing.
        fine = (probabilities > limits.score_threshold) & (corners.sum(-1).abs() < torch.inf)[:, None]
        count = min(limits.candidates_per_class, probabilities.shape[2])
        best_scores, anchor_ids = self.suppression.greatest(torch.where(fine, probabilities, 0.0), count)
        rows = len(columns) * count
        candidates = corners.gather(1, anchor_ids.reshape(-1, rows, 1).expand(-1, -1, 4))
        together, order = rows if limits.class_agnostic_nms else count, None
        if limits.class_agnostic_nms:
            best_scores, order = self.suppression.greatest(best_scores.reshape(-1, rows), rows)
            candidates = candidates.gather(1, order[..., None].expand(-1, -1, 4))
        kept = self.suppression.suppress(
            candidates.reshape(-1, together, 4), best_scores.reshape(-1, together), limits.nms_iou
        ).reshape(-1, rows)
        best, places = self.suppression.greatest(kept, min(limits.max_detections, rows))
        present = best > 0
        shares = candidates.gather(1, places[..., None].expand(-1, -1, 4))
        places = places if order is None else order.gather(1, places)
        across = wide * frame.width / frame.inner_width
        down = high * frame.height / frame.inner_height
        boxes_xyxy = torch.where(present[..., None], shares * torch.stack([across, down]).repeat(2), 0.0)
        class_ids = torch.where(present, torch.div(places, count, rounding_mode="floor"), 0)
        return boxes_xyxy, best, class_ids, present.sum(dim=1)


class SegmenterProgram(nn.Module):
    """A segmenter as a graph.

    Its outputs: `class_ids` (B, H, W) uint8 at the size of the input images, except in `raw`; and `logits`
    (B, C, h, w) float32 at the network's input size. Every form has the logits, so `both` is `whole`.
    """

    def __init__(self, network: FCN, form: Form = "whole", dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.config = network.config
        self.network = _prepared(network, dtype)
        self.form, self.dtype = form, dtype

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs, in order."""
        return SEGMENTATION if self.form != "raw" else RAW_SEGMENTATION

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Compute the outputs for uint8 RGB images (B, H, W, 3)."""
        frame = frame_of(images, self.config.preprocess)
        pixels = to_input(images, self.config.preprocess, frame)
        logits = self.network(normalise(pixels, self.config.preprocess).to(self.dtype))
        if self.form == "raw":
            return (logits,)
        rows = sample(logits, 2, positions(images.shape[1], frame.inner_height, frame.height))
        scores = sample(rows, 3, positions(images.shape[2], frame.inner_width, frame.width))
        return scores.argmax(dim=1).to(torch.uint8), logits


class NetworkProgram(nn.Module):
    """The network alone as a graph, for runtimes whose tensors have fixed sizes.

    In goes one normalised RGB picture, (1, 3, H, W) float32 at the input size; out come class_logits (1, A, C + 1) and
    box_offsets (1, A, 4), or logits (1, C, H, W).

    Args:
        network: a copy of it, with batch normalisation folded, becomes part of the graph. Its weights lie in rows
            (not channels last): converters copy their memory and take that order for granted.
    """

    def __init__(self, network: SSD | FCN) -> None:
        super().__init__()
        self.config = network.config
        self.network = _prepared(network, torch.float32).to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
        self.output_names = RAW_DETECTIONS if network.task == "detection" else RAW_SEGMENTATION
        if network.config.preprocess.channel_order == "bgr":
            # Programs around it have RGB at hand: the first convolution's channels change places in their stead.
            first = next(each for each in self.network.modules() if isinstance(each, nn.Conv2d))
            first.weight = nn.Parameter(first.weight.flip(1), requires_grad=False)
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The outputs for one normalised picture."""
        raw = self.network(images)
        return tuple(raw) if isinstance(raw, tuple) else (raw,)


def _prepared(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    alone = folded(copy.deepcopy(network).cpu().eval()).requires_grad_(False)
    return alone.to(dtype)


ONE = 2048.0
"""OpenCV's unit of interpolation weights."""


class Frame(NamedTuple):
    """The sizes of an image in the graph, each an int64 tensor without dimensions."""

    height: Tensor
    width: Tensor
    inner_height: Tensor
    inner_width: Tensor


def frame_of(images: Tensor, preprocess: Preprocess) -> Frame:
    """Return the size of (B, H, W, 3) images and of the part of the input that they fill (`inner_size_hw`)."""
    high, wide = preprocess.size_hw
    height, width = _number(images.shape[1]), _number(images.shape[2])
    if preprocess.fit == "warp":
        return Frame(height, width, _number(high), _number(wide))
    by_height = height * wide >= width * high
    inner_height = torch.where(by_height, high, _rounded_ratio(height * wide, width))
    inner_width = torch.where(by_height, _rounded_ratio(width * high, height), wide)
    return Frame(height, width, inner_height, inner_width)


def to_input(images: Tensor, preprocess: Preprocess, frame: Frame) -> Tensor:
    """Resize uint8 (B, h, w, 3) images to float32 (B, H, W, 3) in whole numbers, as `preprocess.to_input`.

    OpenCV's linear resize of bytes uses integers: weights in 1/2048, and the vertical sum is truncated twice before it
    becomes a byte. That makes images darker by a tenth of a grey level on average, which affects a network that was
    trained on them. The same truncation is applied here, in float32, which represents these numbers: about one byte in
    two thousand differs by one level.
    """
    high, wide = preprocess.size_hw
    down = positions(high, frame.height, frame.inner_height)
    across = positions(wide, frame.width, frame.inner_width)
    right = (across.share * ONE).round()[:, None]
    below = (down.share * ONE).round()[:, None, None]
    # Shares are scaled rather than results, which is exact by powers of two and saves passes over the image.
    columns, rows = ((ONE - right) / 16, right / 16), ((ONE - below) / 65536, below / 65536)
    flat, mixed = images.reshape(images.shape[0], -1, 3), []
    for each in (down.low, down.high):
        starts = each[:, None] * frame.width
        places = ((starts + column).reshape(-1) for column in (across.low, across.high))
        one, other = (flat.index_select(1, place).reshape(-1, high, wide, 3).float() for place in places)
        mixed.append((one * columns[0] + other * columns[1]).floor())  # in units of 1/128 of a grey level
    parts = (mixed[0] * rows[0]).floor() + (mixed[1] * rows[1]).floor()
    pixels = (parts * 0.25 + 0.5).floor()
    if preprocess.fill_rgb is None:
        return pixels
    inside = (torch.arange(high) < frame.inner_height)[:, None] & (torch.arange(wide) < frame.inner_width)
    return torch.where(inside[:, :, None], pixels, torch.tensor(preprocess.fill_rgb, dtype=torch.float32))


def normalise(pixels: Tensor, preprocess: Preprocess) -> Tensor:
    """Do what `preprocess.normalise` does, for images in float32: (B, H, W, 3) → (B, 3, H, W)."""
    batch, height, width, _ = pixels.shape
    mean = torch.tensor(preprocess.mean_rgb).repeat(width)
    scale = torch.tensor(preprocess.std_rgb).reciprocal().repeat(width)
    rows = (pixels.reshape(batch, height, width * 3) - mean) * scale
    pixels = rows.reshape(batch, height, width, 3)
    if preprocess.channel_order == "bgr":
        pixels = pixels.flip(-1)
    return pixels.permute(0, 3, 1, 2)


class Positions(NamedTuple):
    """The sampling positions of N output cells: the two neighbouring input cells (N,), and the second one's weight."""

    low: Tensor
    high: Tensor
    share: Tensor


def positions(count: int | torch.SymInt, size_in: Tensor, size_out: Tensor) -> Positions:
    """Return the sampling positions of `count` cells for a resize from `size_in` to `size_out` cells.

    Pixel centres are at half integers: cell i samples at (i + ½)·in/out − ½, clamped to the image. Cells beyond
    `size_out` sample the edge.
    """
    cells = torch.arange(count, dtype=torch.float32)  # pyright: ignore[reportCallIssue, reportArgumentType]
    centres = (cells + 0.5) * (size_in.float() / size_out.float()) - 0.5
    centres = torch.minimum(centres.clamp(min=0.0), (size_in - 1).float())
    low = centres.floor()
    return Positions(low.long(), torch.minimum(low.long() + 1, size_in - 1), centres - low)


def sample(values: Tensor, axis: int, where: Positions) -> Tensor:
    """Interpolate `values` along one axis at those positions, in float32."""
    low, high = values.index_select(axis, where.low).float(), values.index_select(axis, where.high).float()
    share = where.share.reshape([-1 if each == axis else 1 for each in range(values.dim())])
    return low + (high - low) * share


def _number(value: int | torch.SymInt) -> Tensor:
    return torch.scalar_tensor(value, dtype=torch.int64)  # pyright: ignore[reportArgumentType]


def _rounded_ratio(above: Tensor, below: Tensor) -> Tensor:
    """Return max(1, round(above / below)) in integers; halves are rounded to even, as by Python's `round`."""
    whole = torch.div(above, below, rounding_mode="floor")
    rest = 2 * (above - whole * below)
    up = (rest > below) | ((rest == below) & (torch.remainder(whole, 2) == 1))
    return (whole + up.long()).clamp(min=1)


@runtime_checkable
class Suppression(Protocol):
    """How a graph ranks candidates and applies NMS."""

    def greatest(self, values: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Return the `count` largest of each row of (…, N) values ≥ 0 and their indices; of equal ones the first."""
        ...

    def suppress(self, boxes_xyxy: Tensor, scores: Tensor, nms_iou: float) -> Tensor:
        """Return the scores (N, M) of N rows of M sorted candidates with boxes (N, M, 4); 0 for dropped ones."""
        ...


class LoopSuppression:
    """For torch programs."""

    def greatest(self, values: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """See `Suppression.greatest`. torch's top-k does not define the order of equal values.

        The bits of float32 numbers ≥ 0 have the order of the numbers. With the index, counted from the end, as the
        lower bits, all keys differ.
        """
        last = values.shape[-1] - 1
        from_end = last - torch.arange(values.shape[-1])
        keys = values.contiguous().view(torch.int32).long() * 2**32 + from_end
        best = keys.topk(count, dim=-1).values
        places = last - best.bitwise_and(2**32 - 1)
        return values.gather(-1, places), places

    def suppress(self, boxes_xyxy: Tensor, scores: Tensor, nms_iou: float) -> Tensor:
        """See `Suppression.suppress`."""
        return torch.where(loop(boxes_xyxy, scores, nms_iou), scores, 0.0)


class OperatorSuppression:
    """For ONNX, whose TopK gives the earlier of equal values first by definition."""

    def greatest(self, values: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """See `Suppression.greatest`."""
        best, places = values.topk(count, dim=-1)
        return best, places

    def suppress(self, boxes_xyxy: Tensor, scores: Tensor, nms_iou: float) -> Tensor:
        """See `Suppression.suppress`."""
        return nms_placeholder(boxes_xyxy, scores, nms_iou)


BLOCK = 32
"""Candidates that `loop` settles together."""


def loop(boxes_xyxy: Tensor, scores: Tensor, nms_iou: float) -> Tensor:
    """Return which of N rows of M sorted candidates NMS keeps, (N, M) bool, by loops that torch can export.

    Candidates are taken in blocks by rank, of all rows at once, up to the end of the longest row. Within a block the
    rule "kept if no kept one before it overlaps it" is applied to all of them until nothing changes. The first one is
    right from the start, then those that depend on it alone, and so on: the result is that of one after the other.
    Mostly that takes three or four rounds. What a block keeps then drops candidates of later blocks. So no more than N
    rows of BLOCK × M overlaps are in memory.
    """
    columns = scores.shape[1]
    block = min(BLOCK, columns)
    longest = (scores > 0).sum(-1).max()
    # Work on the columns that are in use; torch must be told that their number is within bounds.
    used = cast(int, longest.clamp(min=block).item())
    torch._check(used >= block)
    torch._check(used <= columns)
    alive = scores.narrow(1, 0, used) > 0
    x1, y1, x2, y2 = (edge.contiguous() for edge in boxes_xyxy.narrow(1, 0, used).unbind(-1))
    areas = (x2 - x1) * (y2 - y1)
    edges = torch.stack([x1, y1, x2, y2, areas])
    order = torch.arange(columns).narrow(0, 0, used)
    last = longest.clamp(min=block) - block

    def unfinished(start: Tensor, alive: Tensor, *rest: Tensor) -> Tensor:
        return start < rest[-1]

    def step(start: Tensor, alive: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
        left, top, right, bottom, area, every, ranks, last_start, _ = rest
        # The last block may begin earlier, to be a whole one: what is settled stays so.
        mine = ranks.narrow(0, 0, block) + torch.minimum(start, last_start)
        my_left, my_top, my_right, my_bottom, my_area = every.index_select(2, mine)[..., None].unbind(0)
        width = (torch.minimum(right[:, None], my_right) - torch.maximum(left[:, None], my_left)).clamp(min=0)
        height = (torch.minimum(bottom[:, None], my_bottom) - torch.maximum(top[:, None], my_top)).clamp(min=0)
        common = width * height
        hit = (common > nms_iou * (area[:, None] + my_area - common)) & (ranks > mine[:, None])
        hits = hit.float()
        start_block = alive.index_select(1, mine)

        def changing(kept: Tensor, before: Tensor, *rest: Tensor) -> Tensor:
            return (kept != before).any()

        def again(kept: Tensor, before: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
            candidates, inner = rest
            return candidates & (torch.bmm(kept.float()[:, None], inner)[:, 0] == 0), kept.clone()

        guesses = (start_block.clone(), torch.logical_not(start_block))
        inner = hits.index_select(2, mine)
        kept = torch.ops.higher_order.while_loop(changing, again, guesses, (start_block, inner))[0]
        dropped = torch.bmm(kept.float()[:, None], hits)[:, 0] > 0
        return start + block, alive & ~dropped

    constant = (x1, y1, x2, y2, areas, edges, order, last, longest)
    begin = (torch.zeros((), dtype=torch.int64), alive)
    kept = torch.ops.higher_order.while_loop(unfinished, step, begin, constant)[1]
    return torch.cat([kept, torch.zeros(scores.shape[0], columns - used, dtype=torch.bool)], dim=1)


@torch.library.custom_op(
    "singleshot_export::suppress",
    mutates_args=(),
    schema="(Tensor boxes_xyxy, Tensor scores, float nms_iou) -> Tensor",
)
def nms_placeholder(boxes_xyxy: Tensor, scores: Tensor, nms_iou: float) -> Tensor:
    """Apply NMS like `loop`; `onnx` replaces this operator by NonMaxSuppression."""
    return torch.where(loop(boxes_xyxy, scores, nms_iou), scores, 0.0)


@nms_placeholder.register_fake
def _(boxes_xyxy: Tensor, scores: Tensor, nms_iou: float) -> Tensor:
    return torch.empty_like(scores)


OPERATOR = torch.ops.singleshot_export.suppress.default
"""The name by which an exporter knows `nms_placeholder`."""
