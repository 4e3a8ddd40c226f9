"""What a saved Core ML package computes, by its own graph and with its own weights, on any system.

Core ML predicts on Apple's systems alone. So that an export can be proven elsewhere, the operators that our networks
are made of are computed here by torch, one by one, as the format's documentation defines them (coremltools, MIL
operators for iOS 15 and 16), on the numbers that lie in the package. This proves weights and graph, not Apple's
runtime.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray
from torch import Tensor
from torch.nn import functional as F

from singleshot import preprocess
from singleshot.prediction.backends.backend import ExportRecord
from singleshot.prediction.extras import needs_extra

WEIGHTS = Path("Data") / "com.apple.CoreML" / "weights" / "weight.bin"
MODEL = Path("Data") / "com.apple.CoreML" / "model.mlmodel"


class CoremlGraph:
    """A package's graph as a `Backend`.

    Args:
        path: the `.mlpackage`.
        record: what the export says of itself.

    Raises ConfigError where the extra `coreml` is missing, and ValueError for an operator that no export of ours has.
    """

    def __init__(self, path: Path, record: ExportRecord) -> None:
        from singleshot.exporting.coreml import _silence

        with needs_extra("coreml"), _silence():
            from coremltools.libmilstoragepython import _BlobStorageReader  # pyright: ignore[reportMissingImports]
            from coremltools.proto import Model_pb2  # pyright: ignore[reportMissingImports]
        self.record = record
        model: Any = Model_pb2.Model()
        model.ParseFromString((path / MODEL).read_bytes())
        self.texts: dict[str, str] = dict(model.description.metadata.userDefined)
        function = model.mlProgram.functions["main"]
        self._block: Any = function.block_specializations[function.opset]
        self._blobs: Any = _BlobStorageReader(str(path / WEIGHTS))
        self._input: str = function.inputs[0].name
        self._constants = {
            op.outputs[0].name: self._value(op.attributes["val"]) for op in self._block.operations if op.type == "const"
        }

    @torch.inference_mode()
    def run(self, images: UInt8[ndarray, "B H W 3"]) -> Mapping[str, Any]:
        """Compute the graph as `Backend.run`; images of another size than the input's are brought to it first."""
        resized = np.stack([preprocess.to_input(image, self.record.config.preprocess) for image in images])
        rows = [self._outputs(torch.from_numpy(image).permute(2, 0, 1)[None].float()) for image in resized]
        names = self.record.output_names
        return {name: np.concatenate(each) for name, each in zip(names, zip(*rows, strict=True), strict=True)}

    def _outputs(self, pixels: Tensor) -> list[ndarray]:
        values: dict[str, Any] = self._constants | {self._input: pixels}
        for op in self._block.operations:
            if op.type == "const":
                continue
            given = {key: [values[each.name] for each in bound.arguments] for key, bound in op.inputs.items()}
            single = {key: each[0] for key, each in given.items()}
            result = compute(op.type, single, given.get("values", ()))
            # Half precision is what is stored; sums are taken in single precision.
            half = op.outputs[0].type.tensorType.dataType == FLOAT16
            values[op.outputs[0].name] = result.half().float() if half else result
        return [values[name].float().numpy() for name in self.record.output_names]

    def _value(self, value: Any) -> Any:
        """A constant: a float32 tensor, or integers, truth values and text as Python has them."""
        kind = value.type.tensorType
        shape = [int(each.constant.size) for each in kind.dimensions]
        if value.HasField("blobFileValue"):
            offset = value.blobFileValue.offset
            if kind.dataType == FLOAT16:
                data = np.array(self._blobs.read_fp16_data(offset), dtype=np.uint16).view(np.float16)
            else:
                data = np.array(self._blobs.read_float_data(offset), dtype=np.float32)
            return torch.from_numpy(data.astype(np.float32)).reshape(shape)
        tensor = value.immediateValue.tensor
        field = tensor.WhichOneof("value")
        if field == "bytes":
            data = np.frombuffer(tensor.bytes.values, dtype=np.float16 if kind.dataType == FLOAT16 else np.int16)
            numbers: list[Any] = data.tolist()
        else:
            numbers = list(getattr(tensor, field).values)
        if kind.dataType in (FLOAT16, FLOAT32):
            return torch.tensor(numbers, dtype=torch.float32).reshape(shape)
        return numbers if shape else numbers[0]


FLOAT16, FLOAT32 = 10, 11
"""The format's numbers of the two types."""


def compute(kind: str, given: Mapping[str, Any], values: Sequence[Tensor] = ()) -> Tensor:
    """The result of one operator.

    Args:
        kind: its name in MIL.
        given: its inputs by name.
        values: the tensors of `concat`.

    Raises ValueError for an operator, or a mode of one, that no export of ours has.

    >>> compute("thresholded_relu", {"x": torch.tensor([-1.0, 1.0, 3.0]), "alpha": torch.tensor(2.0)})
    tensor([0., 0., 3.])
    """
    x = given.get("x")
    if kind in BINARY:
        return BINARY[kind](given["x"], given["y"])
    if kind == "concat":
        return torch.cat(list(values), dim=int(given["axis"]))
    if not isinstance(x, Tensor):
        raise ValueError(f"an operator {kind} without an input")
    if kind in ("conv", "conv_transpose"):
        return _convolution(kind, x, given)
    if kind == "max_pool":
        return _max_pool(x, given)
    if kind == "avg_pool":
        return _avg_pool(x, given)
    if kind == "pad":
        flat = [int(each) for each in given["pad"]]
        pairs = [flat[at : at + 2] for at in range(0, len(flat), 2)]
        return F.pad(x, [each for pair in reversed(pairs) for each in pair], value=float(given["constant_val"]))
    if kind == "upsample_bilinear":
        size = [
            round(x.shape[2] * float(given["scale_factor_height"])),
            round(x.shape[3] * float(given["scale_factor_width"])),
        ]
        return F.interpolate(x, size, mode="bilinear", align_corners=bool(given["align_corners"]))
    if kind == "upsample_nearest_neighbor":
        size = [
            round(x.shape[2] * float(given["scale_factor_height"])),
            round(x.shape[3] * float(given["scale_factor_width"])),
        ]
        return F.interpolate(x, size, mode="nearest")
    if kind == "slice_by_index":
        return _slice(x, given)
    if kind in ("reduce_mean", "reduce_sum"):
        reduced = {"reduce_mean": torch.mean, "reduce_sum": torch.sum}[kind]
        return reduced(x, dim=list(given["axes"]), keepdim=bool(given["keep_dims"]))
    simple = {
        "cast": lambda: x,
        "relu": lambda: x.relu(),
        "sqrt": lambda: x.sqrt(),
        "transpose": lambda: x.permute(list(given["perm"])),
        "reshape": lambda: x.reshape(list(given["shape"])),
        "clip": lambda: x.clamp(float(given["alpha"]), float(given["beta"])),
        "sigmoid_hard": lambda: (float(given["alpha"]) * x + float(given["beta"])).clamp(0, 1),
        "thresholded_relu": lambda: torch.where(x >= float(given["alpha"]), x, 0.0),
    }
    if kind not in simple:
        raise ValueError(f"an operator {kind}, which no export has")
    return simple[kind]()


BINARY = {"add": torch.add, "sub": torch.sub, "mul": torch.mul, "real_div": torch.div}


def _convolution(kind: str, x: Tensor, given: Mapping[str, Any]) -> Tensor:
    """`conv` and `conv_transpose` with padding of one's own or none."""
    pad = [int(each) for each in given["pad"]] if given.get("pad_type", "valid") == "custom" else [0, 0, 0, 0]
    if given.get("pad_type", "valid") not in ("valid", "custom") or (kind != "conv" and any(pad)):
        raise ValueError(f"{kind} with padding {given['pad_type']}")
    stride, groups, dilation = list(given["strides"]), int(given["groups"]), list(given["dilations"])
    weight, bias = given["weight"], given.get("bias")
    if kind == "conv":
        padded = F.pad(x, [pad[2], pad[3], pad[0], pad[1]])
        return F.conv2d(padded, weight, bias, stride, 0, dilation, groups)
    return F.conv_transpose2d(x, weight, bias, stride, 0, 0, groups, dilation)


def _max_pool(x: Tensor, given: Mapping[str, Any]) -> Tensor:
    """Cells beyond the edge are never the largest; with `ceil_mode` the last window may reach beyond it."""
    pad = [int(each) for each in given["pad"]] if given["pad_type"] == "custom" else [0, 0, 0, 0]
    if given["pad_type"] not in ("valid", "custom"):
        raise ValueError(f"max_pool with padding {given['pad_type']}")
    padded = F.pad(x, [pad[2], pad[3], pad[0], pad[1]], value=-torch.inf)
    sizes, strides = list(given["kernel_sizes"]), list(given["strides"])
    return F.max_pool2d(padded, sizes, strides, ceil_mode=bool(given.get("ceil_mode", False)))


def _avg_pool(x: Tensor, given: Mapping[str, Any]) -> Tensor:
    """Without padding; with `ceil_mode` the last window may reach beyond the edge, and averages what is within."""
    ceil = bool(given.get("ceil_mode", False))
    if given["pad_type"] not in ("valid", "custom") or any(int(each) for each in given.get("pad", [])):
        raise ValueError("avg_pool with padding")
    if ceil and not bool(given["exclude_padding_from_average"]):
        raise ValueError("avg_pool that counts cells beyond the edge")
    return F.avg_pool2d(x, list(given["kernel_sizes"]), list(given["strides"]), ceil_mode=ceil, count_include_pad=False)


def _slice(x: Tensor, given: Mapping[str, Any]) -> Tensor:
    """`slice_by_index` with steps of 1 and no axis dropped."""
    rank = x.dim()
    if any(given.get("squeeze_mask") or []) or any(each != 1 for each in given.get("stride") or []):
        raise ValueError("a slice with steps")
    begin_mask, end_mask = given.get("begin_mask") or [False] * rank, given.get("end_mask") or [False] * rank
    for axis in range(rank):
        start = 0 if begin_mask[axis] else int(given["begin"][axis])
        end = x.shape[axis] if end_mask[axis] else int(given["end"][axis])
        x = x.narrow(axis, start, (end if end >= 0 else end + x.shape[axis]) - start)
    return x
