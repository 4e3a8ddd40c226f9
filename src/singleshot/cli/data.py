"""`singleshot data VERB …`: what has to do with pictures and annotations before anything is trained.

Here they are gathered; each is in a file of its own.
"""

from __future__ import annotations

import typer

from singleshot.cli import data_anchors, data_check, data_convert, data_looks, data_make

app = typer.Typer(help="Look at data, check it, convert it.", no_args_is_help=True, rich_markup_mode=None)
app.command("check")(data_check.check)
app.command("stats")(data_looks.stats)
app.command("show")(data_looks.show)
app.command("anchors")(data_anchors.anchors)
app.command("convert")(data_convert.convert)
app.command("make")(data_make.make)
app.command("fetch")(data_make.fetch)


@app.callback()
def _group() -> None:
    """Keeps `data` a group of verbs however many there are."""
