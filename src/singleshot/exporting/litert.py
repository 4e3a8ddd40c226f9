"""Networks for LiteRT (TFLite): a `.tflite` and a `.json`, in float32 or wholly in 8-bit integers.

The input is one normalised image, (1, H, W, 3), as the format's own tools expect it. Resizing, normalisation, decoding
and suppression stay outside, as on microcontrollers and Edge TPUs, and what they need is in the JSON file (`sidecar`).

litert-torch copies the memory of weights and takes its order for rows: of weights that lie channels last it makes
another network, without a word. `NetworkProgram` lays them in rows. It also resizes to the nearest cell wrongly if the
new size is no multiple of the old one, such as 8 → 15 cells: cells are picked by their index in its stead.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from numpy import ndarray
from torch import Tensor, nn

from singleshot.backbones.layers import NearestResize
from singleshot.exporting.program import NetworkProgram
from singleshot.prediction.backends import sidecar
from singleshot.prediction.backends.backend import ExportRecord
from singleshot.prediction.extras import needs_extra, quiet


def write(
    program: NetworkProgram, path: Path, record: ExportRecord, inputs: Sequence[UInt8[ndarray, "1 H W 3"]]
) -> None:
    """Write `path` (.tflite) and its JSON file.

    Args:
        program: the network; its modules that resize are replaced.
        path: where to.
        record: of the export; its precision is what is made.
        inputs: images of the input size to measure 8-bit scales on; for int8 alone.

    Raises ConfigError where the packages of the extra `litert` are missing.
    """
    _pick_nearest_by_index(program)
    with needs_extra("litert"):
        import ai_edge_litert  # noqa: F401  # pyright: ignore[reportMissingImports]
        import litert_torch  # pyright: ignore[reportMissingImports]
    height, width = record.config.input_size_hw
    with (
        warnings.catch_warnings(),
        quiet("litert_torch", "jax", "torchao", "torch"),
        contextlib.redirect_stdout(io.StringIO()),  # its progress
        torch.no_grad(),
    ):
        warnings.simplefilter("ignore")
        made: Any = litert_torch.convert(
            litert_torch.to_channel_last_io(program, args=[0]).eval(), (torch.zeros(1, height, width, 3),)
        )
        made.export(str(path))
    if record.precision == "int8":
        path.write_bytes(_quantised(path, record, inputs))
    outputs = {name: place for place, name in enumerate(record.output_names)}
    graph = {"input": {"shape_hwc": [height, width, 3]}, "outputs": outputs}
    sidecar.write(path.with_suffix(sidecar.SUFFIX), record, graph, {".tflite": path})


class _PickNearest(nn.Module):
    """`NearestResize` by picking rows and columns."""

    def forward(self, features: Tensor, size_hw: tuple[int, int]) -> Tensor:
        # In float32, as torch computes it.
        rows, columns = (
            (torch.arange(count, dtype=torch.float32) * (side / count)).floor().long().clamp(max=side - 1)
            for side, count in zip(features.shape[2:], size_hw, strict=True)
        )
        return features.index_select(2, rows).index_select(3, columns)


def _pick_nearest_by_index(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, NearestResize):
            setattr(module, name, _PickNearest())
        else:
            _pick_nearest_by_index(child)


def _quantised(path: Path, record: ExportRecord, inputs: Sequence[UInt8[ndarray, "1 H W 3"]]) -> bytes:
    """The model with weights, activations, input and outputs in 8-bit integers, measured on these images."""
    with needs_extra("litert"):
        from ai_edge_litert.interpreter import Interpreter  # pyright: ignore[reportMissingImports]
        from ai_edge_quantizer import quantizer, recipe  # pyright: ignore[reportMissingImports]
    interpreter: Any = Interpreter(str(path))
    ((signature, names),) = interpreter.get_signature_list().items()
    config, name = record.config.preprocess, names["inputs"][0]
    samples = [{name: sidecar.input_of(list(image), config).permute(0, 2, 3, 1).numpy()} for image in inputs]
    with (
        tempfile.TemporaryDirectory() as folder,
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),  # its progress bar
    ):
        warnings.simplefilter("ignore")
        tool: Any = quantizer.Quantizer(str(path), recipe.static_wi8_ai8())
        scales = tool.calibrate({signature: samples})
        target = Path(folder) / "int8.tflite"
        tool.quantize(scales).export_model(str(target))
        return target.read_bytes()
