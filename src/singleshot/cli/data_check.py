"""`singleshot data check`: every fault of a data folder, with file and line, before an hour of training finds it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from singleshot.errors import SHOWN_FAULTS, DataError, visible
from singleshot.storage import atomic

JSON_KEYS = ("format", "faults")

if TYPE_CHECKING:
    from singleshot.data.check.report import Audit


def check(
    path: Annotated[Path, typer.Argument(help="A data folder.")],
    split: Annotated[str | None, typer.Option(help="Look at this list alone; else at everything.")] = None,
    data_format: Annotated[str | None, typer.Option(help="What the folder is, if it is not recognised.")] = None,
    classes: Annotated[str | None, typer.Option(help="The classes that there may be, such as cat,dog.")] = None,
    allow_unlabelled: Annotated[
        bool, typer.Option("--allow-unlabelled", help="Pictures without annotation are background.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(help="Processes that decode pictures; one a core if not given.", min=0)
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write every fault to this file.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace that file if it is there.")] = False,
) -> None:
    """Name every fault in a data folder, with file and line; exit 65 where one is fatal."""
    from singleshot.cli import outputs, progress
    from singleshot.data.check import audit
    from singleshot.prediction.backends.threads import cores

    if json_file is not None:
        outputs.outside(path, json_file)
        outputs.check(json_file=json_file, json_keys=JSON_KEYS, inputs=[path], overwrite=overwrite)
    with progress.bar("pictures", 0) as update:
        found = audit.audit(
            path,
            data_format=data_format,
            split=split,
            classes=None if classes is None else tuple(name.strip() for name in classes.split(",")),
            allow_unlabelled=allow_unlabelled,
            processes=cores() if workers is None else workers,
            progress=update,
        )
    if json_file is not None:
        atomic.write_text(json_file, json.dumps(found.as_json(), indent=2) + "\n")
    for line in lines(found):
        progress.out.print(line, markup=False, emoji=False, soft_wrap=True)
    fatal = sum(fault.severity == "fatal" for fault in found.faults)
    if fatal:
        what = f"{fatal} fatal {'fault' if fatal == 1 else 'faults'}, listed above"
        raise DataError(what, remedy="Mend them, or train without them by --on-bad skip", file=path)


def lines(found: Audit) -> list[str]:
    """What a person reads: what the folder is, the first faults of every kind, and how many there are of each."""
    names = ", ".join(found.classes[:SHOWN_FAULTS])
    more = len(found.classes) - SHOWN_FAULTS
    names += f" and {more} more" if more > 0 else ""
    said = [visible(f"{found.format}: {found.images} pictures, {found.objects} objects, classes: {names or 'none'}")]
    counts = found.counts()
    for kind, severity, count in counts:
        some = [fault for fault in found.faults if (fault.kind, fault.severity) == (kind, severity)][:SHOWN_FAULTS]
        said += ["", f"{kind} ({severity})", *(f"  {fault}" for fault in some)]
        if count > SHOWN_FAULTS:
            said.append(f"  … and {count - SHOWN_FAULTS} more: all are in --json FILE")
    width = max((len(kind) for kind, _, _ in counts), default=0)
    said += ["", *(f"{kind:<{width}}  {severity:<7}  {count:>6}" for kind, severity, count in counts)]
    return said if counts else [*said[:1], "no faults"]
