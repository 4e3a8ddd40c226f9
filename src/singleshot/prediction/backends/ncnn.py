"""`.ncnn.param` files with their `.ncnn.bin` and `.ncnn.json`, in ncnn, on the CPU.

ncnn trusts its files: sizes in the text decide how much memory it takes and how much it reads. The text is therefore
checked line by line before ncnn sees it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from singleshot.errors import DataError
from singleshot.prediction.backends import sidecar
from singleshot.prediction.backends.backend import ExportRecord, refuse_fork, refused
from singleshot.prediction.backends.host import default_threads
from singleshot.prediction.extras import needs_extra
from singleshot.storage.files import file_bytes

MAGIC = "7767517"
MOST_TEXT, MOST_WEIGHTS, MOST_LAYERS, MOST_NUMBER = 4 << 20, 4 << 30, 4096, 1 << 28
_NAMES = """
    BinaryOp Clip Concat Convolution ConvolutionDepthWise Crop Deconvolution DeconvolutionDepthWise HardSigmoid
    HardSwish InnerProduct Input Interp MemoryData Padding Permute Pooling ReLU Reduction Reshape Sigmoid Slice Split
    UnaryOp
"""
LAYERS = frozenset(_NAMES.split())
"""The layers that exports of ours are made of."""
WEIGHTS_SIZES = {
    "Convolution": 6,
    "ConvolutionDepthWise": 6,
    "Deconvolution": 6,
    "DeconvolutionDepthWise": 6,
    "InnerProduct": 2,
}
"""Which parameter of a layer says how many weights it reads."""


class NcnnBackend:
    """A network in ncnn, with the preprocessing of its record before it.

    Args:
        param: the text of the `.ncnn.param`; `open_ncnn` looks at a file's first.
        weights: the `.ncnn.bin`.
        record: what the export says of itself.
        outputs: ncnn's name of each of the record's outputs.
        threads: of one run; None for `default_threads`.

    Raises ConfigError where the extra `ncnn` is missing, and RuntimeError where ncnn cannot load it.
    """

    def __init__(
        self, param: str, weights: Path, record: ExportRecord, outputs: tuple[str, ...], threads: int | None = None
    ) -> None:
        with needs_extra("ncnn"):
            import ncnn  # pyright: ignore[reportMissingImports]
        self.record, self.output_names, self._outputs = record, record.output_names, outputs
        self._ncnn: Any = ncnn
        self._process = os.getpid()
        self._net: Any = self._ncnn.Net()
        options = self._net.opt
        options.num_threads = threads or default_threads()
        options.use_vulkan_compute = False
        half = record.precision == "fp16"
        for name in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic"):
            setattr(options, name, half)  # on processors that have it; others compute in float32
        options.use_bf16_storage = False
        if self._net.load_param_mem(param) != 0 or self._net.load_model(str(weights)) != 0:
            raise RuntimeError("the network cannot be loaded")
        known = set(self._net.output_names())
        if self._net.input_names() != ["in0"] or not known.issuperset(outputs):
            raise RuntimeError("its input or outputs have other names")

    def run(self, images: UInt8[ndarray, "B H W 3"]) -> Mapping[str, Any]:
        """Run the network as `Backend.run`; images of another size than the input's are brought to it first.

        Raises UsageError in a forked process, and RuntimeError where ncnn fails.
        """
        refuse_fork(self._process, "ncnn")
        batch = sidecar.input_of(list(images), self.record.config.preprocess).contiguous().numpy()
        rows: list[list[ndarray]] = []
        for image in batch:
            extractor = self._net.create_extractor()
            extractor.input("in0", self._ncnn.Mat(image))
            found = []
            for name in self._outputs:
                code, value = extractor.extract(name)
                if code != 0:
                    raise RuntimeError(f"ncnn cannot compute {name} (code {code})")
                found.append(np.array(value))
            rows.append(found)
        return {name: np.stack(each) for name, each in zip(self.output_names, zip(*rows, strict=True), strict=True)}


def parts_of(path: Path) -> dict[str, Path]:
    """The two files that ncnn reads, by suffix."""
    return {".param": path, ".bin": path.with_suffix(".bin")}


def open_ncnn(path: Path, threads: int | None = None) -> NcnnBackend:
    """A `.ncnn.param` with its `.ncnn.bin` and `.ncnn.json` beside it, once it was found fit to be run.

    Raises:
        DataError: not an export of singleshot, damaged, or one that claims impossible sizes.
        InputMissingError: one of the three files is not there.
        ConfigError: the extra `ncnn` is missing.
    """
    text = file_bytes(path, MOST_TEXT)
    parts = parts_of(path)
    record, facts = sidecar.read(path.with_suffix(sidecar.SUFFIX), parts)
    param = checked_param(text, parts[".bin"].stat().st_size, path)
    outputs = facts.get("outputs")
    if not isinstance(outputs, dict) or not all(isinstance(outputs.get(name), str) for name in record.output_names):
        raise DataError("its JSON file names no outputs", kind="bad-export", remedy=sidecar.AGAIN, file=path)
    try:
        return NcnnBackend(param, parts[".bin"], record, tuple(outputs[name] for name in record.output_names), threads)
    except RuntimeError as error:
        raise refused("ncnn", error, path) from error


def checked_param(text: bytes, weights_bytes: int, path: Path) -> str:
    """The text of a `.param` file, if ncnn can be given it.

    Raises DataError unless it is a list of layers that our exports have, each with its numbers, whose weights fit into
    a file of `weights_bytes`.
    """
    try:
        lines = text.decode("ascii").splitlines()
        counts = [int(each) for each in lines[1].split()]
        if lines[0].strip() != MAGIC or len(counts) != 2 or not 0 < max(counts) <= MOST_LAYERS:
            raise ValueError("no ncnn network")
        if len(lines) - 2 != counts[0]:
            raise ValueError(f"{len(lines) - 2} layers of {counts[0]}")
        written, read = 0, 0
        for line in lines[2:]:
            words = line.split()
            inputs, outputs = int(words[2]), int(words[3])
            if words[0] not in LAYERS:
                raise ValueError(f"a layer {words[0][:40]}")
            if not 0 <= inputs <= MOST_LAYERS or not 0 < outputs <= MOST_LAYERS or len(words) < 4 + inputs + outputs:
                raise ValueError("a layer without its inputs")
            written += outputs
            numbers = dict(_parameter(word) for word in words[4 + inputs + outputs :])
            read += int(numbers.get(WEIGHTS_SIZES.get(words[0], -1), 0))
        if written != counts[1]:
            raise ValueError(f"{written} values of {counts[1]}")
        if read > weights_bytes:  # a weight takes a byte at least
            raise ValueError(f"{read} weights in {weights_bytes} bytes")
    except (ValueError, IndexError) as error:
        what = f"not a network for ncnn ({error}): it may be truncated"
        raise DataError(what, kind="damaged-export", remedy=sidecar.AGAIN, file=path) from error
    return text.decode("ascii")


def _parameter(word: str) -> tuple[int, float]:
    """One `key=number`, or `-233xx=count,number,…`, whose count is returned."""
    key, _, value = word.partition("=")
    numbers = [float(each) for each in value.split(",")]
    if int(key) <= -23300 and numbers[0] != len(numbers) - 1:
        raise ValueError("a list of another length")
    if not all(abs(each) <= MOST_NUMBER for each in numbers):  # what is not a number neither
        raise ValueError("an impossible number")
    return int(key), numbers[0]
