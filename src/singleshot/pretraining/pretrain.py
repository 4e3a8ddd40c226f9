"""Pre-train a light backbone on a folder of images without labels: what `singleshot pretrain` does.

OUT.safetensors               the backbone, as fp16
OUT.pretraining/log.csv       losses, learning rate, speed and the probe, every hundred steps
OUT.pretraining/config.json   every choice
OUT.pretraining/bad.jsonl     images that could not be read (if there were any)
OUT.pretraining/checkpoints/  what `resume` continues from, bit for bit
"""

from __future__ import annotations

import csv
import datetime
import hashlib
import io
import json
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from singleshot import weights
from singleshot.child_process import refuse_unguarded
from singleshot.config import to_json_dict
from singleshot.data.load.loader import Loader, LoaderOptions, TrainDetection
from singleshot.errors import (
    CannotCreateError,
    ConfigError,
    DataError,
    Fault,
    SignalledError,
    SingleshotError,
    os_errors,
)
from singleshot.images import read_image
from singleshot.prediction.sources import resolve
from singleshot.preprocess import Preprocess, to_input
from singleshot.pretraining.distillation import CROPS, Distillation, PretrainConfig, mixed
from singleshot.pretraining.probe import Probe, make_probe
from singleshot.pretraining.teachers import Teacher, TeacherName, load_teachers
from singleshot.provenance import source_commit
from singleshot.storage import atomic, files
from singleshot.storage.lock import FolderLock
from singleshot.structures import Dataset, LabelMap, Sample
from singleshot.training import checkpoint
from singleshot.training.checkpoint import CheckpointConfig, Saver
from singleshot.training.devices import memory_errors, open_fabric, resolve_precision
from singleshot.training.loggers import Observer, SilentObserver
from singleshot.training.optimizer import EMA, OptimizerConfig, Schedule, build, factor, set_learning_rate
from singleshot.training.run import command_for_others
from singleshot.training.signals import StopSignals
from singleshot.training.state import Progress, facts_of, restore, tensors_of

LOG_EVERY = 100
"""Steps between two rows of the log."""
SHOW_EVERY = {"cpu": 1, "cuda": 20}
"""Steps between two readings of the losses for the display, by device: reading a number waits for a GPU."""
PROBES = 10
"""How often the probe is taken in a run, beside its start."""
PROBE_IMAGES, HELD_OUT = 800, 200
"""Images that the probe is fitted on, and those, kept from training, that it is judged by; fewer in a small folder."""
TIMED_FROM, TIMED_STEPS = 10, 20
"""The steps on which the speed is measured where minutes limit the run."""
CLIP_NORM = 5.0
CACHE_BYTES = 2_000_000_000
"""Memory for decoded images."""
DEFAULT_MINUTES = 60.0
GREY_RGB = (127.5, 127.5, 127.5)
"""Mean and deviation of the backbone's input, as the light models have them."""


@dataclass(frozen=True)
class Pretrained:
    """The result of a pre-training.

    Args:
        weights: the backbone's file.
        folder: of log and checkpoints.
        sha256: of the file, as `weights info` shows it.
        images: that were trained on.
        steps: of the whole run.
        seconds: of the whole run.
        losses: the mean of the last rows of the log, by level.
        probe: R² at the start and at the end; None for fewer than 20 images.
    """

    weights: Path
    folder: Path
    sha256: str
    images: int
    steps: int
    seconds: float
    losses: Mapping[str, float]
    probe: tuple[float, float] | None


def pretrain(
    images: str | Path,
    *,
    out: str | Path,
    teacher: TeacherName = "lite0",
    config: PretrainConfig | None = None,
    teacher_file: Path | None = None,
    checkpoints: CheckpointConfig | None = None,
    precision: str = "auto",
    workers: int = 1,
    overwrite: bool = False,
    resume: bool = False,
    observer: Observer | None = None,
    on_start: Callable[[str], None] | None = None,
) -> Pretrained:
    """Pre-train a backbone by distillation on images without labels.

    Args:
        images: a folder of images; those in subfolders count too.
        out: the weights file to write, for `train --weights`. Log and checkpoints go beside it.
        teacher: the network to learn from, or `both`.
        config: every other choice; None takes the defaults, for 60 minutes.
        teacher_file: the teacher's published file where the extra `pretrain` is not installed.
        checkpoints: how often the run is saved.
        precision: as of `train`.
        workers: processes that load images.
        overwrite: replace an existing file, and a run that was begun.
        resume: continue the run beside `out`, or begin one.
        observer: is called with steps and warnings.
        on_start: is called with lines about images, teacher and length.

    Raises:
        CannotCreateError: `out` exists, or another process works on it.
        ConfigError: the run to resume had other images or choices, or more than one limit is given.
        DataError: no image can be read, the teacher's file is another, or the loss is not finite.
        SignalledError: a signal ended the run, which was saved.
    """
    refuse_unguarded("pretrain")
    config, out, observer = config or PretrainConfig(), Path(out), observer or SilentObserver()
    if sum(limit is not None for limit in (config.steps, config.epochs, config.minutes)) > 1:
        raise ConfigError("more than one of steps, epochs and minutes", remedy="Give one of them")
    fabric = open_fabric(precision=precision)  # pyright: ignore[reportArgumentType]
    teachers = load_teachers(teacher, teacher_file)
    root = Path(images)
    dataset, held_out, images_sha256 = _read(root)
    identity = {
        "config": to_json_dict(config),
        "teacher": "+".join(each.provenance["file_sha256"] for each in teachers),
        "images": images_sha256,
        "precision": resolve_precision(precision),  # pyright: ignore[reportArgumentType]
        "device": fabric.device.type,
        "torch": torch.__version__,
    }
    folder = out.with_suffix(".pretraining")
    with closing(_RunFolder(folder, out, overwrite=overwrite, resume=resume)) as run:
        start = checkpoint.newest(folder / "checkpoints", lambda error: observer.warn(str(error))) if resume else None
        if start is not None:
            differing = [name for name in identity if start.facts["identity"].get(name) != identity[name]]
            if differing:
                message = f"the run to resume had other {', '.join(differing)}"
                raise ConfigError(message, remedy="Give the same, or begin anew with --overwrite", file=folder)
        run.write_config(config)
        torch.manual_seed(config.seed)
        preprocess = Preprocess((config.size, config.size), GREY_RGB, GREY_RGB)
        network = Distillation(
            config.backbone, [list(zip(each.strides, each.channels, strict=True)) for each in teachers]
        )
        network = network.to(fabric.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        for each in teachers:
            each.network.to(fabric.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        loader = Loader(
            dataset,
            TrainDetection(preprocess, CROPS),
            LoaderOptions(
                min(config.batch_size, len(dataset)),
                seed=config.seed,
                shuffle=True,
                drop_last=True,
                on_bad="skip",
                fast_decode=True,
                cache_bytes=CACHE_BYTES,
                workers=workers,
                pin_memory=fabric.device.type == "cuda",
            ),
        )
        with closing(loader), memory_errors():
            probe = _probe(dataset, held_out, teachers[0], preprocess)
            if on_start is not None:
                on_start(f"{len(dataset)} images to learn from, {len(held_out)} kept for the probe")
                for each in teachers:
                    on_start(f"teacher: {each.provenance['title']} ({each.provenance['licence']})")
            ema, progress = _fit(
                network,
                teachers,
                loader,
                config=config,
                preprocess=preprocess,
                fabric=fabric,
                run=run,
                saver=Saver(run.checkpoints, checkpoints or CheckpointConfig(), 0 if start is None else start.step),
                start=start,
                identity=identity,
                probe=probe,
                observer=observer,
            )
        provenance = {
            "made_by": "singleshot pretrain",
            "command": command_for_others(),
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "title": f"{config.backbone}, distilled from {' and '.join(each.provenance['title'] for each in teachers)}",
            "licence": " and ".join(dict.fromkeys(each.provenance["licence"] for each in teachers)),
            "teachers": [each.provenance for each in teachers],
            "images": len(dataset),
            "images_sha256": images_sha256,
            "steps": progress.step,
            "torch": torch.__version__,
        }
        commit = source_commit()
        provenance |= {} if commit is None else {"commit": commit}
        state = ema.network.backbone.state_dict()
        tensors = {
            f"trunk.{name}": tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()
        }
        sha256 = weights.save_backbone(out, weights.BackboneConfig(config.backbone, preprocess), tensors, provenance)
        rows = run.rows
        losses = {name: loss for name, loss in rows[-1].items() if name.startswith("stride ") and loss is not None}
        probed = [score for row in rows if (score := row.get("probe_r2")) is not None]
        return Pretrained(
            out,
            folder,
            sha256,
            len(dataset),
            progress.step,
            progress.seconds,
            losses,
            (probed[0], probed[-1]) if probed else None,
        )


def _read(root: Path) -> tuple[Dataset, list[Path], str]:
    """Return the images to train on, those kept for the probe, and the hash of the table of all."""
    with os_errors(root, "read"):
        found = [path for path in resolve([root], recursive=True).images if path.is_file()]
    if len(found) < 2:
        raise DataError(f"{len(found)} images", kind="no-picture", remedy="Name a folder of many images", file=root)
    lines = [
        f"{hashlib.sha256(files.file_bytes(path, 2**30)).hexdigest()}  {path.relative_to(root).as_posix()}\n"
        for path in found
    ]
    count = min(HELD_OUT, len(found) // 10) if len(found) >= 20 else 0
    kept = {int(index) for index in np.linspace(0, len(found) - 1, count).round()}
    none = np.zeros(0, np.int64)
    samples = tuple(
        Sample(path.relative_to(root).as_posix(), path, None, np.zeros((0, 4)), none, none.astype(bool))
        for index, path in enumerate(found)
        if index not in kept
    )
    dataset = Dataset(root, "images", "all", LabelMap(()), samples)
    return dataset, [found[index] for index in sorted(kept)], hashlib.sha256("".join(lines).encode()).hexdigest()


def _probe(dataset: Dataset, held_out: list[Path], teacher: Teacher, preprocess: Preprocess) -> Probe | None:
    if not held_out:
        return None
    count = min(PROBE_IMAGES, len(dataset))
    chosen = [dataset.samples[int(index)].image_path for index in np.linspace(0, len(dataset) - 1, count).round()]
    pixels = (
        [image for path in paths if (image := _readable(path, preprocess)) is not None] for paths in (chosen, held_out)
    )
    fitted, judged = pixels
    if not fitted or not judged:
        return None
    return make_probe(torch.stack([*fitted, *judged]), len(fitted), teacher, preprocess)


def _readable(path: Path, preprocess: Preprocess) -> Tensor | None:
    """Return the image at network size, or None for one that cannot be read, which the loader will list."""
    try:
        return torch.from_numpy(to_input(read_image(path, fast=True), preprocess))
    except SingleshotError:
        return None


class _RunFolder:
    """The folder beside the weights file, locked until `close`; see the head of this file."""

    def __init__(self, folder: Path, out: Path, *, overwrite: bool, resume: bool) -> None:
        for taken in (out, folder):
            if (taken.exists() or taken.is_symlink()) and not overwrite and not (resume and taken == folder):
                remedy = "Choose another --out, continue with --resume, or replace it with --overwrite"
                raise CannotCreateError("already exists", remedy=remedy, file=taken)
        self.root, self.rows = folder, []
        self.checkpoints = folder / "checkpoints"
        with os_errors(folder, "create", elsewhere="Choose another --out"):
            folder.mkdir(parents=True, exist_ok=True)
        self._lock = FolderLock(folder, "pre-training")
        self.checkpoints.mkdir(exist_ok=True)
        checkpoint.clean(self.checkpoints)
        if not resume:
            checkpoint.remove_all(self.checkpoints)
            for name in ("log.csv", "bad.jsonl"):
                (folder / name).unlink(missing_ok=True)

    def close(self) -> None:
        """Unlock the folder."""
        self._lock.release()

    def write_config(self, config: PretrainConfig) -> None:
        """Write every choice of the run."""
        atomic.write_text(self.root / "config.json", json.dumps(to_json_dict(config), indent=2) + "\n")

    def read_rows(self, last_step: int) -> None:
        """Read the log's rows up to a step: a resumed run writes those after it again."""
        path = self.root / "log.csv"
        if path.is_file():
            rows = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))
            parsed = [{name: float(value) if value else None for name, value in row.items()} for row in rows]
            self.rows = [row for row in parsed if (row["step"] or 0) <= last_step]

    def add_row(self, row: Mapping[str, int | float | None]) -> None:
        """Add a row to the log."""
        self.rows.append(dict(row))
        text = io.StringIO()
        names = list(dict.fromkeys(name for each in self.rows for name in each))
        writer = csv.DictWriter(text, names)
        writer.writeheader()
        writer.writerows(self.rows)
        atomic.write_text(self.root / "log.csv", text.getvalue(), forced=False)

    def write_faults(self, faults: Sequence[Fault]) -> None:
        """List the images that could not be read."""
        if faults:
            lines = dict.fromkeys(json.dumps(fault.as_json()) for fault in faults)
            atomic.write_text(self.root / "bad.jsonl", "".join(f"{line}\n" for line in lines))


def _fit(
    network: Distillation,
    teachers: Sequence[Teacher],
    loader: Loader[Any],
    *,
    config: PretrainConfig,
    preprocess: Preprocess,
    fabric: Any,
    run: _RunFolder,
    saver: Saver,
    start: checkpoint.Checkpoint | None,
    identity: Mapping[str, Any],
    probe: Probe | None,
    observer: Observer,
) -> tuple[EMA[Distillation], Progress]:
    """Train, leave log and checkpoints in the run's folder, and return the averaged network and how far it came."""
    decay = OptimizerConfig(kind="adamw", lr=config.lr, weight_decay=config.weight_decay, bias_lr=1.0)
    optimizer, ema = build(network, decay), EMA(network, config.ema_decay)
    schedule = Schedule(kind="cosine", warmup_steps=config.warmup_steps, floor=0.0)
    progress = Progress() if start is None else restore(start, network, optimizer, ema)
    total = config.steps or (config.epochs * len(loader) if config.epochs else None)
    total = total if start is None else start.facts["total_steps"]
    run.read_rows(progress.step)
    clock, signals = _Clock(config, progress), StopSignals(launched=False)
    shown: dict[str, float] = {}
    show_every = SHOW_EVERY.get(fabric.device.type, 1)
    preprocesses = [preprocess, *(each.preprocess for each in teachers)]
    network.train()

    def save() -> None:
        progress.seconds = clock.seconds()
        facts = facts_of(progress, optimizer, ema) | {"identity": dict(identity), "total_steps": total}
        saver.save(progress.step, tensors_of(progress, network, optimizer, ema), facts)

    if probe is not None and not run.rows:
        run.add_row({"step": 0, "probe_r2": probe(ema.network.backbone)})
    with saver, signals:
        while (total is None or progress.step < total) and signals.received is None:
            for batch in loader.epoch(progress.epoch, progress.position):
                total = clock.total_steps(progress.step) if total is None else total
                done = 0.0 if total is None else progress.step / total
                lr = config.lr * factor(schedule, step=progress.step, epoch=progress.epoch, progress=done)
                set_learning_rate(optimizer, lr)
                crops = batch.images.to(fabric.device, non_blocking=True)
                student_images, *teacher_images = mixed(crops, preprocesses, config, progress.step)
                with fabric.autocast():
                    with torch.no_grad():
                        pairs = zip(teachers, teacher_images, strict=True)
                        teacher_maps = [each for teacher, seen in pairs for each in teacher.maps(seen)]
                    losses = network(student_images, teacher_maps)
                optimizer.zero_grad(set_to_none=True)
                torch.stack(list(losses.values())).sum().backward()
                torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP_NORM)
                optimizer.step()
                ema.update(network)

                progress.count(loader.position, len(batch), 0, 0.0)
                progress.epoch_steps += 1  # of the current row of the log, as are the sums
                if not shown or progress.step % show_every == 0:
                    shown = {name: float(loss.detach()) for name, loss in losses.items()}
                for name, loss in losses.items():
                    progress.sums[name] = progress.sums.get(name, loss.new_zeros(())) + loss.detach()
                finished = progress.step == total
                # Whether another tenth of the run ends with this step, and there is something to probe with.
                tenths = 0 if total is None else PROBES * progress.step // total - PROBES * (progress.step - 1) // total
                probes = probe is not None and tenths > 0
                if progress.step % LOG_EVERY == 0 or finished or probes:
                    row = {name: float(value) / progress.epoch_steps for name, value in progress.sums.items()}
                    if not np.isfinite(list(row.values())).all():
                        message = f"the loss is not finite by step {progress.step}"
                        raise DataError(message, kind="loss-not-finite", remedy="Lower --lr", file=run.root)
                    rate = clock.images_per_second(progress.images)
                    row |= {"lr": lr, "images_per_second": rate}
                    row |= {"probe_r2": probe(ema.network.backbone)} if probes and probe is not None else {}
                    run.add_row({"step": progress.step, **row})
                    progress.sums, progress.epoch_steps = {}, 0
                observer.step(
                    epoch=progress.epoch, step=progress.step, done=done, parts=shown, rate=lr, images=len(batch)
                )
                if finished or signals.received is not None:
                    break
                if saver.due(progress.step):
                    save()
            if progress.position >= len(loader):
                progress.epoch, progress.position = progress.epoch + 1, 0
            run.write_faults(loader.faults)
        save()
    if signals.received is not None and progress.step != total:
        message = f"stopped by {signal.Signals(signals.received).name} after step {progress.step}, and saved"
        raise SignalledError(message, number=signals.received, remedy="Continue with --resume")
    return ema, progress


class _Clock:
    """Measures a run: its seconds, its speed, and how many steps its minutes are enough for.

    Args:
        config: its minutes.
        progress: where the run starts from.
    """

    def __init__(self, config: PretrainConfig, progress: Progress) -> None:
        self._minutes, self._before = config.minutes or DEFAULT_MINUTES, progress.seconds
        self._started = self._row_started = time.monotonic()
        self._row_images = progress.images
        self._timed: tuple[int, float] | None = None

    def seconds(self) -> float:
        """Return the seconds of the whole run."""
        return self._before + time.monotonic() - self._started

    def total_steps(self, step: int) -> int | None:
        """Return the steps that the minutes allow, or None until the first ones have been timed."""
        if step < TIMED_FROM:
            return None
        first, since = self._timed = self._timed or (step, time.monotonic())
        if step < first + TIMED_STEPS:
            return None
        each = (time.monotonic() - since) / TIMED_STEPS
        return max(step + 1, step + round((self._minutes * 60 - self.seconds()) / each))

    def images_per_second(self, images: int) -> float:
        """Return the speed since the last call."""
        now = time.monotonic()
        rate = (images - self._row_images) / max(now - self._row_started, 1e-9)
        self._row_started, self._row_images = now, images
        return rate
