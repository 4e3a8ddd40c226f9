"""Export programs as torch's archive, `.pt2`, which `torch.export.load` runs without singleshot.

An archive usually contains example inputs as a pickle, and the source file, line and folder of every operator. Ours
contains neither: it can be read without running code, and reveals nothing about the machine that it was made on.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch

from singleshot.exporting.program import DetectorProgram, SegmenterProgram
from singleshot.prediction.backends.onnx import INPUT
from singleshot.prediction.extras import quiet

PLACES_OF_ORIGIN = ("stack_trace", "nn_module_stack", "source_fn_stack", "from_node", "torch_fn")


def to_pt2(program: DetectorProgram | SegmenterProgram) -> torch.export.ExportedProgram:
    """Export the program for batches of any number of images of any size."""
    height, width = program.config.input_size_hw
    example = torch.zeros(2, height + 17, width + 29, 3, dtype=torch.uint8)
    batch, high, wide = (torch.export.Dim(name) for name in ("batch", "height", "width"))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        made = torch.export.export(program, (example,), dynamic_shapes={INPUT: {0: batch, 1: high, 2: wide}})
    for module in made.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                for name in PLACES_OF_ORIGIN:
                    node.meta.pop(name, None)
    made.example_inputs = None
    return made


def write(program: torch.export.ExportedProgram, path: Path, texts: Mapping[str, str]) -> None:
    """Write the archive with those texts as extra files, `<name>.txt`."""
    archive = io.BytesIO()
    with warnings.catch_warnings(), quiet("torch._export"):
        warnings.simplefilter("ignore")
        torch.export.save(program, archive, extra_files={f"{name}.txt": text for name, text in texts.items()})
    path.write_bytes(archive.getvalue())
