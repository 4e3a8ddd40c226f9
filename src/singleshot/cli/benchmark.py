"""`singleshot benchmark VERB …`: what a machine is worth, by the cost of one epoch of four fixed workloads."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from singleshot.errors import ConfigError, UsageError, nearest, visible

app = typer.Typer(help="Measure machines as the 2017 post did.", no_args_is_help=True, rich_markup_mode=None)
FAILED = 65


@app.callback()
def _group() -> None:
    """Keeps `benchmark` a group of verbs however many there are."""


@app.command()
def run(
    workload: Annotated[list[str] | None, typer.Option(help="vgg300, vgg512, kitti, cityscapes or all.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    data: Annotated[Path | None, typer.Option(help="Read these pictures and not drawn ones.")] = None,
    loader: Annotated[
        Literal["serial", "parallel"], typer.Option(help="Read in the main thread, as in 2017, or in processes.")
    ] = "parallel",
    precision: Annotated[Literal["auto", "fp32", "bf16", "fp16"], typer.Option(help="Arithmetic.")] = "auto",
    seconds: Annotated[float, typer.Option(help="Of training to measure; a step is always finished.", min=0)] = 20.0,
    full: Annotated[bool, typer.Option("--full", help="Measure the whole epoch.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
) -> None:
    """Measure one training epoch of each workload: rate, time, memory, and whether the loader or the network limits."""
    import torch

    from singleshot.benchmark import report, results, running
    from singleshot.benchmark.child import Job
    from singleshot.benchmark.workloads import WORKLOADS
    from singleshot.cli import outputs, progress
    from singleshot.training.fabric import resolve_precision

    wanted = chosen(workload or ["all"], list(WORKLOADS))
    if not math.isfinite(seconds):
        raise UsageError(f"--seconds {seconds}", remedy="Give a number, or --full for the whole epoch")
    outputs.check(json_file=json_file, json_keys=("machine", "workloads"), inputs=(data,))
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"no device is called {device!r}", remedy="Give auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("torch finds no CUDA device", remedy="Leave --device out")
    resolve_precision(precision, device)
    place = None if data is None else str(data)
    jobs = [Job(WORKLOADS[name], device, precision, loader, None if full else seconds, place) for name in wanted]
    with progress.bar("measuring", len(jobs)) as advance:
        done: list[str] = []

        def tell(name: str, so_far: results.Report) -> None:
            done.append(name)
            if json_file is not None:  # now, so that whoever ends this keeps what is measured
                results.write(so_far, json_file)
            advance(len(done))
            for line in lines_of(name, so_far.workloads[name]):
                progress.err.print(line, markup=False, soft_wrap=True)

        found = running.run(jobs, on_result=tell, on_drawing=_drawing(progress.err.print))
    progress.out.print(report.table([report.column("this", found)], "this"), markup=False, soft_wrap=True)
    if json_file is not None:
        progress.err.print(f"next: singleshot benchmark report {json_file}", markup=False, soft_wrap=True)
    if any(each.error is not None for each in found.workloads.values()):
        raise typer.Exit(FAILED)


@app.command("report")
def show(
    files: Annotated[list[Path] | None, typer.Argument(help="Files of benchmark run --json.")] = None,
    baseline: Annotated[str, typer.Option(help="The machine that is 1: ti, p2, p3 or a file's name.")] = "ti",
    plot: Annotated[Path | None, typer.Option(help="Draw the chart into this .png.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a chart that is there.")] = False,
) -> None:
    """Print the post's table and chart, with the three machines of 2017 beside yours."""
    from singleshot.benchmark import report, results
    from singleshot.benchmark.posts_2017 import MACHINES
    from singleshot.cli import outputs, progress

    if plot is not None and plot.suffix.lower() != ".png":
        raise UsageError(f"{plot.name} is no .png", remedy="Name a .png", file=plot)
    outputs.check(plot, inputs=files or [], overwrite=overwrite)
    columns = [*MACHINES, *(report.column(file.stem, results.read(file)) for file in files or [])]
    progress.out.print(report.table(columns, baseline), markup=False, soft_wrap=True)
    progress.out.print(f"\n{report.chart(columns, baseline)}", markup=False, soft_wrap=True)
    if plot is not None:
        report.draw(columns, baseline, plot)
        progress.err.print(f"chart: {plot}", markup=False, soft_wrap=True)


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="A file of benchmark run --json.")],
    second: Annotated[Path, typer.Argument(help="Another one.")],
) -> None:
    """Say which differences between two benchmarks are larger than the noise."""
    from singleshot.benchmark import compare as comparing
    from singleshot.benchmark import results
    from singleshot.cli import progress

    one, two = results.read(first), results.read(second)
    for line in comparing.other_machine(one, two):
        progress.out.print(visible(f"not alike: {line}"), markup=False, soft_wrap=True)
    differences = comparing.compare(one, two)
    for difference in differences:
        progress.out.print(visible(str(difference)), markup=False, soft_wrap=True)
    if not differences:
        progress.warn("the two have no workload in common")


@app.command()
def predict(
    weights: Annotated[str, typer.Argument(help="Weights; exports of that name beside them are measured too.")],
    batch_size: Annotated[list[int] | None, typer.Option(help="Pictures in a call; 1, 8 and 32 if not given.")] = None,
    seconds: Annotated[float, typer.Option(help="For each row; at least five calls.", min=0)] = 3.0,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="auto takes all there are.")] = "auto",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
) -> None:
    """Measure how long an answer takes: percentiles, rate, memory and share of the machine's peak."""
    import torch

    from singleshot.benchmark import latency, machine
    from singleshot.cli import outputs, progress
    from singleshot.storage import atomic

    sizes = batch_size or [1, 8, 32]
    if min(sizes) < 1:
        raise UsageError(f"a batch of {min(sizes)}", remedy="Give 1 or more")
    if not math.isfinite(seconds):
        raise UsageError(f"--seconds {seconds}", remedy="Give a number")
    outputs.check(json_file=json_file, json_keys=("machine", "rows"), inputs=(weights,))
    found = []
    for row in latency.rows(weights, batch_sizes=sizes, seconds=seconds, device=device):
        found.append(row)
        progress.err.print(latency.table([row]).splitlines()[-1], markup=False, soft_wrap=True)
    progress.out.print(latency.table(found), markup=False, soft_wrap=True)
    if json_file is not None:
        used = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
        facts = machine.facts(device=used, precision="as the rows say", data=Path.cwd())
        tree = {"machine": facts, "rows": [asdict(row) for row in found]}
        atomic.write_text(json_file, json.dumps(tree, indent=2) + "\n")


def chosen(names: list[str], known: list[str]) -> list[str]:
    """The workloads that were asked for, in their order; `all` for all. Raises UsageError for an unknown one.

    >>> chosen(["kitti", "vgg300"], ["vgg300", "vgg512", "kitti"])
    ['vgg300', 'kitti']
    """
    for name in names:
        if name not in (*known, "all"):
            near = nearest(name, [*known, "all"])
            remedy = f"Did you mean {near}?" if near else f"There are {', '.join(known)} and all"
            raise UsageError(f"no workload is called {name!r}", remedy=remedy)
    return [name for name in known if name in names or "all" in names]


def lines_of(name: str, result: object) -> list[str]:
    """What is said of a workload as soon as it ends: its figures or its reason, and its notes."""
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
        f"waits {100 * (result.waiting_share or 0):.0f} % of the time"
    )
    memory = [] if result.peak_memory_bytes is None else [f"peak memory {result.peak_memory_bytes / 1e9:.2f} GB"]
    used = [] if result.cpu_utilisation is None else [f"{100 * result.cpu_utilisation:.0f} % of the cores"]
    return [figures, epoch, f"  {', '.join([*memory, *used, result.data or ''])}", *(f"  {n}" for n in result.notes)]


def _drawing(say: Callable[..., None]) -> Callable[[str, int, int], None]:
    """Says once for each set that its pictures are drawn."""
    said: set[int] = set()

    def tell(_name: str, _done: int, total: int) -> None:
        if total not in said:
            said.add(total)
            say(f"drawing {total} pictures, once", markup=False)

    return tell
