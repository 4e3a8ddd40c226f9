"""Networks for ncnn, which runs on phones and small boards: `.ncnn.param`, `.ncnn.bin` and a `.ncnn.json`.

pnnx converts a trace of the network, and `ncnn_int8` quantises what it wrote. ncnn has no tensors of changing size, so
resizing, normalisation, decoding and suppression stay outside, and what they need is in the JSON file (`sidecar`).
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from numpy import ndarray

from singleshot.exporting import ncnn_files, ncnn_int8
from singleshot.exporting.program import NetworkProgram
from singleshot.prediction.backends import sidecar
from singleshot.prediction.backends.backend import ExportRecord
from singleshot.prediction.backends.ncnn import parts_of
from singleshot.prediction.extras import needs_extra, quiet


def write(
    program: NetworkProgram, path: Path, record: ExportRecord, inputs: Sequence[UInt8[ndarray, "1 H W 3"]] = ()
) -> None:
    """Write `path` (.ncnn.param) and the two files beside it.

    Args:
        program: the network.
        path: where to.
        record: of the export; its precision is what is made: fp16 halves the weights, int8 quarters them.
        inputs: images of the input size to measure 8-bit scales on; for int8 alone.

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
        if record.precision == "int8":
            _quantise(parts[".param"], parts[".bin"], record, inputs)
        for suffix, part in parts_of(path).items():
            shutil.move(parts[suffix], part)
    describe(path, record)


def _quantise(param: Path, weights: Path, record: ExportRecord, inputs: Sequence[UInt8[ndarray, "1 H W 3"]]) -> None:
    """Rewrite a network in float32 in 8-bit integers, measured on these images."""
    layers = ncnn_files.read(param.read_text(encoding="ascii"), weights.read_bytes())
    sources, config = ncnn_int8.quantisable(layers), record.config.preprocess
    images = (sidecar.input_of(list(image), config)[0].numpy() for image in inputs)
    found = ncnn_int8.measured(param, weights, list(dict.fromkeys(sources.values())), images)
    limits = {name: found[source].limit() for name, source in sources.items()}
    text, data = ncnn_files.written(ncnn_int8.quantised(layers, limits))
    param.write_text(text, encoding="ascii")
    weights.write_bytes(data)


def describe(path: Path, record: ExportRecord) -> None:
    """Write the JSON file of an `.ncnn.param` and its `.bin`."""
    height, width = record.config.input_size_hw
    outputs = {name: f"out{place}" for place, name in enumerate(record.output_names)}
    graph = {"input": {"name": "in0", "shape_chw": [3, height, width]}, "outputs": outputs}
    sidecar.write(path.with_suffix(sidecar.SUFFIX), record, graph, parts_of(path))
