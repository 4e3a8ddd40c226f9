"""The stages of docs/performance.md at another commit and at this one: did a change make anything slower?

    git worktree add ../before COMMIT
    python -m benchmarks.two_commits ../before

Each tree has a process of its own, with its own package and its own benchmarks, whose functions build the stages. The
two take turns, and the figure is the median of the rounds. The clock is CPU time of one thread, so that other work on
the machine counts little; a machine that is busy all the same gives ratios that differ from run to run. Stages that a
tree does not have are left out by name.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 1.15
Stage = Callable[[], object]


def bench(name: str) -> Any:
    """Import a benchmark of the tree that this process belongs to."""
    return importlib.import_module(f"benchmarks.{name}")


def stages(folder: Path) -> Iterator[tuple[str, Callable[[], Stage]]]:
    """Yield what makes each stage ready, by its name; `folder` takes their files.

    Names of the package that differ between the trees are looked up in the tree's own benchmarks.
    """
    yield (
        "augmentation of 64 photos",
        lambda: bench("augment").ours(bench("photos").make(folder), bench("augment").CAFFE),
    )
    yield "VOC list of 1,000 images, the first time", lambda: opening(folder / "voc", fresh=True)
    yield "VOC list of 1,000 images, from the cache", lambda: opening(folder / "voc", fresh=False)
    for boxes in (2.5, 50):
        yield (
            f"matching and loss, {boxes:g} boxes × 32",
            lambda boxes=boxes: bench("match_loss").ours(
                bench("scenes").training_batch(boxes), bench("match_loss").CAFFE
            ),
        )
    for regime in ("sparse", "mid", "dense"):
        yield f"postprocessing, {regime}, 8 images", lambda regime=regime: postprocessing(regime)
    yield "VOC AP of 1,000 images", voc_ap
    yield "confusion matrix of 4 masks", confusion
    for model in ("lite320", "lite320-fine"):
        yield f"training step, {model} at 160, batch 2", lambda model=model: training_step(model)
        yield f"prediction, {model}, 1280×720", lambda model=model: prediction(model, folder)
    yield "import and load, a new process", lambda: first_call(folder)


def opening(root: Path, *, fresh: bool) -> Stage:
    """Read a VOC list, each time with an empty cache, or always from the cache."""
    tree = bench("open")
    reader, caches = (tree.read, tree.cache) if hasattr(tree, "read") else (tree.layouts, tree.index_cache)
    if not root.exists():
        tree.draw(root, 1_000)
        time.sleep(caches.SETTLED_NS / 1e9 + 0.1)

    def read() -> object:
        os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(dir=root.parent) if fresh else str(root.parent / "cache")
        return reader.read(root, "trainval")

    return read


def postprocessing(regime: str) -> Stage:
    """Postprocess the raw outputs of eight images."""
    import numpy as np

    anchors = bench("scenes").anchors(8732)
    answers = [bench("scenes").answer(anchors, regime, seed=seed) for seed in range(8)]
    logits, offsets = (np.concatenate(heads) for heads in zip(*answers, strict=True))
    return bench("postprocess").ours(anchors, logits, offsets)


def voc_ap() -> Stage:
    """Compute AP of a split."""
    from singleshot.metrics.voc_ap import voc_ap

    found, truths = bench("scenes").split(1_000)
    return lambda: voc_ap(found, truths, 20, metric="voc07")


def confusion() -> Stage:
    """Count a confusion matrix."""
    truths, answers = bench("confusion").maps()
    return lambda: bench("confusion").ours(truths, answers, 4)


def training_step(model: str) -> Stage:
    """Take a training step."""
    steps = bench("steps")
    return steps.step(steps.recipe(model, 2, "fp32", 160))


def prediction(model: str, folder: Path) -> Stage:
    """Predict one decoded frame, from untrained weights that detect nothing."""
    import numpy as np
    import torch

    import singleshot
    from singleshot import weights
    from singleshot.detection.ssd import SSD, config_for

    torch.manual_seed(0)
    network = SSD(config_for(model, [f"class {index}" for index in range(20)])).eval()
    bench("predict_cpu").background(network)
    file = folder / f"{model}.safetensors"
    weights.save(file, network, {})
    loaded = singleshot.load(file)
    image = np.random.default_rng(0).integers(0, 256, (45, 80, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
    return lambda: loaded.predict(image)


def first_call(folder: Path) -> Stage:
    """Start Python, load weights; CPU time of the child counts."""
    if not (folder / "lite320.safetensors").exists():
        prediction("lite320", folder)
    code = f"import singleshot; singleshot.load({str(folder / 'lite320.safetensors')!r})"
    return lambda: subprocess.run([sys.executable, "-c", code], check=True)


def cpu_s() -> float:
    """Return the CPU time of this process and of its children that have ended."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def work() -> None:
    """Answer requests of the parent, one JSON line each: the names of all stages, or the CPU time of one."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a stage prints is no answer
    ready: dict[str, Stage] = {}
    with tempfile.TemporaryDirectory() as name:
        makers = dict(stages(Path(name)))
        answers.write(json.dumps(list(makers)) + "\n")
        for line in sys.stdin:
            stage = json.loads(line)
            try:
                if stage not in ready:
                    ready[stage] = makers[stage]()
                    ready[stage]()  # compiled code, caches, memory
                started = cpu_s()
                with contextlib.redirect_stdout(io.StringIO()):
                    ready[stage]()
                answers.write(json.dumps(cpu_s() - started) + "\n")
            except Exception as error:  # a stage that this tree does not have, or has under another name
                answers.write(json.dumps(f"{type(error).__name__}: {error}") + "\n")


def start(tree: Path) -> subprocess.Popen[str]:
    """Start the process of a tree, with one thread."""
    variables = os.environ | {"PYTHONPATH": os.pathsep.join([str(tree / "src"), str(tree)]), "PYTHONWARNINGS": "ignore"}
    variables |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).resolve()), "--worker"],
        cwd=tree, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def ask(process: subprocess.Popen[str], stage: str) -> float | str:
    """Return the CPU time of a stage in seconds, or why there is none."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(json.dumps(stage) + "\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


def main() -> int:
    """Measure, and print a table; 1 where a stage is slower than `LIMIT`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, nargs="?", help="a checkout of the other commit")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--only", default="", help="stages whose name contains this")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work()
        return 0
    if options.before is None:
        parser.error("name a checkout of the other commit")
    trees = (start(options.before.resolve()), start(ROOT))
    names = [json.loads(tree.stdout.readline()) for tree in trees if tree.stdout is not None][1]
    slower = 0
    print(f"load average {os.getloadavg()[0]:.1f}; median CPU time of {options.repeats} rounds, in ms")
    print("| stage | before | now | ratio |\n| --- | --- | --- | --- |")
    for name in names:
        if options.only not in name:
            continue
        rounds: tuple[list[float], list[float]] = ([], [])
        for turn in range(options.repeats):
            for which in (0, 1) if turn % 2 else (1, 0):
                answer = ask(trees[which], name)
                if isinstance(answer, str):
                    print(f"| {name} | {'before' if which == 0 else 'now'}: {answer[:80]} | | |")
                    break
                rounds[which].append(answer)
            else:
                continue
            break
        else:
            before, now = map(statistics.median, rounds)
            slower += now > LIMIT * before
            print(f"| {name} | {1e3 * before:.1f} | {1e3 * now:.1f} | {now / before:.2f} |", flush=True)
    for tree in trees:
        if tree.stdin is not None:
            tree.stdin.close()
        tree.wait()
    return int(slower > 0)


if __name__ == "__main__":
    sys.exit(main())
