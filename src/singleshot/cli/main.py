"""The command line: `singleshot COMMAND …`. Registers the commands and turns their errors into one line each.

Each command is a file beside this one. Heavy imports happen inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import io
import os
import re
import signal
import sys
from collections.abc import Sequence
from typing import Any

import typer

from singleshot.cli import (
    benchmark,
    data,
    data_anchors,
    data_make,
    data_review,
    demo,
    doctor,
    evaluate,
    export,
    predict,
    pretrain,
    report,
    serve,
    train,
    weights,
)
from singleshot.errors import SingleshotError, nearest, sentence, visible

app = typer.Typer(
    name="singleshot",
    help="Train, evaluate, export and run SSD object detectors and FCN segmenters.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo.demo)
app.command("train")(train.train)
app.command("pretrain")(pretrain.pretrain)
app.command("evaluate")(evaluate.evaluate)
app.command("predict", cls=predict.PredictCommand)(predict.predict)
app.command("export")(export.export)
app.command("report")(report.report)
app.command("serve")(serve.serve)
app.command("doctor")(doctor.doctor)
data.app.command("anchors")(data_anchors.anchors)
data.app.command("make")(data_make.make)
data.app.command("fetch")(data_make.fetch)
data.app.command("review")(data_review.review)
app.add_typer(benchmark.app, name="benchmark")
app.add_typer(data.app, name="data")
app.add_typer(weights.app, name="weights")


EXIT_INTERRUPTED = 128 + signal.SIGINT
USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]
"""The base of the errors that typer raises for a wrong command line: unknown options, invalid values."""


@app.callback()
def _root(
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks (allowed anywhere on the command line)."),
) -> None:
    del debug  # read in `run`, because errors may occur before this is called


def run(arguments: list[str] | None = None) -> None:
    """Run a command and exit with its code (see `errors` and docs/how-to/troubleshoot.md)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # like stderr: a locale without ≥ must not end the program
    try:
        command = next((each for each in arguments if not each.startswith("-")), "doctor")
        if command != "doctor":
            doctor.check_versions()
        # Not standalone: typer would print usage errors in its own format.
        code = app([each for each in arguments if each != "--debug"], prog_name="singleshot", standalone_mode=False)
        code = code if isinstance(code, int) else 0
        if code == EXIT_INTERRUPTED:  # typer has caught the KeyboardInterrupt
            raise KeyboardInterrupt
    except SystemExit as end:
        # typer exits with 1 if the reader of a pipe has closed it (`| head`), which is not an error.
        code = 0 if isinstance(end.__context__, BrokenPipeError) else end.code
    except USAGE_ERROR as error:
        code = error.exit_code  # pyright: ignore[reportAttributeAccessIssue]
        sys.stderr.write(usage_message(error, arguments))
    except SingleshotError as error:
        if debug:
            raise
        # Where several processes share the work, each may fail.
        rank = os.environ.get("RANK") if int(os.environ.get("WORLD_SIZE", "1")) > 1 else None
        sys.stderr.write(f"singleshot: error: {'' if rank is None else f'rank {rank}: '}{error}\n")
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("singleshot: stopped by Ctrl-C\n")
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe has closed it (`| head`): not an error. Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        if debug:
            raise
        message = f"{type(error).__name__}: {' '.join(str(error).split())}"
        sys.stderr.write(f"singleshot: error: {message}. This is our bug: run again with --debug and report it.\n")
        code = 70
    sys.exit(code)


def usage_message(error: Exception, arguments: Sequence[str] = ()) -> str:
    """Format a usage error as one line like our own errors; the help text if no command was named.

    Args:
        error: from typer.
        arguments: the command line, which names the command where the error does not know it: `--out` without a value.
    """
    message = error.format_message()  # pyright: ignore[reportAttributeAccessIssue]
    if type(error).__name__ == "NoArgsIsHelpError":
        return f"{message}\n"
    context: Any = getattr(error, "ctx", None)
    # "(Possible options: --help, --threshold)" is in alphabetical order; the nearest is the likely intention.
    options = sorted(getattr(error, "possibilities", None) or [])
    message = message.replace("Value error, ", "")
    near = nearest(getattr(error, "option_name", ""), options)
    word, found, choices = message.partition(" is not one of ")  # "'voc7' is not one of 'voc07', 'voc12'"
    if near is None and found:
        near = nearest(word.rpartition(" ")[2].strip("'"), re.findall(r"'([^']*)'", choices))
    if near:
        message, remedy = message.partition(" (Possible options")[0], f" Did you mean {near}?"
    elif message.endswith("?"):  # of several suggestions the first is the nearest
        message, remedy = re.sub(r"(Did you mean '[^']*'), .*\?$", r"\1?", message), ""
    else:
        words = arguments[: 2 if arguments[:1] in (["benchmark"], ["data"], ["weights"]) else 1]
        named = " ".join(["singleshot", *(word for word in words if not word.startswith("-"))])
        remedy = f" See {named if context is None else context.command_path} --help."
    return f"singleshot: error: {visible(sentence(' '.join(message.split())))}{remedy}\n"
