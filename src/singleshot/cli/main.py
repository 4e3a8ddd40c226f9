"""The command line: `singleshot VERB …`. One file a verb; here they are gathered and their failures get one line.

Nothing heavy is imported before a verb runs, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import signal
import sys

import typer

from singleshot.cli import demo, evaluate, predict, train
from singleshot.errors import SingleshotError

app = typer.Typer(
    name="singleshot",
    help="Train, judge and run SSD object detectors.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo.demo)
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("predict")(predict.predict)


@app.callback()
def _root(
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks (may stand anywhere on the line)."),
) -> None:
    """What stands before the verb; `--debug` is read in `run` already, because failures may come before this."""
    del debug


def run(arguments: list[str] | None = None) -> None:
    """The program: runs a verb and exits with the code that DESIGN's table gives to what happened."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    try:
        code = app([each for each in arguments if each != "--debug"], standalone_mode=True)
    except SystemExit as end:
        code = end.code
    except SingleshotError as error:
        if debug:
            raise
        sys.stderr.write(f"singleshot: error: {error}\n")
        code = error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("singleshot: stopped by Ctrl-C\n")
        code = 128 + signal.SIGINT
    except BrokenPipeError:
        # Somebody closed the pipe (`| head`): no fault of ours. Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        if debug:
            raise
        what = f"{type(error).__name__}: {' '.join(str(error).split())}"
        sys.stderr.write(f"singleshot: error: {what}. This is our bug: run again with --debug and report it.\n")
        code = 70
    sys.exit(code)
