"""`singleshot data …`: check, count, draw and convert a data set before anything is trained on it.

`data anchors`, `data make`, `data fetch` and `data review` are in files of their own; `main` adds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from singleshot.cli import outputs, reading
from singleshot.cli.reading import Classes, DataFormat, FollowLinks, MaxPixels, OnBad, Rename, Splits
from singleshot.errors import SHOWN_FAULTS, CannotCreateError, DataError, InputMissingError, UsageError, visible

if TYPE_CHECKING:
    from singleshot.data.check.audit import Audit
    from singleshot.data.class_choice import ClassChoice
    from singleshot.data.stats import Stats
    from singleshot.structures import Dataset

CHECK_KEYS = ("format", "faults")
STATS_KEYS = ("split", "classes", "picture_sizes")
MAX_NAMES = 20
SHOWN_NOTES = 3
"""Of each kind of note, which need not be acted upon; of faults and warnings `SHOWN_FAULTS`."""

Folder = Annotated[Path, typer.Argument(help="A data folder.")]
Split = Annotated[
    str | None, typer.Option(help="The split to use; if not given, train, else the only split, else all images.")
]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the results to this file.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")]

app = typer.Typer(
    help="Check, count, draw, convert, review, make and fetch data.", no_args_is_help=True, rich_markup_mode=None
)


@app.callback()
def _group() -> None:
    """Keep `data` a group of commands, however many there are."""


@app.command("check")
def check(
    path: Folder,
    split: Annotated[str | None, typer.Option(help="Check only this split; everything if not given.")] = None,
    splits: Splits = None,
    data_format: DataFormat = None,
    classes: Annotated[str | None, typer.Option(help="Allowed classes: cat,dog; objects of others are faults.")] = None,
    rename: Rename = None,
    allow_unlabelled: Annotated[
        bool, typer.Option("--allow-unlabelled", help="Accept images without annotations as background.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(help="Processes that decode images; one per core if not given.", min=0)
    ] = None,
    max_pixels: MaxPixels = None,
    follow_links: FollowLinks = False,
    json_file: JsonFile = None,
    overwrite: Overwrite = False,
) -> None:
    """List every fault in a data folder with file and line; exit with 65 if any is fatal."""
    from singleshot.cli import terminal
    from singleshot.data import class_choice, split_file
    from singleshot.data.check import audit
    from singleshot.prediction.backends.host import cores

    reading.use(max_pixels, follow_links)
    outputs.check_outside(path, json_file)
    outputs.check(json_file=json_file, json_keys=CHECK_KEYS, inputs=[path], overwrite=overwrite)
    choice = class_choice.parse(classes, rename)
    _note_choice(path, data_format)
    with terminal.bar("images", 0) as update:
        found = audit.audit(
            path,
            data_format=data_format,
            split=split,
            splits=None if splits is None else split_file.read(splits),
            classes=choice.classes or None,
            rename=choice.rename,
            allow_unlabelled=allow_unlabelled,
            processes=cores() if workers is None else workers,
            progress=update,
        )
    outputs.write_json(json_file, found.as_json())
    for line in audit_lines(found):
        terminal.show(line)
    fatal = sum(fault.severity == "fatal" for fault in found.faults)
    if fatal:
        message = f"{fatal} fatal {'fault' if fatal == 1 else 'faults'}, listed above"
        raise DataError(message, remedy="Correct them, or leave them out with --on-bad skip", file=path)


def audit_lines(found: Audit) -> list[str]:
    """Format an audit: a summary, the first faults of every kind, and the number of each kind."""
    summary = f"{found.format}: {found.images} images, {found.objects} objects"
    lines = [visible(f"{summary}, classes: {_names(found.classes) or 'none'}")]
    counts = found.counts()
    if not counts:
        return [*lines, "no faults"]
    for kind, severity, count in counts:
        examples = [fault for fault in found.faults if (fault.kind, fault.severity) == (kind, severity)]
        shown = SHOWN_NOTES if severity == "note" else SHOWN_FAULTS
        lines += ["", f"{kind} ({severity})", *(f"  {fault}" for fault in examples[:shown])]
        if count > shown:
            lines.append(f"  … and {count - shown} more: use --json FILE for all")
    width = max(len(kind) for kind, _, _ in counts)
    return [*lines, "", *(f"{kind:<{width}}  {severity:<7}  {count:>6}" for kind, severity, count in counts)]


@app.command("stats")
def stats(
    path: Folder,
    split: Split = None,
    splits: Splits = None,
    data_format: DataFormat = None,
    classes: Classes = None,
    rename: Rename = None,
    max_pixels: MaxPixels = None,
    follow_links: FollowLinks = False,
    plot: Annotated[Path | None, typer.Option(help="Draw the plots into this PNG.")] = None,
    json_file: JsonFile = None,
    overwrite: Overwrite = False,
) -> None:
    """Count images and objects by class, size and shape."""
    from singleshot.cli import terminal
    from singleshot.data import class_choice
    from singleshot.data.stats import draw_stats, measure
    from singleshot.storage import atomic

    reading.use(max_pixels, follow_links)
    outputs.check_outside(path, plot, json_file)
    outputs.check(plot, json_file=json_file, json_keys=STATS_KEYS, inputs=[path], overwrite=overwrite)
    dataset = read_split(path, split, data_format, splits, class_choice.parse(classes, rename))
    found = measure(dataset)
    terminal.show(_stats_table(found, f"{path.resolve().name}, {dataset.split}"))
    facts = found.as_json()
    empty = facts["pictures_without_objects"]
    terminal.show(f"{found.images} images, {empty} without objects; {found.difficult} difficult objects")
    sizes = ", ".join(f"{width}×{height} ({count})" for (height, width), count in found.common_sizes_hw())
    terminal.show(f"most common of {facts['picture_sizes']['distinct']} image sizes: {sizes}")
    if plot is not None:
        title = f"{path.resolve().name}, {dataset.split}: {found.images} images, {len(found.class_ids)} objects"
        atomic.write(plot, lambda temporary: draw_stats(found, temporary, title=title))
        terminal.show(f"plots: {plot}")
    outputs.write_json(json_file, {"split": dataset.split, **facts})


def _stats_table(found: Stats, title: str) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(f"Objects ({title})"))
    table.add_column("class")
    for column in ("objects", "images", "√area 5 %", "median", "95 %", "shape"):
        table.add_column(column, justify="right")
    for name, figures in found.as_json()["classes"].items():
        sides, ratios = figures["side_px"], figures["aspect_ratio"]
        sizes = [f"{sides[q]:.0f} px" for q in ("0.05", "0.5", "0.95")] if sides else ["–"] * 3
        ratio = f"{ratios['0.5']:.2f}" if ratios else "–"
        table.add_row(Text(name), str(figures["objects"]), str(figures["pictures"]), *sizes, ratio)
    table.add_section()
    table.add_row("all", str(len(found.class_ids)), str(found.images), style="bold")
    return table


@app.command("show")
def show(
    path: Folder,
    out: Annotated[Path, typer.Option(help="The PNG or JPEG file to write.")] = Path("data.png"),
    split: Split = None,
    splits: Splits = None,
    data_format: DataFormat = None,
    count: Annotated[int, typer.Option(help="Number of images, evenly spaced in the split.", min=1)] = 24,
    class_name: Annotated[str | None, typer.Option("--class", help="Only images with an object of this class.")] = None,
    augment: Annotated[
        bool, typer.Option("--augment", help="Show one image under every augmentation instead.")
    ] = False,
    picture: Annotated[str | None, typer.Option(help="Id of the image for --augment.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Recipe of the augmentation; the default recipe if none.")] = None,
    input_size: Annotated[str, typer.Option(help="Network input for --augment, as HxW.")] = "300x300",
    letterbox: Annotated[bool, typer.Option("--letterbox", help="Keep the aspect ratio for --augment.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the augmentation.", min=0)] = 0,
    columns: Annotated[int, typer.Option(help="Images per row.", min=1)] = 4,
    classes: Classes = None,
    rename: Rename = None,
    max_pixels: MaxPixels = None,
    follow_links: FollowLinks = False,
    font: Annotated[
        Path | None, typer.Option(help="Font file for labels, for scripts that DejaVu Sans lacks; or SINGLESHOT_FONT.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw images with their boxes on a contact sheet, or one image under every augmentation."""
    from singleshot import fonts
    from singleshot.cli import terminal
    from singleshot.cli.train import find_recipe, parse_size
    from singleshot.data import class_choice, contact_sheet
    from singleshot.prediction.annotations import write_image
    from singleshot.structures import evenly_spaced

    fonts.use(font)
    reading.use(max_pixels, follow_links)
    outputs.check_outside(path, out)
    outputs.check(out, inputs=[path], overwrite=overwrite)
    if out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise UsageError(f"--out {out} is not an image file", remedy="Name a .png or .jpg file")
    dataset = read_split(path, split, data_format, splits, class_choice.parse(classes, rename))
    indices = list(range(len(dataset)))
    if class_name is not None:
        if class_name not in dataset.label_map.names:
            raise UsageError(f"no class {class_name!r}", remedy=f"There are: {', '.join(dataset.label_map.names)}")
        class_id = dataset.label_map.id_of(class_name)
        indices = [index for index in indices if class_id in dataset.samples[index].class_ids]
    if not indices:
        raise DataError("no image to show", kind="no-picture", remedy="Name another split or class", file=path)
    if augment:
        if picture is not None:
            indices = [index for index in indices if dataset.samples[index].image_id == picture]
            if not indices:
                raise UsageError(f"no image {picture!r} in {dataset.split}", remedy="Give the id of an image")
        tiles = contact_sheet.augmentation_tiles(
            dataset,
            max(indices, key=lambda index: len(dataset.samples[index].boxes_xyxy)),
            find_recipe(recipe).augmentation,
            size_hw=parse_size(input_size),
            fill_rgb=(123, 117, 104) if letterbox else None,
            seed=seed,
        )
    else:
        chosen = [indices[index] for index in evenly_spaced(len(indices), count)]
        tiles = contact_sheet.image_tiles(dataset, chosen)
    write_image(out, contact_sheet.sheet(tiles, columns=columns))
    terminal.show(f"{len(tiles)} images: {out}")


@app.command("convert")
def convert(
    path: Folder,
    out: Annotated[Path, typer.Argument(help="The new folder; it must not exist or be empty.")],
    to: Annotated[Literal["voc", "coco", "yolo"], typer.Option(help="The layout to write.")],
    split: Annotated[
        list[str] | None, typer.Option(help="A split to convert, or old=new; repeatable. All if not given.")
    ] = None,
    splits: Splits = None,
    data_format: DataFormat = None,
    classes: Classes = None,
    rename: Rename = None,
    max_pixels: MaxPixels = None,
    follow_links: FollowLinks = False,
    on_bad: OnBad = "fail",
) -> None:
    """Write a data set in another layout, and report what that layout cannot represent."""
    from singleshot.cli import terminal
    from singleshot.data import class_choice
    from singleshot.data import convert as conversion
    from singleshot.data.faults import refuse_or_list
    from singleshot.data.orientation import turned_warning

    reading.use(max_pixels, follow_links)
    outputs.check_outside(path, out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CannotCreateError("already exists", remedy="Name a new folder", file=out)
    datasets = read_splits(path, split, data_format, splits, class_choice.parse(classes, rename))
    datasets = [conversion.without_wrong_sizes(dataset) for dataset in datasets]
    faults = refuse_or_list(datasets, on_bad)
    if split is None and to != "voc":
        datasets, unions = conversion.without_unions(datasets)
        for name in unions:
            terminal.warn(f"{name} only combines other splits and is left out; --split {name} converts it alone")
    with terminal.bar("images", sum(map(len, datasets))) as advance:
        done = conversion.convert(datasets, to, out, on_image=advance)
    for message in [*done.notes, turned_warning(datasets)]:
        terminal.warn(message)
    terminal.warn_left_out(faults)
    names = ", ".join(f"{dataset.split} ({len(dataset)})" for dataset in datasets)
    terminal.show(f"{done.images} images and {done.boxes} boxes as {to}: {out}")
    terminal.show(f"splits: {names}; classes: {_names(datasets[0].label_map.names)}")


def _note_choice(path: Path, data_format: str | None, *, masks: bool = False) -> None:
    """Say which layout is taken, and how to choose another, where a folder fits several and none was named."""
    from singleshot.cli import terminal
    from singleshot.data import read

    if data_format is not None:
        return
    layout = read.recognise(path, with_masks=masks)
    also = read.alternatives(path, layout, masks=layout in read.MASKS)
    if also:
        terminal.note(f"{path}: taken for {read.READERS[layout].title}{also}")


def read_split(
    path: Path,
    split: str | None,
    data_format: str | None,
    splits: Path | None = None,
    choice: ClassChoice | None = None,
) -> Dataset:
    """Read one split, and warn of what is left out, and of images that EXIF turns. Raises what the readers raise.

    Args:
        path: the data folder.
        split: the split; None for train, or else the only one, or else all.
        data_format: the layout; None to recognise it.
        splits: a file of splits that stand in for the folder's own.
        choice: which classes are read, and under which names; None for all.
    """
    from singleshot.cli import terminal
    from singleshot.data import read, split_file
    from singleshot.data.faults import leaves_out
    from singleshot.data.orientation import turned_warning

    _note_choice(path, data_format)
    if splits is not None:
        pool = read.read_pool(path, layout=data_format, choice=choice)
        dataset = split_file.select(pool, split_file.read(splits), split or "train")
    else:
        split = read.choose(path, ("train",), layout=data_format) if split is None else split
        dataset = read.read(path, split, layout=data_format, choice=choice)
    faults = [fault for fault in dataset.faults if leaves_out(fault)]
    terminal.warn_left_out(faults, f": run `singleshot data check {path}`")
    terminal.warn(turned_warning([dataset]))
    return dataset


def read_splits(
    path: Path,
    names: Sequence[str] | None,
    data_format: str | None,
    splits: Path | None = None,
    choice: ClassChoice | None = None,
) -> list[Dataset]:
    """Read some splits, all with the classes of the first.

    Args:
        path: the data folder.
        names: of the splits, or `old=new` to rename one; None for all.
        data_format: the layout; None to recognise it.
        splits: a file of splits that stand in for the folder's own.
        choice: which classes are read, and under which names; None for all.

    Raises:
        InputMissingError: there is no split.
        SingleshotError: what the readers raise.
    """
    from singleshot.data import read, split_file
    from singleshot.data.convert import renamed

    _note_choice(path, data_format)
    if splits is not None:
        made = split_file.read(splits)
        pool = read.read_pool(path, layout=data_format, choice=choice)
        pairs = [name.partition("=") for name in names or made.splits]
        return [renamed(split_file.select(pool, made, old), new or old) for old, _, new in pairs]
    names = names if names is not None else read.splits(path, layout=data_format)
    if not names:
        raise InputMissingError("no split found", remedy="Name one with --split", file=path)
    datasets: list[Dataset] = []
    for name in names:
        old, _, new = name.partition("=")
        label_map = datasets[0].label_map if datasets else None
        dataset = read.read(path, old, layout=data_format, label_map=label_map, choice=choice)
        datasets.append(renamed(dataset, new or old))
    return datasets


@app.command("split")
def split_command(
    path: Folder,
    out: Annotated[Path, typer.Option(help="The file to write, for --splits of other commands.")] = Path("split.json"),
    val: Annotated[float, typer.Option(help="Share of the images to validate on.", min=0, max=0.99)] = 0.15,
    test: Annotated[float, typer.Option(help="Share of the images to test on.", min=0, max=0.99)] = 0.0,
    by: Annotated[
        Literal["group", "folder", "random"],
        typer.Option(help="What stays in one split: images that look alike, those of a folder, or nothing."),
    ] = "group",
    seed: Annotated[int, typer.Option(help="Seed of the division.", min=0)] = 0,
    extend: Annotated[
        Path | None, typer.Option(help="An earlier file of splits: only images that it does not have are assigned.")
    ] = None,
    data_format: DataFormat = None,
    masks: Annotated[bool, typer.Option("--masks", help="Read images with masks.")] = False,
    allow_unlabelled: Annotated[
        bool, typer.Option("--allow-unlabelled", help="Divide images without annotations too.")
    ] = False,
    classes: Classes = None,
    rename: Rename = None,
    max_pixels: MaxPixels = None,
    follow_links: FollowLinks = False,
    overwrite: Overwrite = False,
) -> None:
    """Divide a data folder into train, val and test without leaks, and write which image is in which."""
    from singleshot.cli import terminal
    from singleshot.data import class_choice, divide, split_file
    from singleshot.data.orientation import turned_warning

    reading.use(max_pixels, follow_links)
    outputs.check_outside(path, out)
    outputs.check(out, inputs=[path], overwrite=overwrite or out == extend)
    earlier = None if extend is None else split_file.read(extend)
    _note_choice(path, data_format, masks=masks)
    options: dict[str, Any] = {"layout": data_format, "with_masks": masks, "allow_unlabelled": allow_unlabelled}
    options["choice"] = class_choice.parse(classes, rename) or None
    division = divide.divide(path, val=val, test=test, by=by, seed=seed, earlier=earlier, **options)
    division.splits.write(out)
    terminal.show(_split_table(division.table(), path.resolve().name))
    for message in [*division.notes, turned_warning([division.pool])]:
        terminal.warn(message)
    terminal.show(f"splits: {out}, sha256 {division.splits.sha256[:16]}")


def _split_table(rows: Sequence[tuple[str, int, dict[str, int]]], title: str) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(f"Images and objects ({title})"))
    table.add_column("")
    for name, _, _ in rows:
        table.add_column(name, justify="right")
    table.add_row("images", *(str(images) for _, images, _ in rows), style="bold")
    for name in rows[0][2] if rows else ():
        table.add_row(Text(name), *(str(objects[name]) for _, _, objects in rows))
    return table


def _names(names: Sequence[str]) -> str:
    """Join class names; only the first `MAX_NAMES` of many."""
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more
