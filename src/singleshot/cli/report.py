"""`singleshot report`: the page of a run, or a comparison of several; and the page that `train` and `evaluate` write.

Theirs is written after the work is done. If a report that was not requested by name fails, that is a warning only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from singleshot.errors import SingleshotError

if TYPE_CHECKING:
    from singleshot.reporting.pages import PageInfo


JSON_KEYS = ("page", "runs")


def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs. Several are compared with the first.")],
    data: Annotated[
        Path | None, typer.Option(help="Folder with images to evaluate the best weights on; none if not given.")
    ] = None,
    split: Annotated[str, typer.Option(help="The split of that folder.")] = "val",
    splits: Annotated[Path | None, typer.Option("--splits", help="Splits made by `singleshot data split`.")] = None,
    data_format: Annotated[str | None, typer.Option(help="Layout of the folder; recognised if not given.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The page; report.html or comparison.html in the first run's folder if not given."),
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes that load images.", min=0)] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")] = False,
) -> None:
    """Write a page on a training run, or one that compares runs: recipes, curves, AP or IoU, images."""
    from singleshot.cli import outputs, terminal
    from singleshot.data import split_file
    from singleshot.reporting import comparison
    from singleshot.reporting.report import report as report_of_run

    outputs.check(json_file=json_file, json_keys=JSON_KEYS, inputs=(data, *runs), overwrite=overwrite)
    chosen = None if splits is None else split_file.read(splits)
    options: dict[str, Any] = {"data": data, "split": split, "splits": chosen, "data_format": data_format}
    options |= {"out": out, "overwrite": overwrite, "workers": workers}
    if len(runs) == 1:
        page = report_of_run(runs[0], **options)
        facts = {"page": str(page), "runs": [{"run": runs[0].name}]}
    else:
        compared = comparison.compare_runs(runs, **options)
        page, facts = compared.page, compared.as_json()
        for name in compared.recipe:
            terminal.note(f"the recipes differ in {name}")
        for note in compared.notes:
            terminal.warn(note.rstrip("."))
        if compared.paired:
            terminal.show(comparison.verdict(compared.paired[0], [str(each["run"]) for each in compared.runs]))
    terminal.show(f"report: {page}")
    outputs.write_json(json_file, facts)


def target(
    requested: Path | None, weights: Path | None, split: str, *, inputs: Sequence[Path | None], overwrite: bool
) -> Path | None:
    """Return the file for the report of `evaluate`: the requested one; next to weights in a run folder; else None.

    Raises as `outputs.check` does for a requested file. A report of ours is replaced without `--overwrite`.
    """
    from singleshot.cli import outputs
    from singleshot.reporting import page

    if requested is not None:
        outputs.check(requested, inputs=inputs, overwrite=overwrite or page.is_ours(requested))
        return requested
    if weights is None or not weights.is_file() or not (weights.parent / "recipe.json").is_file():
        return None
    # The name of a split may contain a slash, which must not lead to another folder.
    name = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in split)
    beside = weights.parent / f"report-{name}.html"
    return beside if page.is_ours(beside) or not beside.exists() else None


def page_info(title: str, images: int, seconds: float | None) -> PageInfo:
    """Return title, command and speed of an evaluation; `seconds` is None if nothing was predicted."""
    from singleshot.reporting.pages import PageInfo
    from singleshot.training.run import this_command

    facts = [("images per second, evaluating", f"{images / seconds:.1f}")] if seconds else []
    return PageInfo(title, this_command(), facts)


def write(make: Callable[[], Path], *, requested: bool) -> None:
    """Write a report by calling `make`, and print its path. If one that was not requested fails, warn."""
    from singleshot.cli import terminal

    try:
        path = make()
    except SingleshotError as error:
        if requested:
            raise
        terminal.warn(f"no report: {error}")
        return
    terminal.show(f"report: {path}")
