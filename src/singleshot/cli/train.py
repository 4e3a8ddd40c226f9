"""`singleshot train`: from a folder of pictures and annotations to a weights file."""

from __future__ import annotations

import dataclasses
import json
import pkgutil
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from singleshot.errors import ConfigError, DataError, UsageError, nearest
from singleshot.storage import atomic
from singleshot.storage.files import file_bytes

if TYPE_CHECKING:
    from singleshot.training.recipe import Recipe


def train(
    data: Annotated[Path, typer.Option(help="Folder in VOC, COCO or YOLO layout.")],
    recipe: Annotated[str | None, typer.Argument(help="A recipe's name, such as bccd or ssd300_voc0712.")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Flavour: vgg300, vgg512, lite320, lite320-fine, …; of pixels fcn8s, fcn8s-lite, …"),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Start from these: a file, a name of `weights import`, owner/name on the hub.")
    ] = None,
    freeze: Annotated[int | None, typer.Option(help="Blocks of the trunk that stay what they are.", min=0)] = None,
    train_split: Annotated[str, typer.Option(help="The list to learn from.")] = "train",
    val_split: Annotated[str, typer.Option(help="The list to judge by after each epoch, or none.")] = "val",
    data_format: Annotated[
        str | None, typer.Option(help="The layout, if it is not recognised: voc, coco, yolo.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Stop after so many passes over the data.", min=1)] = None,
    steps: Annotated[int | None, typer.Option(help="Stop after so many batches.", min=1)] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after so many minutes.", min=0.001)] = None,
    batch_size: Annotated[int | None, typer.Option(help="Pictures a step.", min=1)] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, order and augmentation.", min=0)] = None,
    precision: Annotated[Literal["auto", "fp32", "bf16", "fp16"] | None, typer.Option(help="Arithmetic.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that load pictures.", min=0)] = None,
    devices: Annotated[int, typer.Option(help="Processes that share each batch, one a device.", min=1)] = 1,
    input_size: Annotated[str | None, typer.Option(help="Network input as HxW, such as 300x300.")] = None,
    fit: Annotated[Literal["warp", "letterbox"] | None, typer.Option(help="Stretch pictures to it, or pad.")] = None,
    anchors: Annotated[Path | None, typer.Option(help="Default boxes, from `singleshot data anchors`.")] = None,
    on_bad: Annotated[Literal["fail", "skip"], typer.Option(help="At faulty data: refuse, or go on without.")] = "fail",
    allow_unlabelled: Annotated[
        bool, typer.Option("--allow-unlabelled", help="Pictures without annotation are background.")
    ] = False,
    fix_boxes: Annotated[bool, typer.Option("--fix-boxes", help="Swap the corners of inverted boxes.")] = False,
    out: Annotated[Path, typer.Option(help="The run's folder.")] = Path("runs/train"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run that is there.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out, where it stopped.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Resume though recipe or data have changed.")] = False,
    log: Annotated[Literal["tensorboard"] | None, typer.Option(help="Write this log too.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Any recipe field: field=value.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write what came out to this file.")] = None,
) -> None:
    """Train a detector on pictures with boxes, or a segmenter (--model fcn8s-lite, …) on pictures with masks."""
    from singleshot.cli import outputs, progress, reports
    from singleshot.data import read
    from singleshot.prediction.segmenter import Segmenter
    from singleshot.training import run
    from singleshot.training.defaults import default_recipe
    from singleshot.training.ranks import first_process
    from singleshot.training.recipe import limited, override

    if resume and overwrite:
        raise UsageError("--resume goes on with a run, --overwrite replaces it", remedy="Give one of them")
    outputs.check_folder(out)
    outputs.check(
        json_file=json_file,
        json_keys=("weights", "score", "steps"),
        inputs=(data, weights, anchors),
        reserved=[
            out / name for name in ("best.safetensors", "last.safetensors", "recipe.json", "log.csv", "report.html")
        ],
        overwrite=overwrite,
    )
    begun = resume and (out / "recipe.json").is_file()  # the same command starts the run and goes on with it
    if recipe is None and not begun:
        chosen = default_recipe(model)
    else:
        chosen = find_recipe(recipe) if recipe is not None else stored_recipe(out)
    given = {"model": model, "batch_size": batch_size, "seed": seed, "precision": precision, "workers": workers}
    given["fit"] = fit
    given |= {"weights": weights, "freeze": freeze}
    changes = {name: value for name, value in given.items() if value is not None}
    if weights is not None and not begun:
        from singleshot.prediction.locate import find_weights
        from singleshot.training.starting import flavour_of

        with progress.transfer(f"fetching {weights}") as observer:
            file = find_weights(weights, observer=observer)
        if model is None and recipe is None:
            changes["model"] = flavour_of(file)
    changes |= limited(chosen, epochs=epochs, steps=steps, minutes=minutes)
    if input_size is not None:
        changes["input_size_hw"] = parse_size(input_size)
    chosen = override(dataclasses.replace(chosen, **changes), settings or [])
    if anchors is not None:
        chosen = with_anchors(chosen, anchors)
    with progress.TrainingBar() as bar:
        result = run.train(
            data,
            chosen,
            out=out,
            train_split=train_split,
            val_split=None if val_split == "none" else val_split,
            data_format=data_format,
            on_bad=on_bad,
            allow_unlabelled=allow_unlabelled,
            fix_boxes=fix_boxes,
            overwrite=overwrite,
            resume=resume,
            force=force,
            devices=devices,
            observer=bar,
            log=log,
            on_start=lambda table: progress.err.print(table, markup=False, soft_wrap=True),
            on_data=lambda dataset: progress.err.print(read.describe(dataset), markup=False, soft_wrap=True),
        )
    if not first_process():
        return
    skipped = result.folder / "bad.jsonl"
    if skipped.is_file():
        count = len(skipped.read_text(encoding="utf-8").splitlines())
        progress.warn(f"{count} faults were left out, listed in {skipped}")
    of_pixels = isinstance(result.model, Segmenter)
    metric = chosen.pixel_metric if of_pixels else chosen.metric
    score = "" if result.score is None else f", best {metric}{'' if of_pixels else ' mAP'} {result.score:.3f}"
    progress.out.print(f"{result.steps} steps in {result.seconds:.0f} s{score}")
    progress.out.print(f"weights: {result.weights}", soft_wrap=True)
    if json_file is not None:
        facts = {
            "weights": str(result.weights),
            "score": result.score,
            "metric": metric,
            "steps": result.steps,
            "seconds": result.seconds,
            "images_per_second": result.images_per_second,
        }
        atomic.write_text(json_file, json.dumps(facts, indent=2) + "\n")
    reports.of_run(result, workers=0)


MOST_RECIPE_BYTES = 1 << 20


def find_recipe(name: str | None) -> Recipe:
    """The recipe of that name in `singleshot.recipes`, or the defaults for None. Raises UsageError for no such name."""
    from singleshot import recipes
    from singleshot.training.recipe import Recipe

    if name is None:
        return Recipe()
    known = [module.name for module in pkgutil.iter_modules(recipes.__path__)]
    if name not in known:
        near = nearest(name, known)
        remedy = f"Did you mean {near}?" if near else f"Known ones: {', '.join(known)}"
        raise UsageError(f"no recipe is called {name!r}", remedy=remedy)
    return import_module(f"singleshot.recipes.{name}").RECIPE


def stored_recipe(folder: Path) -> Recipe:
    """The recipe of the run in a folder.

    Raises ConfigError for a `recipe.json` that a newer version wrote, DataError for one that is no JSON.
    """
    from singleshot.training.recipe import Recipe

    file = folder / "recipe.json"
    try:
        return Recipe.from_json(file_bytes(file, MOST_RECIPE_BYTES).decode("utf-8"))
    except ValueError as error:
        raise DataError("not JSON", remedy="Name the recipe on the command line", file=file) from error


def with_anchors(recipe: Recipe, path: Path) -> Recipe:
    """The recipe with the default boxes in a file. Raises ConfigError where they are for another model or input."""
    from singleshot.data import anchor_fit
    from singleshot.detection.presets import FLAVOURS

    boxes = anchor_fit.read_anchors(path)
    side = FLAVOURS[recipe.model].anchors.side if recipe.model in FLAVOURS else 0
    wanted = (recipe.model, recipe.input_size_hw or (side, side), recipe.fit)
    if (boxes.model, boxes.input_size_hw, boxes.fit) != wanted:
        height, width = boxes.input_size_hw
        options = f"--model {boxes.model} --input-size {height}x{width} --fit {boxes.fit}"
        what = f"these default boxes are for {options}, and the recipe has {wanted[0]}, {wanted[1]}, {wanted[2]}"
        raise ConfigError(what, remedy=f"Train with {options}, or fit boxes anew", file=path)
    return dataclasses.replace(recipe, anchors=boxes.feature_maps)


def parse_size(text: str) -> tuple[int, int]:
    """Height and width out of `HxW`. Raises ConfigError for anything else.

    >>> parse_size("375x1242")
    (375, 1242)
    """
    height, _, width = text.lower().partition("x")
    if not (height.isascii() and height.isdigit() and width.isascii() and width.isdigit()):
        raise ConfigError(f"--input-size {text!r} is not HxW", remedy="Write for example --input-size 300x300")
    return int(height), int(width)
