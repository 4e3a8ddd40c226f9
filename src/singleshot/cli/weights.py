"""`singleshot weights`: import published weights, inspect or change a weights file, push one to the hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from singleshot.cli.model_options import ClassAgnosticNms, MaxDetections, NmsIou, nms_changes
from singleshot.errors import UsageError, visible

app = typer.Typer(
    help="Import published weights, inspect or change a weights file, push one to the Hugging Face hub.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

IMPORT_HELP = """Convert published weights to a weights file.

NAME is one of vgg16-imagenet, vgg16-features, vgg16-reducedfc, vgg16-hed (backbones to start from), ssd300-coco,
lite320-coco, ssd300-voc, ssd300-voc-lufficc, ssd512-voc-lufficc (complete detectors)."""


@app.command("import", help=IMPORT_HELP)
def import_(
    name: Annotated[str, typer.Argument(help="The published weights; see above.")],
    out: Annotated[Path, typer.Option(help="File to write.")],
    file: Annotated[Path | None, typer.Option("--from", help="The published file, if already downloaded.")] = None,
    class_names: Annotated[
        Path | None,
        typer.Option(help="A text file with the names of all classes, one per line, without the background."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
) -> None:
    """Convert published weights to a weights file."""
    from singleshot.cli import outputs, terminal
    from singleshot.foreign.importing import import_weights, read_class_names

    outputs.check(out, inputs=[file, class_names], overwrite=overwrite)
    names = None if class_names is None else read_class_names(class_names)
    with terminal.download(f"fetching {name}") as observer:
        imported = import_weights(name, out=out, file=file, class_names=names, observer=observer)
    for note in imported.notes:
        terminal.note(f"note: {note}")
    terminal.show(f"weights: {imported.path}")


@app.command("info")
def info(
    weights: Annotated[str, typer.Argument(help="A weights file, a known name, or owner/name on the hub.")],
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the facts to this file.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
) -> None:
    """Show the contents of a weights file: network, classes, preprocessing, thresholds, provenance."""
    from singleshot.cli import outputs, terminal
    from singleshot.prediction.load import find_weights
    from singleshot.provenance import origin_rows

    checked = {"json_file": json_file, "json_keys": ("file", "sha256", "kind"), "overwrite": overwrite}
    outputs.check(**checked, inputs=[weights])
    with terminal.download(f"fetching {weights}") as observer:
        path = find_weights(weights, observer=observer)
    outputs.check(**checked, inputs=[path])
    facts = facts_of(path)
    origins = origin_rows(facts)
    rows = [(name, value) for name, value in facts.items() if not (origins and name in ("started_from", "teachers"))]
    for name, value in [*rows, *origins]:
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        terminal.show(visible(f"{name + ':':17} {shown}"))
    outputs.write_json(json_file, facts)


@app.command("set")
def set_(
    weights: Annotated[str, typer.Argument(help="A detector's weights file, a known name, or owner/name on the hub.")],
    out: Annotated[Path, typer.Option(help="File to write.")],
    max_detections: MaxDetections = None,
    nms_iou: NmsIou = None,
    class_agnostic_nms: ClassAgnosticNms = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
) -> None:
    """Write a copy of a detector with other NMS settings, which every command and export then uses."""
    from singleshot import weights as files
    from singleshot.cli import outputs, terminal
    from singleshot.prediction.load import find_weights, load_detector

    changes = nms_changes(max_detections, nms_iou, class_agnostic_nms)
    if not changes:
        raise UsageError("nothing to set", remedy="Give --max-detections, --nms-iou or --class-agnostic-nms")
    outputs.check(out, inputs=[weights], overwrite=overwrite)
    with terminal.download(f"fetching {weights}") as observer:
        path = find_weights(weights, observer=observer)
    outputs.check(out, inputs=[path], overwrite=overwrite)
    model = load_detector(path, device="cpu", backend="torch")
    files.save(out, model.with_postprocess(**changes).network, model.provenance)
    terminal.show(f"weights: {out}")


@app.command("push")
def push(
    weights: Annotated[Path, typer.Argument(help="A weights file.")],
    repository: Annotated[
        str, typer.Argument(help="owner/name on the Hugging Face hub; created if it does not exist.")
    ],
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
) -> None:
    """Push a weights file to the hub, from which `singleshot.load("owner/name")` loads it."""
    from singleshot import hub
    from singleshot.cli import terminal

    address = hub.push(weights, repository, private=private)
    terminal.show(f"pushed: {address}")


def facts_of(path: Path) -> dict[str, Any]:
    """Return what `weights info` shows, in order; the stored record is flattened by one level."""
    from singleshot import weights
    from singleshot.config import to_json_dict

    file = weights.read_any(path)
    facts: dict[str, Any] = {"file": str(path), "sha256": file.sha256}
    if isinstance(file, weights.BackboneFile):
        layers = sorted({name.rpartition(".")[0].removeprefix("trunk.") for name in file.tensors})
        facts |= {"kind": "trunk", "trunk": file.config.trunk, "layers": layers}
        facts |= {"parameters": sum(tensor.numel() for tensor in file.tensors.values())}
        preprocess = file.config.preprocess
    elif file.task == "segmentation":
        facts |= {"kind": "segmenter"} | to_json_dict(file.network.config)
        return facts | {name: value for name, value in file.provenance.items() if name not in facts}
    else:
        config = file.network.config
        height, width = config.input_size_hw
        facts |= {"kind": "detector", "flavour": config.flavour, "trunk": config.trunk, "input": f"{height}x{width}"}
        facts |= {"classes": list(config.class_names), "default boxes": len(file.network.anchors_cxcywh)}
        facts |= {"parameters": sum(parameter.numel() for parameter in file.network.parameters())}
        facts |= {"postprocess": to_json_dict(config.postprocess)}
        facts |= {"scores": config.scores, "display threshold": config.display_threshold}
        preprocess = config.preprocess
    facts |= {"channel order": preprocess.channel_order, "mean rgb": list(preprocess.mean_rgb)}
    facts |= {"std rgb": list(preprocess.std_rgb)}
    return facts | {name: value for name, value in file.provenance.items() if name not in facts}
