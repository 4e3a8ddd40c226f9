"""The command line: `singleshot VERB …`. One file a verb; here they are gathered and their failures get one line.

Nothing heavy is imported before a verb runs, so that `--help` answers at once.
"""

from __future__ import annotations

import io
import os
import re
import signal
import sys
from typing import Any

import typer

from singleshot.cli import benchmark, data, demo, doctor, evaluate, export, predict, serve, train, versions, weights
from singleshot.errors import SingleshotError, nearest, sentence, visible

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
app.command("export")(export.export)
app.command("serve")(serve.serve)
app.command("doctor")(doctor.doctor)
app.add_typer(benchmark.app, name="benchmark")
app.add_typer(data.app, name="data")
app.add_typer(weights.app, name="weights")


STOPPED = 128 + signal.SIGINT
CALL_ERROR: type[Exception] = typer.BadParameter.__mro__[1]
"""What typer raises where the call is wrong: an unknown option, a value that is none."""


@app.callback()
def _root(
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks (may stand anywhere on the line)."),
) -> None:
    """What stands before the verb; `--debug` is read in `run` already, because failures may come before this."""
    del debug


def run(arguments: list[str] | None = None) -> None:
    """The program: runs a verb and exits with the code of what happened (`errors`, and docs/how-to/troubleshoot.md)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr is: a locale without ≥ is no reason to end
    try:
        verb = next((each for each in arguments if not each.startswith("-")), "doctor")
        if verb != "doctor":
            versions.check()
        # Not standalone: typer would show faults of the call in a form of its own.
        code = app([each for each in arguments if each != "--debug"], prog_name="singleshot", standalone_mode=False)
        code = code if isinstance(code, int) else 0
        if code == STOPPED:  # typer has caught it already
            raise KeyboardInterrupt
    except SystemExit as end:
        # typer ends with 1 where somebody closed the pipe (`| head`), which is no fault of ours.
        code = 0 if isinstance(end.__context__, BrokenPipeError) else end.code
    except CALL_ERROR as error:
        code = error.exit_code  # pyright: ignore[reportAttributeAccessIssue]
        sys.stderr.write(said_of_call(error))
    except SingleshotError as error:
        if debug:
            raise
        sys.stderr.write(f"singleshot: error: {_rank()}{error}\n")
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("singleshot: stopped by Ctrl-C\n")
        code = STOPPED
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


def _rank() -> str:
    """`rank N: ` where several processes share the work and each may say something."""
    return f"rank {os.environ['RANK']}: " if int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ else ""


def said_of_call(error: Exception) -> str:
    """What is written of a wrong call: one line in the form of our own errors; help where no verb was named."""
    said = error.format_message()  # pyright: ignore[reportAttributeAccessIssue]
    if type(error).__name__ == "NoArgsIsHelpError":
        return f"{said}\n"
    context = getattr(error, "ctx", None)
    # "(Possible options: --help, --threshold)" has them in the order of letters; the nearest is what was meant.
    options = sorted(getattr(error, "possibilities", None) or [])
    said = said.replace("Value error, ", "")
    near = nearest(getattr(error, "option_name", ""), options) or _nearest_choice(said)
    what = said.partition(" (Possible options")[0] if near else said
    remedy = f" Did you mean {near}?" if near else "" if said.endswith("?") else f" See {_path(context)} --help."
    return f"singleshot: error: {visible(sentence(' '.join(what.split())))}{remedy}\n"


def _nearest_choice(said: str) -> str | None:
    """What was meant where a word is not one of a list, as in `'voc7' is not one of 'voc07', 'voc12'`."""
    word, found, choices = said.partition(" is not one of ")
    return nearest(word.rpartition(" ")[2].strip("'"), re.findall(r"'([^']*)'", choices)) if found else None


def _path(context: Any) -> str:
    return "singleshot" if context is None else context.command_path
