"""`singleshot benchmark …`: measures and compares machines by one training epoch of four fixed workloads."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from singleshot.cli.reading import FollowLinks, MaxPixels
from singleshot.errors import ConfigError, UsageError, nearest, visible

app = typer.Typer(help="Measure machines as the 2017 blog post did.", no_args_is_help=True, rich_markup_mode=None)
FAILED = 65


@app.callback()
def _group() -> None:
    """Keep `benchmark` a group of commands, however many there are."""


@app.command()
def run(
    workload: Annotated[list[str] | None, typer.Option(help="vgg300, vgg512, kitti, cityscapes or all.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    data: Annotated[Path | None, typer.Option(help="Read these images instead of the sample images.")] = None,
    splits: Annotated[
        Path | None, typer.Option("--splits", help="Splits of --data made by `singleshot data split`.")
    ] = None,
    max_pixels: MaxPixels = None,
    follow_links: FollowLinks = False,
    loader: Annotated[
        Literal["serial", "parallel"],
        typer.Option(help="Load images in the main thread, as in 2017, or in worker processes."),
    ] = "parallel",
    precision: Annotated[Literal["auto", "fp32", "bf16", "fp16"], typer.Option(help="Number format.")] = "auto",
    seconds: Annotated[
        float, typer.Option(help="Seconds of training to measure; the last step is completed.", min=0)
    ] = 20.0,
    full: Annotated[bool, typer.Option("--full", help="Measure the whole epoch.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the results to this file.")] = None,
) -> None:
    """Measure one training epoch of each workload: speed, time, memory, and what limits it: loader or network."""
    import torch

    from singleshot.benchmark import report, results
    from singleshot.benchmark import run as running
    from singleshot.benchmark.workloads import WORKLOADS
    from singleshot.cli import outputs, reading, terminal
    from singleshot.training.devices import resolve_precision

    names = selected(workload or ["all"], list(WORKLOADS))
    if not math.isfinite(seconds):
        raise UsageError(f"--seconds {seconds}", remedy="Give a number, or --full for the whole epoch")
    reading.use(max_pixels, follow_links)
    outputs.check(json_file=json_file, json_keys=("machine", "workloads"), inputs=(data,))
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"no device is called {device!r}", remedy="Give auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("torch finds no CUDA device", remedy="Leave --device out")
    resolve_precision(precision, device)
    folder, window = None if data is None else str(data), None if full else seconds
    if splits is not None and data is None:
        raise UsageError("--splits is of --data", remedy="Give the data folder too")
    divided = None if splits is None else str(splits)
    jobs = [running.Job(WORKLOADS[name], device, precision, loader, window, folder, divided) for name in names]
    found = results.Report({})
    for name, found in terminal.track(running.run(jobs), "measuring", len(jobs)):
        if json_file is not None:  # after each workload, so that an interrupted run keeps its results
            results.write(found, json_file)
        for line in result_lines(name, found.workloads[name]):
            terminal.note(line)
    terminal.show(report.table([report.column("this", found)], "this"))
    if json_file is not None:
        terminal.note(f"next: singleshot benchmark report {json_file}")
    if any(each.error is not None for each in found.workloads.values()):
        raise typer.Exit(FAILED)


@app.command("report")
def show(
    files: Annotated[list[Path] | None, typer.Argument(help="Files written by benchmark run --json.")] = None,
    baseline: Annotated[
        str, typer.Option(help="The machine that counts as 1: ti, p2, p3 or the name of a file.")
    ] = "ti",
    plot: Annotated[Path | None, typer.Option(help="Draw the chart into this PNG.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing chart.")] = False,
) -> None:
    """Print the table and chart of the 2017 post, with its three machines beside yours."""
    from singleshot.benchmark import report, results
    from singleshot.cli import outputs, terminal

    if plot is not None and plot.suffix.lower() != ".png":
        raise UsageError(f"{plot.name} is not a .png", remedy="Name a .png", file=plot)
    outputs.check(plot, inputs=files or [], overwrite=overwrite)
    columns = [*report.MACHINES_2017, *(report.column(file.stem, results.read(file)) for file in files or [])]
    terminal.show(report.table(columns, baseline))
    terminal.show(f"\n{report.chart(columns, baseline)}")
    if plot is not None:
        report.draw(columns, baseline, plot)
        terminal.note(f"chart: {plot}")


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="A file written by benchmark run --json.")],
    second: Annotated[Path, typer.Argument(help="Another such file.")],
) -> None:
    """List the differences between two benchmarks that are larger than the noise."""
    from singleshot.benchmark import results
    from singleshot.cli import terminal

    one, two = results.read(first), results.read(second)
    for line in results.other_machine(one, two):
        terminal.show(visible(f"different machines: {line}"))
    differences = results.compare(one, two)
    for difference in differences:
        terminal.show(visible(str(difference)))
    if not differences:
        terminal.warn("the two have no workload in common")


@app.command()
def predict(
    weights: Annotated[
        str, typer.Argument(help="Weights; exports of the same name in the same folder are measured too.")
    ],
    batch_size: Annotated[
        list[int] | None, typer.Option(help="Images per call; repeatable; 1, 8 and 32 if not given.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="Seconds per row; at least five calls.", min=0)] = 3.0,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="auto measures all devices.")] = "auto",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the results to this file.")] = None,
) -> None:
    """Measure prediction latency: percentiles, throughput, memory and share of the machine's peak."""
    import torch

    from singleshot.benchmark import latency, machine
    from singleshot.cli import outputs, terminal

    sizes = batch_size or [1, 8, 32]
    if min(sizes) < 1:
        raise UsageError(f"a batch of {min(sizes)}", remedy="Give 1 or more")
    if not math.isfinite(seconds):
        raise UsageError(f"--seconds {seconds}", remedy="Give a number")
    outputs.check(json_file=json_file, json_keys=("machine", "rows"), inputs=(weights,))
    found = []
    for row in latency.rows(weights, batch_sizes=sizes, seconds=seconds, device=device):
        found.append(row)
        terminal.note(latency.table([row]).splitlines()[-1])
    terminal.show(latency.table(found))
    if json_file is not None:
        used = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
        facts = machine.facts(device=used, precision="as the rows say", data=Path.cwd())
        outputs.write_json(json_file, {"machine": facts, "rows": [asdict(row) for row in found]})


def selected(names: list[str], known: list[str]) -> list[str]:
    """Return the requested workloads, in the order of `known`; `all` selects all. Raises UsageError for others.

    >>> selected(["kitti", "vgg300"], ["vgg300", "vgg512", "kitti"])
    ['vgg300', 'kitti']
    """
    for name in names:
        if name not in (*known, "all"):
            near = nearest(name, [*known, "all"])
            remedy = f"Did you mean {near}?" if near else f"There are {', '.join(known)} and all"
            raise UsageError(f"no workload is called {name!r}", remedy=remedy)
    return [name for name in known if name in names or "all" in names]


def result_lines(name: str, result: object) -> list[str]:
    """Format the results of one workload, or the reason why it failed, and its notes."""
    from singleshot.benchmark.report import duration
    from singleshot.benchmark.results import Result

    if not isinstance(result, Result):
        raise TypeError(type(result).__name__)
    if result.error is not None or result.images_per_second is None:
        return [f"{name}: failed: {result.error}"]
    figures = (
        f"{name}: {result.images_per_second:.3g} images/s in {result.steps} steps of {result.batch_size} "
        f"({result.measured_seconds:.1f} s, {result.precision}); loader alone "
        f"{result.loader_images_per_second:.3g}, network alone {result.network_images_per_second:.3g}"
    )
    epoch = (
        f"  epoch {duration(result.epoch_seconds or 0)} with its validation pass, "
        f"{duration(result.training_seconds or 0)} without; {result.verdict}, "
        f"waiting {100 * (result.waiting_share or 0):.0f} % of the time"
    )
    memory = [] if result.peak_memory_bytes is None else [f"peak memory {result.peak_memory_bytes / 1e9:.2f} GB"]
    used = [] if result.cpu_utilisation is None else [f"{100 * result.cpu_utilisation:.0f} % of the cores"]
    return [figures, epoch, f"  {', '.join([*memory, *used, result.data or ''])}", *(f"  {n}" for n in result.notes)]
