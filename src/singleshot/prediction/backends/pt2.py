"""Run `.pt2` archives in torch, on the CPU or a CUDA device."""

from __future__ import annotations

import json
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray

from singleshot.errors import DataError, InputMissingError, UsageError
from singleshot.prediction.backends.backend import ExportRecord, parse, refused
from singleshot.prediction.extras import quiet


class Pt2Backend:
    """A program as a torch module. It uses torch's number of threads.

    Args:
        program: a `torch.export.ExportedProgram`, or a compiled one, which can be called; `open_pt2` reads both.
        record: the record in it.
        output_names: of its outputs, in order.
        device: where it computes; a compiled program computes on the CPU.
    """

    def __init__(
        self, program: Any, record: ExportRecord, output_names: tuple[str, ...], device: torch.device | None = None
    ) -> None:
        self.record, self.output_names = record, output_names
        self._device = device or torch.device("cpu")
        if not isinstance(program, torch.export.ExportedProgram):
            self._module: Any = program
            return
        if self._device.type != "cpu":
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, self._device)
        self._module = program.module()

    @torch.inference_mode()
    def run(self, images: UInt8[ndarray, "B H W 3"]) -> Mapping[str, Any]:
        """See `Backend.run`."""
        outputs = self._module(torch.from_numpy(np.ascontiguousarray(images)).to(self._device))
        return {name: each.cpu().numpy() for name, each in zip(self.output_names, outputs, strict=True)}


def open_pt2(path: Path, *, device: torch.device | None = None, trust: bool = False) -> Pt2Backend:
    """Check an archive for code and open it in torch.

    Args:
        path: the file.
        device: where it computes; None for the CPU.
        trust: open it even if it could run code of its author.

    Raises:
        DataError: not an archive of ours, damaged, one that could run code, or compiled for another processor.
        UsageError: a compiled archive on another device than the CPU.
        InputMissingError: there is no such file.
    """
    record = parse(record_text(path, trust=trust), path)
    if is_compiled(path):
        return _open_compiled(path, record, device)
    try:
        with warnings.catch_warnings(), quiet("torch.export", "torch._export"):
            warnings.simplefilter("ignore")
            program = torch.export.load(path)
            given, wanted = len(program.graph_signature.user_outputs), len(record.output_names)
            if given == wanted:
                return Pt2Backend(program, record, record.output_names, device)
    except Exception as error:  # torch raises exceptions of many classes
        raise refused("torch", error, path) from error
    # Outputs have no names in this format.
    what = f"it has {given} outputs; needed are {wanted}: {', '.join(record.output_names)}"
    raise DataError(what, kind="other-outputs", remedy="Export it again with `singleshot export`", file=path)


def is_compiled(path: Path) -> bool:
    """Return whether an archive holds machine code, as `--compile` writes it, in place of a program."""
    with zipfile.ZipFile(path) as archive:
        return any(COMPILED in name for name in archive.namelist())


def _open_compiled(path: Path, record: ExportRecord, device: torch.device | None) -> Pt2Backend:
    """Open a compiled archive, which the caller has decided to trust."""
    if device is not None and device.type != "cpu":
        remedy = "Use --device cpu, or the weights that the file was made from"
        raise UsageError(f"it was compiled for the CPU and does not run on {device}", remedy=remedy, file=path)
    from torch._inductor import aoti_load_package

    try:
        with quiet("torch._inductor"):
            return Pt2Backend(aoti_load_package(str(path)), record, record.output_names)
    except Exception as error:  # torch raises exceptions of many classes
        raise refused("torch", error, path) from error


COMPILED = "/data/aotinductor/"
MOST_BYTES, MOST_TEXT = 8 << 30, 256 << 20
_NAMES = """
    __and__.Tensor __or__.Tensor _assert_scalar.default _assert_tensor_metadata.default abs.default
    adaptive_avg_pool2d.default add.Tensor any.default arange.default argmax.default avg_pool2d.default
    bitwise_and.Scalar bitwise_not.default bmm.default cat.default clamp.default clone.default concatenate.default
    contiguous.default conv2d.default conv_transpose2d.input detach_.default div.Tensor div.Tensor_mode
    dropout.default eq.Scalar eq.Tensor exp.default expand.default flip.default floor.default gather.default ge.Tensor
    gt.Scalar gt.Tensor hardsigmoid_.default hardswish_.default hardtanh_.default index.Tensor index_select.default
    item.default lift_fresh_copy.default logical_not.default lt.Scalar lt.Tensor max.default max_pool2d.default
    maximum.default minimum.default mul.Tensor narrow.default ne.Tensor pad.default permute.default reciprocal.default
    relu.default relu_.default remainder.Scalar repeat.default reshape.default round.default rsub.Scalar
    scalar_tensor.default select.int sigmoid.default slice.Tensor softmax.int sqrt.default square.default stack.default
    sub.Tensor sum.dim_IntList sym_size.int to.device to.dtype topk.default transpose.int unbind.int unsqueeze.default
    upsample_bilinear2d.vec upsample_nearest2d.vec view.dtype where.ScalarOther where.ScalarSelf where.self
    zeros.default
"""
OPERATORS = frozenset(_NAMES.split())
"""The torch operators that our exports consist of."""
ARITHMETIC = frozenset(("add", "sub", "mul", "floordiv", "mod", "neg", "eq", "ne", "lt", "le", "gt", "ge"))
"""Functions of Python's `operator` that may compute sizes. Powers are excluded: they may take for ever."""
EXPRESSION = re.compile(
    r"(Symbol\('\w+'(, (positive|integer|nonnegative)=True)*\)|Integer\(-?\d+\)"
    r"|(Add|Mul|Max|Min|FloorDiv|Mod|CeilDiv|GreaterThan|LessThan)|[-\d, ()]|oo|True|False)*"
)
INERT = re.compile(
    r"(data/(weights|constants)/(weight|tensor)_\d+|data/(weights|constants)/model_(weights|constants)_config\.json"
    r"|models/model\.json|data/sample_inputs/model\.pt|extra/[\w.]+|archive_format|archive_version|\.data/\w+|byteorder"
    r"|version)"
)


def record_text(path: Path, *, trust: bool) -> str | None:
    """Return the text of an archive's record, or None, after checking that the archive cannot run code.

    Raises:
        DataError: not an archive; or one that could run code, without `trust`.
        InputMissingError: there is no such file.
    """
    if not path.is_file():
        raise InputMissingError("no such file", file=path)
    try:
        with zipfile.ZipFile(path) as archive:
            return _checked_record(archive, path, trust)
    except (zipfile.BadZipFile, OSError, ValueError, KeyError, RecursionError, AttributeError, TypeError) as error:
        what = "not a readable .pt2 archive: it may be truncated"
        raise DataError(what, kind="damaged-export", remedy="Export or copy it again", file=path) from error


def _checked_record(archive: zipfile.ZipFile, path: Path, trust: bool) -> str | None:
    entries = archive.infolist()
    if sum(entry.file_size for entry in entries) > MOST_BYTES:
        raise DataError(f"more than {MOST_BYTES >> 30} GiB", kind="absurd-size", file=path)
    danger = next(_dangers(archive), None)
    if danger is not None and not trust:
        what = f"it {danger}, which could run code, and is refused"
        remedy = "If you trust who made it, say so with --trust"
        raise DataError(what, kind="pickle", remedy=remedy, file=path)
    for entry in entries:
        if entry.filename.partition("/")[2] == "extra/singleshot.txt":
            return _text(archive, entry)
    return None


def _dangers(archive: zipfile.ZipFile) -> Iterator[str]:
    """Yield what in the archive could run code, each as the end of a sentence."""
    for entry in archive.infolist():
        name = entry.filename.partition("/")[2]  # the first folder is the archive's own
        if not INERT.fullmatch(name):
            yield f"carries {name or entry.filename}"
        elif name == "data/sample_inputs/model.pt" and entry.file_size:
            yield "carries pickled example inputs"
        elif name.endswith("_config.json"):
            for each in _objects(json.loads(_text(archive, entry))):
                if each.get("use_pickle"):
                    yield f"carries a pickled tensor {each.get('path_name')}"
        elif name == "models/model.json":
            program = json.loads(_text(archive, entry))
            if program.get("guards_code"):
                yield "carries guards in Python"
            for each in _objects(program):
                target, expression = each.get("target"), each.get("expr_str")
                if isinstance(target, str) and "inputs" in each and not _computes(target):
                    yield f"calls {target}"
                if "as_operator" in each:
                    yield "hands a function on"
                if expression is not None and not (isinstance(expression, str) and EXPRESSION.fullmatch(expression)):
                    yield "has sizes that are no arithmetic"


def _computes(target: str) -> bool:
    """Return whether the function that a node calls only computes."""
    for prefix, known in (("torch.ops.aten.", OPERATORS), ("_operator.", ARITHMETIC)):
        if target.startswith(prefix):
            return target.removeprefix(prefix) in known
    return target == "torch.ops.higher_order.while_loop"


def _objects(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield every dictionary within a JSON value."""
    waiting = [tree]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _text(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> str:
    if entry.file_size > MOST_TEXT:
        raise ValueError("too much text")
    return archive.read(entry).decode("utf-8")
