"""`singleshot.export`: export weights as a whole detector or segmenter for a runtime, and check parity.

The export is written into a hidden folder beside its target, opened as a user would open it, and compared with the
model. Only then does it get its name. A failed check, a full disk or a kill leaves nothing new under that name.
"""

from __future__ import annotations

import functools
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from jaxtyping import UInt8
from numpy import ndarray

from singleshot import weights
from singleshot.data.folders import files_in
from singleshot.data.sample_scenes import sample_scenes
from singleshot.detection.ssd import SSD
from singleshot.errors import CannotCreateError, DataError, InputMissingError, UsageError, os_errors
from singleshot.exporting import browser, calibration, coreml, parity
from singleshot.exporting.calibration import Calibration, Cost
from singleshot.exporting.parity import Parity
from singleshot.exporting.program import (
    DetectorProgram,
    Form,
    LoopSuppression,
    NetworkProgram,
    OperatorSuppression,
    SegmenterProgram,
    Suppression,
)
from singleshot.exporting.sizes import EXPORTS, files_of, size_bytes
from singleshot.images import IMAGE_SUFFIXES, read_image
from singleshot.prediction.backends.backend import Backend, ExportRecord, Precision
from singleshot.prediction.exported import exported_predictor
from singleshot.prediction.frames import check_batch_size
from singleshot.prediction.load import device_of, find_weights
from singleshot.prediction.predictor import Detector, Segmenter, predictor_of
from singleshot.segmentation.fcn import FCN
from singleshot.storage import atomic
from singleshot.storage.download import Observer
from singleshot.structures import evenly_spaced

MOST_COMPARED = 100


@dataclass(frozen=True)
class Settings:
    """What some formats can be asked for besides precision and form.

    Args:
        opset: of `onnx`; None for the usual one.
        fixed_batch: of `onnx`: the only number of images that it takes; None for any.
        compiled: of `pt2`: machine code for this processor.
    """

    opset: int | None = None
    fixed_batch: int | None = None
    compiled: bool = False


@dataclass(frozen=True)
class Exported:
    """The result of an export.

    Args:
        path: the file; of an OpenVINO model the `.xml`, with its `.bin` beside it; see `sizes.files_of`.
        bytes: the size of all its files.
        parity: the result of the parity check; None if it was skipped.
        cost: the score that 8 bits cost on annotated images; None for other precisions or without annotations.
    """

    path: Path
    bytes: int
    parity: Parity | None
    cost: Cost | None


def export(
    weights_file: str | Path,
    *,
    format: str,
    precision: str = "fp32",
    raw: bool = False,
    out: str | Path | None = None,
    calibration_data: str | Path | None = None,
    check: bool = True,
    check_pictures: str | Path | None = None,
    postprocess: Mapping[str, Any] | None = None,
    device: str = "cpu",
    batch_size: int | None = None,
    runtime: str | Path | None = None,
    opset: int | None = None,
    fixed_batch: int | None = None,
    compile: bool = False,
    overwrite: bool = False,
    observer: Observer | None = None,
) -> Exported:
    """Export a model to a file that runs without singleshot, and check that it gives the model's results.

    Args:
        weights_file: a weights file, the name of published weights, or `owner/name` on the hub.
        format: `pt2`, `onnx`, `openvino`, `ncnn`, `litert`, `coreml` or `browser`.
        precision: `fp32`; others as `PRECISIONS` has them.
        raw: the network's two raw outputs only, for users with their own NMS. The formats of `NETWORK_ALONE` have no
            other form.
        out: the target; None for a name beside the weights, or in the working folder for fetched ones (`target_of`).
        calibration_data: for int8: a folder of images, or better a data set, like those that the model will process.
        check: compare it with the model, and keep nothing that is out of bounds (`parity.BOUNDS`).
        check_pictures: a folder of images to compare on; None for those of the calibration, or the sample scenes. If
            almost nothing is detected in them, a file with a lower threshold is compared instead.
        postprocess: fields of `Postprocess` to store in the export in place of those in the weights, such as
            {"nms_iou": 0.6, "max_detections": 100, "class_agnostic_nms": True}.
        device: where the model computes while the export is compared with it; the export itself runs on the CPU.
        batch_size: images that go through together when what int8 costs is measured; None as in `evaluate`.
        runtime: for `browser`: the folder of the unpacked npm package onnxruntime-web.
        opset: for `onnx`: of its operators; None for 18. The file has the lowest IR version that these need.
        fixed_batch: for `onnx`: the only number of images that the model takes at once, for runtimes that want it
            constant; None for any number.
        compile: for `pt2`: compile it for this machine's processor, which takes minutes and a C++ compiler. The file
            holds machine code: it is opened with `trust=True`.
        overwrite: replace an existing file.
        observer: receives the progress of a download.

    Raises:
        UsageError: the format does not have that precision, `out` has another suffix, or int8 without images;
            `browser` without a runtime, or a runtime without it; `check_pictures` without `check`; nothing is detected
            in the images, so that nothing can be compared; NMS settings for a segmenter; no such device; a batch size
            below 1.
        ParityError: its results differ from the model's; nothing is kept.
        CannotCreateError: the file exists already.
        ConfigError: packages of the format's extra are missing.
        InputMissingError, DataError: as `weights.read_any`; or there are no images.
        StorageError, NotPermittedError: it cannot be written.
    """
    chosen, accuracy = check_choice(format, precision)
    if (accuracy == "int8") != (calibration_data is not None):
        raise UsageError("int8 and calibration pictures need each other", remedy="Give --int8 --calibration DIR")
    if check_pictures is not None and not check:
        raise UsageError("pictures to compare on, and no comparison", remedy="Leave one of the two out")
    if opset is not None and chosen != "onnx":
        raise UsageError(f"{chosen} has no opset", remedy="Give --opset with --format onnx")
    if fixed_batch is not None and (chosen != "onnx" or fixed_batch < 1):
        raise UsageError("a fixed batch is a positive number for onnx", remedy="Give --fixed-batch 1 --format onnx")
    if compile and chosen != "pt2":
        raise UsageError(f"{chosen} is not compiled here", remedy="Give --compile with --format pt2")
    where = device_of(device)
    if batch_size is not None:
        check_batch_size(batch_size)
    if (chosen == "browser") != (runtime is not None):
        remedy = "npm pack onnxruntime-web, unpack it, and give --runtime package"
        raise UsageError("browser exports and --runtime need each other", remedy=remedy)
    if runtime is not None:
        browser.runtime_version(Path(runtime))
    source = find_weights(weights_file, observer=observer)
    target = target_of(weights_file, source, chosen, accuracy, raw=raw, compiled=compile, out=out)
    settings = Settings(opset=opset, fixed_batch=fixed_batch, compiled=compile)
    _check_target(target, chosen, overwrite)
    model, sha256 = _model(source, where)
    if postprocess:
        if model.task == "segmentation":
            raise UsageError("a segmenter has no NMS", remedy="Omit its options")
        model = model.with_postprocess(**postprocess)
    measured = None if calibration_data is None else calibration.read(Path(calibration_data), model)
    inputs = [] if measured is None else calibration.inputs_of(measured.files, model.network.config.preprocess)
    images = _images(check_pictures, measured) if check else []
    form = "raw" if raw or chosen in NETWORK_ALONE else "whole"
    record = ExportRecord(model.network.config, form, accuracy, sha256, model.provenance)
    with os_errors(target, "create"):  # a hidden folder on the target's own file system
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent)
    with beside as folder:
        made = Path(folder) / target.name
        built = build(model.network, record, chosen, made, inputs, settings)
        found = parity.compare(model, built.export, built.probe, images, accuracy) if check else None
        scarce = found is not None and found.compared < parity.FEW and not found.failures()
        if scarce and model.task == "detection":
            # The images have few objects of its classes. The same graph with a lower threshold has boxes to compare.
            keen = model.with_postprocess(score_threshold=parity.telling_threshold(model, images))
            stated = replace(record, config=keen.network.config)
            trial = build(keen.network, stated, chosen, Path(folder) / f"trial{SUFFIXES[chosen]}", inputs, settings)
            found = parity.compare(keen, trial.export, trial.probe, images, accuracy)
        if found is not None:
            found.require()
        lost = None
        if measured is not None and measured.dataset is not None:
            lost = calibration.cost(model, exported_predictor(built.export), measured.dataset, batch_size)
        if runtime is not None:
            with os_errors(target, "write"):
                browser.write(made, record, Path(runtime))
        _publish_folder(made, target) if made.is_dir() else _publish(made, target)
    return Exported(target, size_bytes(target), found, lost)


def target_of(
    weights_file: str | Path,
    source: Path,
    file_format: Format,
    precision: Precision,
    *,
    raw: bool = False,
    compiled: bool = False,
    out: str | Path | None = None,
) -> Path:
    """Return the target of an export: `out`, or beside the weights, or in the working folder for fetched weights.

    Args:
        weights_file: the name or path that the user gave.
        source: the file that was found for it.
        file_format: see `default_path`, as for the next two.
        precision: of the export.
        raw: whether it is raw.
        compiled: whether it is compiled.
        out: the path that the user gave, if any.
    """
    if out is not None:
        return Path(out)
    beside = source if Path(weights_file).exists() else Path(f"{Path(weights_file).name}.fetched")
    return default_path(beside, file_format, precision, raw=raw, compiled=compiled)


def default_path(
    weights_file: Path, file_format: Format, precision: Precision, *, raw: bool = False, compiled: bool = False
) -> Path:
    """Return the path of an export beside its weights.

    >>> str(default_path(Path("runs/a/best.safetensors"), "onnx", "int8"))
    'runs/a/best-int8.onnx'
    """
    parts = [weights_file.stem, *([precision] if precision != "fp32" else []), *(["raw"] if raw else [])]
    parts += ["compiled"] if compiled else []
    return weights_file.with_name("-".join(parts) + SUFFIXES[file_format])


def _check_target(target: Path, file_format: Format, overwrite: bool) -> None:
    if file_format in FOLDERS and target.exists():
        inside = {each.name for each in target.iterdir()} if target.is_dir() else None
        ours = inside is not None and FOLDERS[file_format] in inside
        if inside is None or (not (overwrite and ours) and inside):
            remedy = "Choose another name" + (" or pass --overwrite" if ours else "")
            raise CannotCreateError("already exists", remedy=remedy, file=target)
    if file_format == "browser":
        return
    if not target.name.lower().endswith(SUFFIXES[file_format]):
        raise UsageError(f"{file_format} files end in {SUFFIXES[file_format]}", remedy="Rename --out", file=target)
    for part in files_of(target):
        if part.is_dir() and file_format not in FOLDERS:
            raise CannotCreateError("is a folder", remedy="Name a file", file=part)
        if part.exists() and not overwrite and file_format not in FOLDERS:
            raise CannotCreateError("already exists", remedy="Choose another name or pass --overwrite", file=part)


def _model(path: Path, device: torch.device) -> tuple[Detector | Segmenter, str]:
    """Load the model in float32, and its hash. An export cannot be exported again."""
    if path.suffix.lower() in EXPORTS:
        remedy = "Name the weights file that it was made from"
        raise UsageError("an export cannot be exported again", remedy=remedy, file=path)
    file = weights.read_any(path)
    if isinstance(file, weights.BackboneFile):
        what = f"a {file.config.trunk} backbone, not a detector or segmenter"
        raise DataError(what, kind="trunk-weights", remedy="Train one from it: singleshot train --weights", file=path)
    network = file.network.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return predictor_of(network, file.provenance, device), file.sha256


def _images(folder: str | Path | None, measured: Calibration | None) -> Sequence[UInt8[ndarray, "_ _ 3"]]:
    """Return the images of the parity check: those named, some of the calibration's, or the sample scenes."""
    if folder is not None:
        root = Path(folder)
        files = [each for each in files_in(root) if each.suffix.lower() in IMAGE_SUFFIXES]
        if not files:
            raise InputMissingError("no pictures to compare on", remedy="Name a folder of pictures", file=root)
        return [read_image(files[place]) for place in evenly_spaced(len(files), MOST_COMPARED)]
    if measured is not None:
        return [read_image(measured.files[place]) for place in evenly_spaced(len(measured.files), 16)]
    return [scene.image for scene in sample_scenes()]


def _publish(made: Path, target: Path) -> None:
    """Move all files of an export to their targets.

    Several files cannot be replaced at once: after a kill in between, the old model still exists as
    `<stem>.before.xml`.
    """
    pairs = [(part, target.with_name(part.name)) for part in reversed(files_of(made))]  # an .xml has what it needs
    kept: dict[Path, Path] = {}
    if len(pairs) > 1 and all(place.is_file() for _, place in pairs):
        kept = {place: place.with_name(f"{place.stem}.before{place.suffix}") for _, place in pairs}
    try:
        for place, before in kept.items():
            if not before.exists():  # the one of a run that was killed is complete, and the current files may not be
                atomic.write(before, functools.partial(_copy, place))
        for part, place in pairs:
            atomic.write(place, functools.partial(_move, part))
    except BaseException:
        for place, before in kept.items():
            if before.exists():
                before.replace(place)
        raise
    for before in kept.values():
        before.unlink()


def _publish_folder(made: Path, target: Path) -> None:
    """Move a folder to its target. A folder that it replaces stays beside it, as `<name>.before`, until then."""
    before = target.with_name(f"{target.name}.before")
    with os_errors(target, "write"):
        if target.is_dir() and any(target.iterdir()):
            shutil.rmtree(before, ignore_errors=True)
            target.rename(before)
        try:
            atomic.write(target, functools.partial(_move, made))
        except BaseException:
            if before.is_dir():
                before.rename(target)
            raise
        shutil.rmtree(before, ignore_errors=True)


def _copy(there: Path, temporary: Path) -> None:
    shutil.copyfile(there, temporary)


def _move(made: Path, temporary: Path) -> None:
    shutil.move(made, temporary)


Format = Literal["pt2", "onnx", "openvino", "ncnn", "litert", "coreml", "browser"]
SUFFIXES: dict[Format, str] = {
    "pt2": ".pt2",
    "onnx": ".onnx",
    "openvino": ".xml",
    "ncnn": ".ncnn.param",
    "litert": ".tflite",
    "coreml": ".mlpackage",
    "browser": "-browser",
}
FOLDERS: dict[Format, str] = {"browser": browser.MODEL, "coreml": coreml.MANIFEST}
"""Formats that are folders, and a file by which a folder is recognised as an export, which may be replaced."""
NETWORK_ALONE: tuple[Format, ...] = ("ncnn", "litert", "coreml")
"""Formats with the network's raw outputs only; a JSON file beside them describes the rest."""
PRECISIONS: dict[Format, tuple[Precision, ...]] = {
    "pt2": ("fp32", "bf16"),
    "onnx": ("fp32", "fp16", "int8"),
    "openvino": ("fp32", "fp16", "int8"),
    "ncnn": ("fp32", "fp16", "int8"),
    "litert": ("fp32", "int8"),
    "coreml": ("fp32", "fp16"),
    "browser": ("fp32", "fp16", "int8"),
}
DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Built:
    """An exported file.

    Args:
        export: the file, opened as by a user.
        probe: the same graph with the network's raw outputs too.
    """

    export: Backend
    probe: Backend


def check_choice(file_format: str, precision: str) -> tuple[Format, Precision]:
    """Return format and precision. Raises UsageError for an unknown format or a precision that it does not have."""
    for known in get_args(Format):
        if known == file_format:
            for each in PRECISIONS[known]:
                if each == precision:
                    return known, each
            remedy = f"Use {', '.join(PRECISIONS[known])}"
            if (known, precision) == ("openvino", "bf16"):
                remedy = "Export fp32 and run it with bf16=True: OpenVINO chooses bfloat16 when it runs"
            raise UsageError(f"{known} has no precision {precision!r}", remedy=remedy)
    raise UsageError(f"no format is called {file_format!r}", remedy=f"Use {', '.join(get_args(Format))}")


def build(
    network: SSD | FCN,
    record: ExportRecord,
    file_format: Format,
    path: Path,
    inputs: Sequence[Any],
    settings: Settings = Settings(),
) -> Built:
    """Write `path`, and open it.

    Args:
        network: the original network, on the CPU.
        record: the record to store; decides form and precision.
        file_format: the format.
        path: the target; an `.xml` gets its `.bin` beside it.
        inputs: images of the input size for calibration; only for int8.
        settings: of `onnx` and `pt2`.

    Raises:
        UsageError: the model cannot be written with that opset.
        ConfigError: the format's packages are missing.
        StorageError: the disk is full or failing.
    """
    makers = {
        "pt2": functools.partial(_pt2, settings=settings),
        "onnx": functools.partial(_onnx, settings=settings),
        "openvino": _openvino,
        "ncnn": _ncnn,
        "litert": _litert,
        "coreml": _coreml,
        "browser": _browser,
    }
    with os_errors(path, "write"):
        return makers[file_format](network, record, path, inputs)


def _pt2(network: SSD | FCN, record: ExportRecord, path: Path, _inputs: Sequence[Any], *, settings: Settings) -> Built:
    from singleshot.exporting.pt2 import to_pt2, write, write_compiled
    from singleshot.prediction.backends.pt2 import Pt2Backend, open_pt2

    program = to_pt2(_program(network, LoopSuppression(), record.form, record.precision))
    (write_compiled if settings.compiled else write)(program, path, record.texts())
    export = open_pt2(path, trust=settings.compiled)
    if record.form == "raw" or record.task == "segmentation":
        return Built(export, export)
    # Not compiled: a second compilation would only show again what the compiled boxes and scores show.
    both = _program(network, LoopSuppression(), "both", record.precision)
    return Built(export, Pt2Backend(to_pt2(both), record, both.output_names))


def _onnx(network: SSD | FCN, record: ExportRecord, path: Path, inputs: Sequence[Any], *, settings: Settings) -> Built:
    from singleshot.exporting import onnx
    from singleshot.prediction.backends.onnx import OnnxBackend, open_onnx

    program = _program(network, OperatorSuppression(), _probed(record.form), record.precision)
    model = onnx.to_onnx(program, settings.fixed_batch)
    model = onnx.at_opset(model, onnx.OPSET if settings.opset is None else settings.opset)
    if record.precision == "int8":
        model = onnx.quantised(model, inputs)
    path.write_bytes(onnx.with_texts(onnx.with_outputs(model, record.output_names), record.texts()).SerializeToString())
    return Built(open_onnx(path), OnnxBackend(model.SerializeToString(), record))


def _openvino(network: SSD | FCN, record: ExportRecord, path: Path, inputs: Sequence[Any]) -> Built:
    from singleshot.exporting import onnx, openvino
    from singleshot.prediction.backends.openvino import OpenvinoBackend, open_openvino

    program = _program(network, OperatorSuppression(), _probed(record.form), "fp32")
    model = openvino.to_openvino(onnx.to_onnx(program))
    if record.precision == "int8":
        model = openvino.quantised(model, inputs)
    fp16 = record.precision == "fp16"
    openvino.write(openvino.with_outputs(model, record.output_names), path, record.texts(), fp16=fp16)
    # Writing rounds the weights to float16: the probe is written too, into a temporary folder.
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        probed = Path(folder) / path.name
        openvino.write(openvino.with_outputs(model, program.output_names), probed, {}, fp16=fp16)
        probe = OpenvinoBackend(openvino.read(probed), record, program.output_names)
    return Built(open_openvino(path), probe)


def _ncnn(network: SSD | FCN, record: ExportRecord, path: Path, inputs: Sequence[Any]) -> Built:
    from singleshot.exporting import ncnn
    from singleshot.prediction.backends.ncnn import open_ncnn

    ncnn.write(NetworkProgram(network), path, record, inputs)
    export = open_ncnn(path)
    return Built(export, export)


def _litert(network: SSD | FCN, record: ExportRecord, path: Path, inputs: Sequence[Any]) -> Built:
    from singleshot.exporting import litert
    from singleshot.prediction.backends.litert import open_litert

    litert.write(NetworkProgram(network), path, record, inputs)
    export = open_litert(path)
    return Built(export, export)


def _coreml(network: SSD | FCN, record: ExportRecord, path: Path, _inputs: Sequence[Any]) -> Built:
    from singleshot.exporting.coreml_graph import CoremlGraph

    coreml.write(NetworkProgram(network), path, record)
    export = CoremlGraph(path, record)  # Core ML itself runs on Apple's systems alone
    return Built(export, export)


def _browser(network: SSD | FCN, record: ExportRecord, path: Path, inputs: Sequence[Any]) -> Built:
    path.mkdir()  # the page is added when parity is proven
    return _onnx(network, record, path / browser.MODEL, inputs, settings=Settings())


def _probed(form: Literal["whole", "raw"]) -> Form:
    return "both" if form == "whole" else "raw"


def _program(
    network: SSD | FCN, suppression: Suppression, form: Form, precision: Precision
) -> DetectorProgram | SegmenterProgram:
    dtype = DTYPES.get(precision, torch.float32)  # int8 networks are quantised from float32
    if network.task == "segmentation":
        return SegmenterProgram(network, form, dtype)
    return DetectorProgram(network, suppression, form, dtype)
