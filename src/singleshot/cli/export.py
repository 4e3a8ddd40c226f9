"""`singleshot export`: converts weights to a model for another runtime, and checks it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from singleshot.cli.model_options import ClassAgnosticNms, MaxDetections, NmsIou, nms_changes
from singleshot.errors import UsageError

JSON_KEYS = ("path", "parity", "bytes")

OPENVINO_SETTING = (
    'in your program: compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}). The comparison holds for that; '
    "without it OpenVINO computes in bfloat16 where the CPU can, and scores differ by up to 0.1"
)
"""What plain OpenVINO needs to be told; `singleshot predict` says it itself."""


def export(
    weights: Annotated[str, typer.Argument(help="A weights file, a known name, or owner/name on the hub.")],
    file_format: Annotated[str, typer.Option("--format", help="pt2, onnx, openvino, ncnn, litert, coreml or browser.")],
    precision: Annotated[
        str | None,
        typer.Option(
            help="fp32; bf16: pt2; fp16: all but pt2 and litert; int8: onnx, openvino, ncnn, litert, browser."
        ),
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Same as --precision int8.")] = False,
    calibration: Annotated[
        Path | None,
        typer.Option(help="For int8: a folder of images, or a data set to measure the loss of accuracy on."),
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Export the two outputs of the network, without decoding and NMS.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="File to write; next to the weights if not given.")] = None,
    check: Annotated[bool, typer.Option("--check/--no-check", help="Compare the export with the model.")] = True,
    check_pictures: Annotated[Path | None, typer.Option(help="Images for the comparison.")] = None,
    max_detections: MaxDetections = None,
    nms_iou: NmsIou = None,
    class_agnostic_nms: ClassAgnosticNms = None,
    device: Annotated[
        str,
        typer.Option("--device", help="Where the model is compared: cpu, cuda, cuda:1, mps, auto."),
    ] = "cpu",
    batch_size: Annotated[
        int | None,
        typer.Option(help="Images per batch in the evaluation of int8.", min=1, max=4096),
    ] = None,
    runtime: Annotated[
        Path | None, typer.Option(help="For browser: the folder of the unpacked npm package onnxruntime-web.")
    ] = None,
    opset: Annotated[
        int | None, typer.Option("--opset", help="For onnx: an opset below 18, for older runtimes.", min=1)
    ] = None,
    fixed_batch: Annotated[
        int | None,
        typer.Option("--fixed-batch", help="For onnx: take exactly so many images at once, not any number.", min=1),
    ] = None,
    compile: Annotated[
        bool,
        typer.Option(
            "--compile", help="For pt2: compile for this CPU, in minutes, by the C++ compiler. Open it with --trust."
        ),
    ] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the results to this file.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")] = False,
) -> None:
    """Write a file that runs without singleshot: images in; boxes, scores and classes out.

    The export is compared with the model on real images; one that differs is deleted (exit code 70).
    """
    from singleshot.cli import outputs, terminal
    from singleshot.exporting.export import FOLDERS, check_choice, target_of
    from singleshot.exporting.export import export as run
    from singleshot.exporting.sizes import files_of, size_table
    from singleshot.prediction.load import find_weights

    if int8 and precision not in (None, "int8"):
        raise UsageError(f"--int8 and --precision {precision} contradict each other", remedy="Give one of them")
    chosen = "int8" if int8 else precision or "fp32"
    if check_pictures is not None and not check:
        raise UsageError("--check-pictures and --no-check contradict each other", remedy="Give one of them")
    built = check_choice(file_format, chosen)
    with terminal.download(f"fetching {weights}") as observer:
        source = find_weights(weights, observer=observer)
    target = target_of(weights, source, *built, raw=raw, compiled=compile, out=out)
    inputs = [source, calibration, check_pictures, runtime]
    written = () if built[0] in FOLDERS else files_of(target)  # `run` looks at folders itself
    outputs.check(*written, json_file=json_file, json_keys=JSON_KEYS, inputs=inputs, overwrite=overwrite)
    made = run(
        source,
        format=file_format,
        precision=chosen,
        raw=raw,
        out=target,
        calibration_data=calibration,
        check=check,
        check_pictures=check_pictures,
        postprocess=nms_changes(max_detections, nms_iou, class_agnostic_nms),
        device=device,
        batch_size=batch_size,
        runtime=runtime,
        opset=opset,
        fixed_batch=fixed_batch,
        compile=compile,
        overwrite=overwrite,
    )
    if made.parity is not None:
        terminal.show(str(made.parity))
    else:
        terminal.warn("not compared with the model (--no-check)")
    if made.cost is not None:
        terminal.show(str(made.cost))
    elif chosen == "int8":
        terminal.warn("the calibration images have no annotations, so the loss of accuracy by int8 was not measured")
    terminal.show(size_table(source, [made.path]))
    terminal.show(f"export: {made.path}")
    if file_format == "coreml" and made.parity is not None:
        terminal.warn("compared was the saved graph with its weights, computed here by torch: Core ML needs macOS")
    if compile:
        terminal.show("it holds machine code for this CPU and torch: open it with --trust (trust=True in Python)")
    if built[0] == "openvino":
        terminal.show(OPENVINO_SETTING)
    if file_format == "browser":
        terminal.show(f"serve it: python -m http.server --bind 127.0.0.1 --directory {made.path}")
    facts = {
        "path": str(made.path),
        "bytes": made.bytes,
        "format": file_format,
        "precision": chosen,
        "parity": None if made.parity is None else made.parity.as_json(),
        "cost": None if made.cost is None else made.cost.as_json(),
    }
    outputs.write_json(json_file, facts)
