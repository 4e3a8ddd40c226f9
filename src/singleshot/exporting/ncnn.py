"""Networks for ncnn, which runs on phones and small boards: `.ncnn.param`, `.ncnn.bin` and a `.ncnn.json`.

pnnx converts a trace of the network. ncnn has no tensors of changing size, so resizing, normalisation, decoding and
suppression stay outside, and what they need is in the JSON file (`sidecar`).
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch

from singleshot.exporting.program import NetworkProgram
from singleshot.prediction.backends import sidecar
from singleshot.prediction.backends.backend import ExportRecord
from singleshot.prediction.backends.ncnn import parts_of
from singleshot.prediction.extras import needs_extra, quiet


def write(program: NetworkProgram, path: Path, record: ExportRecord) -> None:
    """Write `path` (.ncnn.param) and the two files beside it. fp16 halves the weights; the record says which.

    Raises ConfigError where the packages of the extra `ncnn` are missing, and RuntimeError where pnnx fails.
    """
    with needs_extra("ncnn"):
        import ncnn  # noqa: F401  (the comparison needs it: said now and not after the conversion)  # pyright: ignore[reportMissingImports]
        import pnnx  # pyright: ignore[reportMissingImports]
    height, width = record.config.input_size_hw
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        traced = Path(folder) / "network.pt"
        with warnings.catch_warnings(), quiet("torch.jit"), torch.no_grad():
            warnings.simplefilter("ignore")
            example = torch.zeros(1, 3, height, width)
            # Exported first, so that sizes are numbers and not computed in the graph.
            flat = torch.export.export(program, (example,)).module()
            made: Any = torch.jit.trace(flat, example, check_trace=False)
            made.save(str(traced))
        half = int(record.precision == "fp16")
        command = [pnnx.EXEC_PATH, traced.name, f"inputshape=[1,3,{height},{width}]", f"fp16={half}"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, errors="replace")
        parts = {suffix: Path(folder) / f"network.ncnn{suffix}" for suffix in (".param", ".bin")}
        if done.returncode != 0 or not all(part.is_file() for part in parts.values()):
            raise RuntimeError(f"pnnx failed with code {done.returncode}: {' '.join(done.stderr.split())[-300:]}")
        for suffix, part in parts_of(path).items():
            shutil.move(parts[suffix], part)
    describe(path, record)


def describe(path: Path, record: ExportRecord) -> None:
    """Write the JSON file of an `.ncnn.param` and its `.bin`."""
    height, width = record.config.input_size_hw
    outputs = {name: f"out{place}" for place, name in enumerate(record.output_names)}
    graph = {"input": {"name": "in0", "shape_chw": [3, height, width]}, "outputs": outputs}
    sidecar.write(path.with_suffix(sidecar.SUFFIX), record, graph, parts_of(path))
