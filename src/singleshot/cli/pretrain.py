"""`singleshot pretrain`: teach a light backbone on a folder of images without labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def pretrain(
    images: Annotated[Path, typer.Option(help="Folder of images, subfolders included. No labels are needed.")],
    out: Annotated[Path, typer.Option(help="Weights file to write, for `train --weights`.")] = Path(
        "backbone.safetensors"
    ),
    teacher: Annotated[
        Literal["lite0", "everyday", "both"],
        typer.Option(help="Network to learn from: EfficientNet-Lite0, the detector in the package, or both."),
    ] = "lite0",
    minutes: Annotated[float | None, typer.Option(help="Time to train (60 if nothing limits it).", min=0.01)] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the images.", min=1)] = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps.", min=1)] = None,
    batch_size: Annotated[int, typer.Option(help="Crops per step.", min=2)] = 16,
    lr: Annotated[float, typer.Option(help="Highest learning rate.", min=1e-7)] = 2e-3,
    mix: Annotated[bool, typer.Option("--mix/--no-mix", help="Mix each crop with another one of its batch.")] = True,
    seed: Annotated[int, typer.Option(help="Seed of weights, order, crops and mixing.", min=0)] = 0,
    precision: Annotated[
        Literal["auto", "fp32", "bf16"],
        typer.Option(help="Number format; auto: bf16 if the hardware has it."),
    ] = "auto",
    workers: Annotated[int, typer.Option(help="Processes that load images.", min=0)] = 1,
    teacher_file: Annotated[
        Path | None, typer.Option(help="EfficientNet-Lite0's published file, if the extra `pretrain` is not installed.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file and its run.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run beside --out, or start one.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the results to this file.")] = None,
) -> None:
    """Pre-train a light backbone on images without labels: it learns a large network's features."""
    from singleshot.cli import outputs, report, terminal
    from singleshot.errors import UsageError
    from singleshot.pretraining import pretrain as pretraining
    from singleshot.pretraining.distillation import PretrainConfig
    from singleshot.reporting.pretraining import write_report

    if resume and overwrite:
        raise UsageError("--resume continues a run, --overwrite replaces it", remedy="Give one of them")
    if teacher == "everyday" and teacher_file is not None:
        raise UsageError("--teacher-file is EfficientNet-Lite0's", remedy="Leave it out, or use --teacher both")
    if out.suffix != ".safetensors":
        raise UsageError(f"--out {out} is not a .safetensors file", remedy="Name it, such as backbone.safetensors")
    outputs.check(
        out,
        json_file=json_file,
        json_keys=("weights", "steps", "probe"),
        inputs=(images, teacher_file),
        overwrite=overwrite or resume,
    )
    config = PretrainConfig(
        batch_size=batch_size, epochs=epochs, steps=steps, minutes=minutes, mix=mix, lr=lr, seed=seed
    )
    with terminal.TrainingBar() as bar:
        result = pretraining.pretrain(
            images,
            out=out,
            teacher=teacher,
            config=config,
            teacher_file=teacher_file,
            precision=precision,
            workers=workers,
            overwrite=overwrite,
            resume=resume,
            observer=bar,
            on_start=terminal.note,
        )
    if result.probe is not None:
        start, end = result.probe
        terminal.show(f"linear probe, R² on images kept from training: {start:.3f} at the start, {end:.3f} at the end")
    terminal.show(f"{result.steps} steps in {result.seconds:.0f} s")
    terminal.show(f"weights: {result.weights}")
    report.write(lambda: write_report(result), requested=False)
    outputs.write_json(
        json_file,
        {
            "weights": str(result.weights),
            "sha256": result.sha256,
            "images": result.images,
            "steps": result.steps,
            "seconds": result.seconds,
            "losses": dict(result.losses),
            "probe": result.probe,
        },
    )
