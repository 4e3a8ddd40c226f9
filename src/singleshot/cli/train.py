"""`singleshot train`: trains a detector or segmenter on a folder of images and annotations."""

from __future__ import annotations

import dataclasses
import json
import pkgutil
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from singleshot.cli.reading import Classes, DataFormat, FollowLinks, MaxPixels, OnBad, Rename, Splits
from singleshot.errors import ConfigError, DataError, UsageError, nearest
from singleshot.storage.files import file_bytes

if TYPE_CHECKING:
    from singleshot.training.recipe import Recipe

MAX_RECIPE_BYTES = 1 << 20
LONGEST_DEFAULT = 60
"""Characters of a default in the list of a recipe's fields."""
RUN_FILES = ("best.safetensors", "last.safetensors", "recipe.json", "split.json", "log.csv", "report.html")


def show_fields(settings: list[str] | None) -> list[str] | None:
    """Print the fields of a recipe with their values and defaults, and end, if `help` is among the settings."""
    if "help" not in (settings or []):
        return settings
    from singleshot.cli import terminal
    from singleshot.config import field_help
    from singleshot.training.recipe import Recipe

    for row in field_help(Recipe, defaults=Recipe()):
        default = json.dumps(row.default)
        shown = default if len(default) <= LONGEST_DEFAULT else f"{default[:LONGEST_DEFAULT]}…"
        terminal.show(f"{row.name}: {row.expected} (default {shown})\n    {row.sentence}")
    raise typer.Exit


def train(
    data: Annotated[Path, typer.Option(help="Data folder, as an annotation tool exports it, or with masks.")],
    recipe: Annotated[str | None, typer.Argument(help="Name of a recipe, such as bccd or ssd300_voc0712.")] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Detectors: lite320-fine2 (the default), vgg300, vgg512, …; segmenters: fcn8s-fine2, fcn8s, …"
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Weights to start from: a file, a known name (everyday, vgg16-hed, …), owner/name on the hub, or none."
        ),
    ] = None,
    freeze: Annotated[int | None, typer.Option(help="Number of backbone blocks to freeze.", min=0)] = None,
    train_split: Annotated[str, typer.Option(help="The split to train on.")] = "train",
    val_split: Annotated[
        str,
        typer.Option(help="The split to evaluate on after each epoch, a share of the images such as 0.15, or none."),
    ] = "val",
    test_split: Annotated[
        float, typer.Option(help="Share of the images to keep for a test, such as 0.15.", min=0, max=0.99)
    ] = 0.0,
    splits: Splits = None,
    data_format: DataFormat = None,
    epochs: Annotated[int | None, typer.Option(help="Number of epochs.", min=1)] = None,
    steps: Annotated[int | None, typer.Option(help="Number of steps (batches), instead of epochs.", min=1)] = None,
    minutes: Annotated[float | None, typer.Option(help="Minutes of training, instead of epochs.", min=0.001)] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images per step.", min=1)] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of initial weights, order and augmentation.", min=0)] = None,
    precision: Annotated[Literal["auto", "fp32", "bf16", "fp16"] | None, typer.Option(help="Number format.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that load images.", min=0)] = None,
    devices: Annotated[int, typer.Option(help="Number of devices that share each batch.", min=1)] = 1,
    input_size: Annotated[
        str | None,
        typer.Option(help="Network input as HxW, such as 300x300, or auto: in the proportions of the images."),
    ] = None,
    fit: Annotated[
        Literal["warp", "letterbox"] | None, typer.Option(help="Stretch images to the input size, or pad them.")
    ] = None,
    anchors: Annotated[
        str | None, typer.Option(help="Anchors fitted by `singleshot data anchors` (a file), or auto: fit them now.")
    ] = None,
    on_bad: OnBad = "fail",
    allow_unlabelled: Annotated[
        bool, typer.Option("--allow-unlabelled", help="Accept images without annotations as background.")
    ] = False,
    fix_boxes: Annotated[bool, typer.Option("--fix-boxes", help="Swap the corners of inverted boxes.")] = False,
    classes: Classes = None,
    rename: Rename = None,
    max_pixels: MaxPixels = None,
    follow_links: FollowLinks = False,
    out: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/train"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing run.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Resume although recipe or data have changed.")] = False,
    log: Annotated[
        str | None, typer.Option(help="Additional logs: tensorboard, wandb, mlflow, or several with commas.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Set any field of the recipe: field=value; repeatable. `--set help` lists the fields.",
            callback=show_fields,
            is_eager=True,  # before --data is missed
        ),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the results to this file.")] = None,
) -> None:
    """Train a detector on images with boxes, or a segmenter (--model fcn8s-lite, …) on images with masks."""
    from singleshot.cli import outputs, reading, report, terminal
    from singleshot.data import class_choice, read
    from singleshot.training import run
    from singleshot.training.ranks import first_process
    from singleshot.training.recipe import NO_WEIGHTS, default_recipe, limited, override
    from singleshot.training.trackers import parse_logs

    logs = parse_logs(log)
    if resume and overwrite:
        raise UsageError("--resume continues a run, --overwrite replaces it", remedy="Give one of them")
    reading.use(max_pixels, follow_links)
    choice = class_choice.parse(classes, rename)
    outputs.check_folder(out)
    outputs.check(
        json_file=json_file,
        json_keys=("weights", "score", "steps"),
        inputs=(data, weights, None if anchors == "auto" else anchors),
        reserved=[
            out / name
            for name in ("best.safetensors", "last.safetensors", "recipe.json", "split.json", "log.csv", "report.html")
        ],
        overwrite=overwrite,
    )
    begun = resume and (out / "recipe.json").is_file()  # the same command starts and continues a run
    if recipe is None and not begun:
        chosen = default_recipe(model)
    else:
        chosen = find_recipe(recipe) if recipe is not None else stored_recipe(out)
    options = {"model": model, "batch_size": batch_size, "seed": seed, "precision": precision, "workers": workers}
    options |= {"fit": fit, "weights": weights, "freeze": freeze}
    changes = {name: value for name, value in options.items() if value is not None}
    if weights == NO_WEIGHTS:
        changes["weights"] = None
    elif weights is not None and not begun:
        from singleshot.prediction.load import find_weights
        from singleshot.training.load_pretrained import model_of

        with terminal.download(f"fetching {weights}") as observer:
            file = find_weights(weights, observer=observer)
        if model is None and recipe is None:
            changes["model"] = model_of(file)
            chosen = default_recipe(changes["model"])
    changes |= limited(chosen, epochs=epochs, steps=steps, minutes=minutes)
    if input_size is not None:
        changes["input_size_hw"] = "auto" if input_size == "auto" else parse_size(input_size)
    chosen = override(dataclasses.replace(chosen, **changes), settings or [])
    if chosen.weights is not None and weights is None and not begun:  # of the recipe: fetched here, so that it is shown
        from singleshot.prediction.load import find_weights

        with terminal.download(f"fetching {chosen.weights}") as observer:
            find_weights(chosen.weights, observer=observer)
    if anchors == "auto":
        chosen = dataclasses.replace(chosen, anchors="auto")
    elif anchors is not None:
        chosen = with_anchors(chosen, Path(anchors))
    with terminal.TrainingBar() as bar:
        result = run.train(
            data,
            chosen,
            out=out,
            train_split=train_split,
            val_split=None if val_split == "none" else share_or_name(val_split),
            test_split=test_split,
            splits=splits,
            data_format=data_format,
            on_bad=on_bad,
            allow_unlabelled=allow_unlabelled,
            fix_boxes=fix_boxes,
            choice=choice or None,
            overwrite=overwrite,
            resume=resume,
            force=force,
            devices=devices,
            observer=bar,
            log=logs,
            on_start=terminal.note,
            on_data=lambda dataset: terminal.note(read.describe(dataset)),
        )
    if not first_process():
        return
    skipped = result.folder / "bad.jsonl"
    if skipped.is_file():
        count = len(skipped.read_text(encoding="utf-8").splitlines())
        terminal.warn(f"{count} faults were left out; they are listed in {skipped}")
    metric = chosen.pixel_metric if chosen.is_segmentation else chosen.metric
    label = metric if chosen.is_segmentation else f"{metric} mAP"
    score = "" if result.score is None else f", best {label} {result.score:.3f}"
    terminal.show(f"{result.steps} steps in {result.seconds:.0f} s{score}")
    terminal.show(f"weights: {result.weights}")
    facts = {
        "weights": str(result.weights),
        "score": result.score,
        "metric": metric,
        "steps": result.steps,
        "seconds": result.seconds,
        "images_per_second": result.images_per_second,
    }
    outputs.write_json(json_file, facts)
    from singleshot.reporting.report import report as report_of_run  # after training: it imports matplotlib

    report.write(lambda: report_of_run(result, overwrite=True), requested=False)


def share_or_name(text: str) -> float | str:
    """Return a split as a share if it is a number between 0 and 1, else as a name.

    >>> share_or_name("0.15"), share_or_name("2012"), share_or_name("val")
    (0.15, '2012', 'val')
    """
    try:
        share = float(text)
    except ValueError:
        return text
    return share if 0 < share < 1 else text


def find_recipe(name: str | None) -> Recipe:
    """Return a recipe of `singleshot.recipes`, or the default for None. Raises UsageError for an unknown name."""
    from singleshot import recipes
    from singleshot.training.recipe import default_recipe

    if name is None:
        return default_recipe()
    known = [module.name for module in pkgutil.iter_modules(recipes.__path__)]
    if name not in known:
        near = nearest(name, known)
        remedy = f"Did you mean {near}?" if near else f"There are {', '.join(known)}"
        raise UsageError(f"no recipe {name!r}", remedy=remedy)
    return import_module(f"singleshot.recipes.{name}").RECIPE


def stored_recipe(folder: Path) -> Recipe:
    """Read the recipe of the run in a folder.

    Raises:
        ConfigError: a newer version wrote it.
        DataError: it is not JSON.
    """
    from singleshot.training.recipe import Recipe

    file = folder / "recipe.json"
    try:
        return Recipe.from_json(file_bytes(file, MAX_RECIPE_BYTES).decode("utf-8"))
    except ValueError as error:
        raise DataError("not JSON", remedy="Name the recipe on the command line", file=file) from error


def with_anchors(recipe: Recipe, path: Path) -> Recipe:
    """Return the recipe with the anchors in a file. Raises ConfigError if they are for another model, size or fit."""
    from singleshot.data import anchor_fit
    from singleshot.detection.ssd import MODELS

    fitted = anchor_fit.read_anchors(path)
    side = MODELS[recipe.model].anchors.side if recipe.model in MODELS else 0
    expected = (recipe.model, recipe.input_size_hw or (side, side), recipe.fit)
    if (fitted.model, fitted.input_size_hw, fitted.fit) != expected:
        height, width = fitted.input_size_hw
        options = f"--model {fitted.model} --input-size {height}x{width} --fit {fitted.fit}"
        message = f"the anchors are for {options}; the recipe has {expected[0]}, {expected[1]}, {expected[2]}"
        raise ConfigError(message, remedy=f"Train with {options}, or fit the anchors again", file=path)
    return dataclasses.replace(recipe, anchors=fitted.feature_maps)


def parse_size(text: str) -> tuple[int, int]:
    """Parse `HxW` into height and width. Raises ConfigError for anything else.

    >>> parse_size("375x1242")
    (375, 1242)
    """
    height, _, width = text.lower().partition("x")
    if not (height.isascii() and height.isdigit() and width.isascii() and width.isdigit()):
        raise ConfigError(f"--input-size {text!r} is not HxW", remedy="Write for example --input-size 300x300")
    return int(height), int(width)
