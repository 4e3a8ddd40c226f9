"""Networks for Core ML, Apple's runtime: an `.mlpackage`, a folder.

Its input is an image of the input size, RGB; normalisation is in the graph, decoding and suppression are not: Core
ML's own NMS takes one threshold for all classes and orders ties in its own way. Class names, thresholds and anchors
are in the package's metadata, under `facts`, as `sidecar.facts` gives them.

Core ML runs on macOS and iOS alone. What can be compared elsewhere is the saved package: `coreml_graph` computes what
its graph says, with the weights that lie in it.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from singleshot.exporting.program import NetworkProgram
from singleshot.prediction.backends import sidecar
from singleshot.prediction.backends.backend import ExportRecord
from singleshot.prediction.extras import needs_extra, quiet

INPUT = "image"
MANIFEST = "Manifest.json"
"""A file that every package has."""


class PixelProgram(nn.Module):
    """A network alone whose input is RGB in 0…255, (1, 3, H, W) float32.

    Args:
        program: what takes the normalised image.
    """

    def __init__(self, program: NetworkProgram) -> None:
        super().__init__()
        self.program = program
        config = program.config.preprocess
        self.register_buffer("mean", torch.tensor(config.mean_rgb).reshape(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(config.std_rgb).reciprocal().reshape(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """The outputs for one image."""
        return self.program((pixels - self.mean) * self.scale)  # pyright: ignore[reportOperatorIssue]


def write(program: NetworkProgram, path: Path, record: ExportRecord) -> None:
    """Write the package. Raises ConfigError where the extra `coreml` is missing."""
    with needs_extra("coreml"), _silence():
        import coremltools  # pyright: ignore[reportMissingImports]
    height, width = record.config.input_size_hw
    graph = {"input": {"name": INPUT, "shape_hw": [height, width]}, "outputs": list(record.output_names)}
    with _silence(), torch.no_grad():
        exported = torch.export.export(PixelProgram(program).eval(), (torch.zeros(1, 3, height, width),))
        half = record.precision == "fp16"
        made: Any = coremltools.convert(
            exported.run_decompositions({}),  # the plain program has operators that the converter does not know
            inputs=[coremltools.ImageType(name=INPUT, shape=(1, 3, height, width))],
            outputs=[coremltools.TensorType(name=name) for name in record.output_names],
            minimum_deployment_target=coremltools.target.iOS16,
            compute_precision=coremltools.precision.FLOAT16 if half else coremltools.precision.FLOAT32,
            skip_model_load=True,
        )
        for name, text in (record.texts() | {"facts": json.dumps(sidecar.facts(record, graph))}).items():
            made.user_defined_metadata[name] = text
        made.save(str(path))
    for each in path.glob("executorch_*"):
        each.unlink()  # an aid for debugging, which the package's manifest does not list


@contextlib.contextmanager
def _silence() -> Any:
    """Around the converter, which reports its progress, and what it misses of macOS, to nobody's use."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    with (
        warnings.catch_warnings(),
        quiet("coremltools"),
        contextlib.redirect_stderr(io.StringIO()),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logging.disable(before)
