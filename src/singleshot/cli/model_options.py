"""The options of all commands that run a model: its runtime and device, and NMS settings other than the stored ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from singleshot.errors import UsageError

if TYPE_CHECKING:
    from singleshot.prediction.predictor import Detector, Segmenter

Backend = Annotated[
    str | None,
    typer.Option("--backend", help="Runtime for the file: torch, pt2, onnx, openvino, ncnn or litert."),
]
Trust = Annotated[bool, typer.Option("--trust", help="Open a .pt2 even if it could run code.")]
Device = Annotated[
    str,
    typer.Option("--device", help="Where the network runs: cpu, cuda, cuda:1, mps; auto: CUDA if there is one."),
]
BatchSize = Annotated[
    int | None, typer.Option("--batch-size", help="Images per batch of the network.", min=1, max=4096)
]
MaxDetections = Annotated[
    int | None,
    typer.Option("--max-detections", help="Maximum detections per image; as stored if not given.", min=1, max=10**6),
]
NmsIou = Annotated[
    float | None,
    typer.Option("--nms-iou", help="IoU above which NMS drops a box; as stored if not given.", min=0, max=1),
]
ClassAgnosticNms = Annotated[
    bool | None,
    typer.Option(
        "--class-agnostic-nms/--per-class-nms", help="Run NMS across classes, or within each; as stored if not given."
    ),
]


def nms_changes(max_detections: int | None, nms_iou: float | None, class_agnostic_nms: bool | None) -> dict[str, Any]:
    """Return the fields of `Postprocess` that the options change; none where no option was given."""
    given = {"max_detections": max_detections, "nms_iou": nms_iou, "class_agnostic_nms": class_agnostic_nms}
    return {name: value for name, value in given.items() if value is not None}


def with_nms(model: Any, changes: dict[str, Any]) -> Detector | Segmenter:
    """Return the model with these fields of `Postprocess` changed.

    Raises:
        UsageError: the model is a segmenter, or an export with NMS built in.
    """
    if not changes:
        return model
    if model.task == "segmentation":
        name, value = next(iter(changes.items()))
        option = "per-class-nms" if value is False else name.replace("_", "-")
        raise UsageError(f"a segmenter has no --{option}", remedy="Omit it, or give a detector's weights")
    return model.with_postprocess(**changes)
