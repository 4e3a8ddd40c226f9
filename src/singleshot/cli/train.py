"""`singleshot train`: from a folder of pictures and annotations to a weights file."""

from __future__ import annotations

import dataclasses
import difflib
import json
import pkgutil
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from singleshot import durable
from singleshot.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from singleshot.training.recipe import Recipe


def train(
    data: Annotated[Path, typer.Option(help="Folder in Pascal VOC layout.")],
    recipe: Annotated[str | None, typer.Argument(help="A recipe's name, such as bccd or ssd300_voc0712.")] = None,
    model: Annotated[str | None, typer.Option(help="Flavour: vgg300, vgg512, lite320, lite320-fine, …")] = None,
    train_split: Annotated[str, typer.Option(help="The list to learn from.")] = "train",
    val_split: Annotated[str, typer.Option(help="The list to judge by after each epoch, or none.")] = "val",
    epochs: Annotated[int | None, typer.Option(help="Stop after so many passes over the data.")] = None,
    steps: Annotated[int | None, typer.Option(help="Stop after so many batches.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after so many minutes.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Pictures a step.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, order and augmentation.")] = None,
    precision: Annotated[Literal["auto", "fp32", "bf16"] | None, typer.Option(help="Arithmetic.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that load pictures.")] = None,
    input_size: Annotated[str | None, typer.Option(help="Network input as HxW, such as 300x300.")] = None,
    on_bad: Annotated[Literal["fail", "skip"], typer.Option(help="At faulty data: refuse, or go on without.")] = "fail",
    out: Annotated[Path, typer.Option(help="The run's folder.")] = Path("runs/train"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run that is there.")] = False,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Any recipe field: field=value.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write what came out to this file.")] = None,
) -> None:
    """Train a detector on pictures with boxes."""
    from singleshot.cli import progress
    from singleshot.training import run
    from singleshot.training.recipe import limited, override

    chosen = find_recipe(recipe)
    given = {"model": model, "batch_size": batch_size, "seed": seed, "precision": precision, "workers": workers}
    changes = {name: value for name, value in given.items() if value is not None}
    changes |= limited(chosen, epochs=epochs, steps=steps, minutes=minutes)
    if input_size is not None:
        changes["input_size_hw"] = parse_size(input_size)
    chosen = override(dataclasses.replace(chosen, **changes), settings or [])
    with progress.TrainingBar() as bar:
        result = run.train(
            data,
            chosen,
            out=out,
            train_split=train_split,
            val_split=None if val_split == "none" else val_split,
            on_bad=on_bad,
            overwrite=overwrite,
            observer=bar,
        )
    skipped = result.folder / "bad.jsonl"
    if skipped.is_file():
        count = len(skipped.read_text(encoding="utf-8").splitlines())
        progress.warn(f"{count} faults were left out, listed in {skipped}")
    score = "" if result.score is None else f", best {chosen.metric} mAP {result.score:.3f}"
    progress.out.print(f"{result.steps} steps in {result.seconds:.0f} s{score}")
    progress.out.print(f"weights: {result.weights}", soft_wrap=True)
    if json_file is not None:
        facts = {
            "weights": str(result.weights),
            "score": result.score,
            "metric": chosen.metric,
            "steps": result.steps,
            "seconds": result.seconds,
            "images_per_second": result.images_per_second,
        }
        durable.write_text(json_file, json.dumps(facts, indent=2) + "\n")


def find_recipe(name: str | None) -> Recipe:
    """The recipe of that name in `singleshot.recipes`, or the defaults for None. Raises UsageError for no such name."""
    from singleshot import recipes
    from singleshot.training.recipe import Recipe

    if name is None:
        return Recipe()
    known = [module.name for module in pkgutil.iter_modules(recipes.__path__)]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        remedy = f"Did you mean {near[0]}?" if near else f"Known ones: {', '.join(known)}"
        raise UsageError(f"no recipe is called {name!r}", remedy=remedy)
    return import_module(f"singleshot.recipes.{name}").RECIPE


def parse_size(text: str) -> tuple[int, int]:
    """Height and width out of `HxW`. Raises ConfigError for anything else.

    >>> parse_size("375x1242")
    (375, 1242)
    """
    height, _, width = text.lower().partition("x")
    if not (height.isascii() and height.isdigit() and width.isascii() and width.isdigit()):
        raise ConfigError(f"--input-size {text!r} is not HxW", remedy="Write for example --input-size 300x300")
    return int(height), int(width)
