"""ncnn networks in 8-bit integers: convolutions quantised with scales measured on images.

The wheel of ncnn has no tools for this; their format is documented. A quantised layer multiplies its input by one scale
and its weights by one scale per output channel, rounds both, sums products in integers, and goes back to float32. Where
only quantised convolutions read its result, that stays in integers (ncnn calls it requantisation).

Depthwise convolutions stay in float32: they hold one weight in a hundred, lose much, and gain no time on a CPU. All
others are quantised, the first and the last too: nothing is gained by leaving those out.

Reference: ncnn, docs/how-to-use-and-FAQ/quantized-int8-inference.md and the `load_model` of the layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int8
from numpy import ndarray

from singleshot.exporting.ncnn_files import INNER_PRODUCT, Layer
from singleshot.prediction.backends.host import default_threads
from singleshot.prediction.extras import needs_extra

CONVOLUTION = "Convolution"
SCALE_TERM = 8
"""The parameter that says that a layer is quantised, and which scales follow its weights."""
KINDS = (CONVOLUTION, INNER_PRODUCT)
"""The layers that are quantised; both have a scale per output channel and one of their input."""
WITH_SCALES, REQUANTISED = 2, 102
"""Its values: with these scales, and with one of the output too, which stays in integers."""
LEVELS, WINOGRAD_LEVELS = 127, 31
BINS = 2048


@dataclass
class Magnitudes:
    """A histogram of the magnitudes of a value in the network, without its zeros, which 8 bits hold exactly.

    Args:
        width: of a bin; it doubles when a larger number comes.
        counts: numbers per bin.
    """

    width: float = 0.0
    counts: Float[ndarray, "2048"] = field(default_factory=lambda: np.zeros(BINS))

    def add(self, values: Float32[ndarray, "..."]) -> None:
        """Count the values of one more image."""
        sizes = np.abs(values[values != 0])
        if not sizes.size:
            return
        largest = float(sizes.max())
        self.width = self.width or largest / BINS
        while largest > self.width * BINS:
            merged = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts, self.width = np.concatenate([merged, np.zeros(BINS // 2)]), 2 * self.width
        places = np.minimum((sizes / self.width).astype(np.int64), BINS - 1)
        self.counts += np.bincount(places, minlength=BINS)

    def limit(self) -> float:
        """Return the magnitude that becomes 127: the one with the least squared error; 0 if all values are 0.

        Larger numbers are cut to it; a smaller limit makes the steps finer. Errors within a step are taken as uniform.
        """
        centres = (np.arange(BINS) + 0.5) * self.width
        limits = np.arange(1, BINS + 1) * self.width
        above = [np.append(np.cumsum((self.counts * centres**power)[::-1])[::-1][1:], 0.0) for power in range(3)]
        cut = above[2] - 2 * limits * above[1] + limits**2 * above[0]
        rounded = np.cumsum(self.counts) * (limits / LEVELS) ** 2 / 12
        return float(limits[np.argmin(cut + rounded)])


def measured(
    param: Path, weights: Path, names: Sequence[str], inputs: Iterable[Float32[ndarray, "3 H W"]]
) -> dict[str, Magnitudes]:
    """Run a network in float32 on images and return the magnitudes of some of its values.

    Args:
        param: the `.param` file.
        weights: the `.bin` file.
        names: of the values.
        inputs: normalised images of the input size.

    Raises ConfigError where the extra `ncnn` is missing, and RuntimeError where ncnn fails.
    """
    with needs_extra("ncnn"):
        import ncnn  # pyright: ignore[reportMissingImports]
    runtime: Any = ncnn
    net = runtime.Net()
    net.opt.num_threads, net.opt.use_vulkan_compute = default_threads(), False
    for name in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
        setattr(net.opt, name, False)
    if net.load_param(str(param)) != 0 or net.load_model(str(weights)) != 0:
        raise RuntimeError("ncnn cannot load the network that it shall be measured on")
    found = {name: Magnitudes() for name in names}
    for image in inputs:
        extractor = net.create_extractor()
        extractor.set_light_mode(False)  # which would drop what is read again
        pixels = np.ascontiguousarray(image)  # ncnn reads it in place: it must live until the last value is computed
        extractor.input("in0", runtime.Mat(pixels))
        for name, magnitudes in found.items():
            code, value = extractor.extract(name)
            if code != 0:
                raise RuntimeError(f"ncnn cannot compute {name} (code {code})")
            magnitudes.add(np.array(value))
    return found


def quantisable(layers: Sequence[Layer]) -> dict[str, str]:
    """Return the name of each layer that can be quantised, and the name of the value that it reads.

    Copies of a value (`Split`) count as that value.
    """
    copies = _copies(layers)
    return {each.name: copies.get(each.inputs[0], each.inputs[0]) for each in layers if each.kind in KINDS}


def quantised(layers: Sequence[Layer], limits: Mapping[str, float]) -> list[Layer]:
    """Return the network with some layers in 8-bit integers.

    Args:
        layers: in float32.
        limits: for the name of each layer to be quantised: the magnitude of its input that becomes 127.
    """
    readers: dict[str, list[Layer]] = {}
    copies = _copies(layers)
    for each in layers:
        for name in each.inputs:
            if each.kind != "Split":
                readers.setdefault(copies.get(name, name), []).append(each)
    made = []
    for each in layers:
        if each.name not in limits:
            made.append(each)
            continue
        weights, scales = quantised_weights(_flat(each).reshape(each.number(0), -1), _levels(each))
        term, after = WITH_SCALES, [scales, _scale(limits[each.name])]
        pair = [each, *readers.get(each.outputs[0], [])]
        if len(pair) > 1 and all(one.kind == CONVOLUTION and one.name in limits for one in pair):
            term = REQUANTISED
            after.append(_scale(limits[pair[1].name]))
        parameters = {**each.parameters, SCALE_TERM: str(term)}
        made.append(replace(each, parameters=parameters, weights=weights.ravel(), plain=(*each.plain, *after)))
    return made


def quantised_weights(
    weights: Float32[ndarray, "R N"], levels: int = LEVELS
) -> tuple[Int8[ndarray, "R N"], Float32[ndarray, " R"]]:
    """Return weights in whole numbers up to `levels`, and the scale of each row; 0 for a row of zeros.

    >>> whole, scales = quantised_weights(np.float32([[0.5, -1.0], [0.0, 0.0]]))
    >>> whole.tolist(), scales.tolist()
    ([[64, -127], [0, 0]], [127.0, 0.0])
    """
    largest = np.abs(weights).max(axis=1)
    scales = np.divide(np.float32(levels), largest, out=np.zeros_like(largest), where=largest > 0)
    return np.rint(weights * scales[:, None]).clip(-levels, levels).astype(np.int8), scales


def _levels(layer: Layer) -> int:
    """Return the largest whole number for weights.

    ncnn computes 3x3 convolutions by Winograd's transform in 16 bits, which overflow if weights have more than 6.
    """
    if layer.kind != CONVOLUTION:
        return LEVELS
    kernel, dilation, stride = (
        (layer.number(key, 1), layer.number(key + 10, layer.number(key, 1))) for key in (1, 2, 3)
    )
    return WINOGRAD_LEVELS if kernel == (3, 3) and dilation == stride == (1, 1) else LEVELS


def _copies(layers: Sequence[Layer]) -> dict[str, str]:
    """The value of which each copy is one."""
    return {name: each.inputs[0] for each in layers if each.kind == "Split" for name in each.outputs}


def _flat(layer: Layer) -> Float32[ndarray, "_"]:
    if layer.weights is None:
        raise ValueError(f"{layer.name} has no weights")
    return layer.weights


def _scale(limit: float) -> Float32[ndarray, "1"]:
    """The scale of activations; any does for values that are always 0."""
    return np.array([LEVELS / limit if limit > 0 else 1.0], dtype=np.float32)
