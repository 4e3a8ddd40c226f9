"""`singleshot export`: a weights file as a whole detector for torch, ONNX or OpenVINO, and the proof of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from singleshot.errors import UsageError
from singleshot.storage import atomic

JSON_KEYS = ("path", "parity", "bytes")


def export(
    weights: Annotated[str, typer.Argument(help="A weights file, a known name, or owner/name on the hub.")],
    file_format: Annotated[str, typer.Option("--format", help="pt2, onnx or openvino.")],
    precision: Annotated[
        str | None, typer.Option(help="fp32; pt2 has bf16 too, onnx and openvino have fp16 and int8.")
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="The same as --precision int8.")] = False,
    calibration: Annotated[
        Path | None, typer.Option(help="For int8: a folder of pictures, or a data set to see the loss on.")
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="The network's own two outputs, without suppression.")] = False,
    out: Annotated[Path | None, typer.Option(help="Where to write; a name beside the weights if left out.")] = None,
    check: Annotated[bool, typer.Option("--check/--no-check", help="Compare it with the model.")] = True,
    check_pictures: Annotated[Path | None, typer.Option(help="A folder of pictures to compare on.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
) -> None:
    """Make a file that runs without singleshot: pictures in, boxes, scores and classes out.

    It is compared with the model on real pictures, and a file that answers otherwise is not kept (exit code 70).
    """
    from singleshot.cli import outputs, progress
    from singleshot.exporting.building import check_choice
    from singleshot.exporting.export import export as run
    from singleshot.exporting.export import target_of
    from singleshot.exporting.sizes import files_of, size_table
    from singleshot.prediction.locate import find_weights

    if int8 and precision not in (None, "int8"):
        raise UsageError(f"--int8 and --precision {precision} contradict each other", remedy="Give one of them")
    chosen = "int8" if int8 else precision or "fp32"
    if check_pictures is not None and not check:
        raise UsageError("--check-pictures and --no-check contradict each other", remedy="Give one of them")
    made_as = check_choice(file_format, chosen)
    with progress.transfer(f"fetching {weights}") as observer:
        source = find_weights(weights, observer=observer)
    target = target_of(weights, source, *made_as, raw=raw, out=out)
    inputs = [source, calibration, check_pictures]
    outputs.check(*files_of(target), json_file=json_file, json_keys=JSON_KEYS, inputs=inputs, overwrite=overwrite)
    made = run(
        source,
        format=file_format,
        precision=chosen,
        raw=raw,
        out=target,
        calibration_data=calibration,
        check=check,
        check_pictures=check_pictures,
        overwrite=overwrite,
    )
    if made.parity is not None:
        progress.out.print(str(made.parity), markup=False, highlight=False, soft_wrap=True)
    else:
        progress.warn("not compared with the model (--no-check)")
    if made.cost is not None:
        progress.out.print(str(made.cost), markup=False, highlight=False, soft_wrap=True)
    elif chosen == "int8":
        progress.warn("no annotations beside the calibration pictures, so what int8 costs is not known")
    progress.out.print(size_table(source, [made.path]), markup=False, highlight=False, soft_wrap=True)
    progress.out.print(f"export: {made.path}", soft_wrap=True, markup=False)
    if json_file is not None:
        facts = {
            "path": str(made.path),
            "bytes": made.bytes,
            "format": file_format,
            "precision": chosen,
            "parity": None if made.parity is None else made.parity.as_json(),
            "cost": None if made.cost is None else made.cost.as_json(),
        }
        atomic.write_text(json_file, json.dumps(facts, indent=2) + "\n")
