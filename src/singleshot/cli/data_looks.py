"""`singleshot data stats` and `data show`: a data set in figures and in pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from singleshot.errors import DataError, UsageError
from singleshot.storage import atomic

if TYPE_CHECKING:
    from singleshot.data.stats import Stats


def stats(
    path: Annotated[Path, typer.Argument(help="A data folder.")],
    split: Annotated[str, typer.Option(help="The list to look at.")] = "train",
    data_format: Annotated[str | None, typer.Option(help="What the folder is, if it is not recognised.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the plots into this PNG.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
) -> None:
    """Count pictures and objects, by class, by size and by shape."""
    from singleshot.cli import outputs, progress
    from singleshot.cli.data_reading import read_split
    from singleshot.data.stats import draw_stats, measure

    keys = ("split", "classes", "picture_sizes")
    outputs.outside(path, plot, json_file)
    outputs.check(plot, json_file=json_file, json_keys=keys, inputs=[path], overwrite=overwrite)
    found = measure(read_split(path, split, data_format))
    progress.out.print(_table(found, f"{path.resolve().name}, {split}"))
    facts = found.as_json()
    empty = facts["pictures_without_objects"]
    progress.out.print(f"{found.images} pictures, {empty} without objects; {found.difficult} difficult objects")
    sizes = ", ".join(f"{width}×{height} ({count})" for (height, width), count in found.common_sizes_hw())
    progress.out.print(f"picture sizes, {facts['picture_sizes']['distinct']} in all: {sizes}", soft_wrap=True)
    if plot is not None:
        title = f"{path.resolve().name}, {split}: {found.images} pictures, {len(found.class_ids)} objects"
        atomic.write(plot, lambda temporary: draw_stats(found, temporary, title=title))
        progress.out.print(f"plots: {plot}", soft_wrap=True, markup=False)
    if json_file is not None:
        atomic.write_text(json_file, json.dumps({"split": split, **facts}, indent=2) + "\n")


def show(
    path: Annotated[Path, typer.Argument(help="A data folder.")],
    out: Annotated[Path, typer.Option(help="The PNG to draw.")] = Path("data.png"),
    split: Annotated[str, typer.Option(help="The list to look at.")] = "train",
    data_format: Annotated[str | None, typer.Option(help="What the folder is, if it is not recognised.")] = None,
    count: Annotated[int, typer.Option(help="Pictures on the sheet, evenly spaced in the split.", min=1)] = 24,
    class_name: Annotated[str | None, typer.Option("--class", help="Only pictures with an object of it.")] = None,
    augment: Annotated[bool, typer.Option("--augment", help="One picture under every augmentation instead.")] = False,
    picture: Annotated[str | None, typer.Option(help="Which one for --augment: its id.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Whose augmentation; the default recipe's if not given.")] = None,
    input_size: Annotated[str, typer.Option(help="Network input for --augment, as HxW.")] = "300x300",
    letterbox: Annotated[bool, typer.Option("--letterbox", help="Keep proportions for --augment.")] = False,
    seed: Annotated[int, typer.Option(help="Of what is drawn for --augment.", min=0)] = 0,
    columns: Annotated[int, typer.Option(help="Pictures in a row.", min=1)] = 4,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> None:
    """Draw pictures with their boxes onto one sheet, or one picture under every augmentation."""
    from singleshot.cli import outputs, progress
    from singleshot.cli.data_reading import read_split
    from singleshot.cli.train import find_recipe, parse_size
    from singleshot.data import contact_sheet
    from singleshot.prediction.sinks import write_picture
    from singleshot.structures import evenly_spaced

    outputs.outside(path, out)
    outputs.check(out, inputs=[path], overwrite=overwrite)
    if out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise UsageError(f"--out {out} is no picture", remedy="Name a .png or .jpg file")
    dataset = read_split(path, split, data_format)
    places = list(range(len(dataset)))
    if class_name is not None:
        if class_name not in dataset.label_map.names:
            names = ", ".join(dataset.label_map.names)
            raise UsageError(f"no class {class_name!r}", remedy=f"There are: {names}")
        wanted = dataset.label_map.id_of(class_name)
        places = [place for place in places if wanted in dataset.samples[place].class_ids]
    if not places:
        raise DataError("no picture to show", kind="no-picture", remedy="Name another split or class", file=path)
    if augment:
        if picture is not None:
            places = [place for place in places if dataset.samples[place].image_id == picture]
            if not places:
                raise UsageError(f"no picture {picture!r} in {split}", remedy="Name one by its id")
        busiest = max(places, key=lambda place: len(dataset.samples[place].boxes_xyxy))
        tiles = contact_sheet.augmentation_tiles(
            dataset,
            busiest,
            find_recipe(recipe).augmentation,
            size_hw=parse_size(input_size),
            fill_rgb=(123, 117, 104) if letterbox else None,
            seed=seed,
        )
    else:
        tiles = contact_sheet.image_tiles(dataset, [places[index] for index in evenly_spaced(len(places), count)])
    write_picture(out, contact_sheet.sheet(tiles, columns=columns))
    progress.out.print(f"{len(tiles)} pictures: {out}", soft_wrap=True, markup=False)


def _table(found: Stats, title: str) -> Any:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"Objects ({escape(title)})")
    table.add_column("class")
    for column in ("objects", "pictures", "√area 5 %", "median", "95 %", "shape"):
        table.add_column(column, justify="right")
    for name, figures in found.as_json()["classes"].items():
        sides, ratios = figures["side_px"], figures["aspect_ratio"]
        shown = [f"{sides[q]:.0f} px" for q in ("0.05", "0.5", "0.95")] if sides else ["–"] * 3
        ratio = f"{ratios['0.5']:.2f}" if ratios else "–"
        table.add_row(escape(name), str(figures["objects"]), str(figures["pictures"]), *shown, ratio)
    table.add_section()
    table.add_row("all", str(len(found.class_ids)), str(found.images), style="bold")
    return table
