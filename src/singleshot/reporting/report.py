"""`singleshot.report`: one page on the course of a training and the errors of the detector or segmenter.

    singleshot.report("runs/mine", data="my-data")      →  runs/mine/report.html

`singleshot train` writes it for every run, `singleshot evaluate` with `--report`. `pages` puts the page together.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from singleshot.data.divide import for_evaluation
from singleshot.data.faults import refuse_or_list
from singleshot.data.split_file import SplitFile
from singleshot.drawing import draw
from singleshot.errors import DataError, Fault, InputMissingError
from singleshot.evaluation.loop import check_classes, eval_loader, predictions
from singleshot.evaluation.miou import MeanIoU
from singleshot.evaluation.voc import SIZE_BANDS_PX, CollectDetections, voc_report
from singleshot.images import read_image
from singleshot.metrics.bootstrap import SAMPLES
from singleshot.prediction import annotations
from singleshot.prediction.load import load
from singleshot.prediction.predictor import Predictor
from singleshot.provenance import origin_rows
from singleshot.reporting import page, training
from singleshot.reporting.masks import MaskExamples
from singleshot.reporting.pages import PageInfo, write_detections, write_masks, write_training
from singleshot.structures import Dataset, Detections, Segmentation, evenly_spaced
from singleshot.training.run import Run

TRAIN_IMAGES = 200
"""Images of the training split that are evaluated where there are no others."""
COPIES = 8
"""Annotated copies of images that are written into the run's folder."""


@dataclass(frozen=True)
class SplitChoice:
    """The images to evaluate a run's best weights on.

    Args:
        data: the data folder.
        split: the list of images there. Where the run divided the folder itself, its splits are used.
        splits: take the split from here (see `data.divide.divide`) in place of the folder's own.
        data_format: the folder's layout; None to find out.
        workers: processes that read images.
    """

    data: Path
    split: str = "val"
    splits: SplitFile | None = None
    data_format: str | None = None
    workers: int = 0

    def read(self, model: Predictor[Any, Any], weights: Path) -> tuple[Dataset, list[str]]:
        """Return the images, with boxes for a detector and masks for a segmenter, and warnings on the choice.

        Raises what `data.divide.for_evaluation` raises, and DataError where the classes are not the model's.
        """
        masks = model.task == "segmentation"
        dataset, warnings = for_evaluation(
            self.data,
            self.split,
            weights=weights,
            splits=self.splits,
            layout=self.data_format,
            label_map=None if masks else model.label_map,
            with_masks=masks,
        )
        check_classes(model, dataset)
        return dataset, warnings


def report(
    run: Run | str | Path,
    *,
    data: Dataset | str | Path | None = None,
    split: str = "val",
    splits: SplitFile | None = None,
    data_format: str | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    workers: int = 0,
) -> Path:
    """Write the report of a training run, and into its folder a few annotated images too (`pictures/`).

    Args:
        run: as `singleshot.train` returned it, or a run's folder.
        data: a split to evaluate on, or a data folder. None takes the run's own validation split, and without one some
            of the images it was trained on, which a note at the head of the page then says. A run's folder has
            neither: without data the page shows the training alone.
        split: the list of images to evaluate on, where `data` is a folder. Where the run divided the folder itself,
            its splits are used.
        splits: take the split from here (see `data.divide.divide`) in place of the folder's own.
        data_format: its layout; None to find out.
        out: where to write; None for `report.html` in the run's folder.
        overwrite: replace an existing file. A report of ours is always replaced.
        workers: processes that read images.

    Returns:
        The file.

    Raises:
        InputMissingError: there is no such run.
        CannotCreateError: another file exists there.
        DataError, InputMissingError: as `data.read` raises them.
        DataError: `data` has other classes than the model, or its annotations name one that the model does not have.

    Boxes and images that are faulty or cannot be read are left out and listed on the page.
    """
    folder = run.folder if isinstance(run, Run) else Path(run)
    weights = folder / "best.safetensors"
    if not weights.is_file():
        remedy = "Name the folder that singleshot train --out made"
        raise InputMissingError("no run: it has no best.safetensors", remedy=remedy, file=folder)
    target = Path(out) if out is not None else folder / "report.html"
    copies = folder / "pictures" if out is None else None
    page.check_target(target, overwrite=overwrite)
    model = load(weights)
    choice = SplitChoice(Path(data), split, splits, data_format) if isinstance(data, str | Path) else data
    dataset, warning = _dataset(run, model, choice, weights)
    log = training.read_log(folder / "log.csv")
    names = {"data": "trained on", "split": "split", "images": "training images", "date": "started"}
    origin = [(label, str(model.provenance[name])) for name, label in names.items() if name in model.provenance]
    info = PageInfo(
        f"Training run {folder.name}",
        str(model.provenance.get("command", "")),
        [*origin, *origin_rows(model.provenance), *training.speed(log)],
        log,
        warning,
    )
    if dataset is None:
        return write_training(target, info)
    evaluate = {"detection": _evaluate_detector, "segmentation": _evaluate_segmenter}[model.task]
    return evaluate(target, info, model, dataset, workers, copies)


def _evaluate_detector(
    target: Path, info: PageInfo, model: Predictor[Any, Any], dataset: Dataset, workers: int, copies: Path | None
) -> Path:
    collected = CollectDetections(dataset)
    started = time.monotonic()
    loader = eval_loader(model, dataset, workers=workers, on_bad="skip")
    for batch, _, results in predictions(model, loader):
        collected.update(batch, results)
    found, readable = collected.compute()
    facts = [*info.facts, _speed(len(readable), started), *left_out(readable, loader.faults)]
    for index in evenly_spaced(len(readable), COPIES):
        _write_copy(copies, readable, index, model.shown(found[index]))
    metric = "voc07" if model.provenance.get("metric") == "voc07" else "voc12"
    report = voc_report(found, readable, metric=metric, size_bands_px=SIZE_BANDS_PX, resamples=SAMPLES)
    return write_detections(target, replace(info, facts=facts), found, readable, report)


def _evaluate_segmenter(
    target: Path, info: PageInfo, model: Predictor[Any, Any], dataset: Dataset, workers: int, copies: Path | None
) -> Path:
    examples, metric = MaskExamples(dataset), MeanIoU(dataset)
    copied = set(evenly_spaced(len(dataset), COPIES))
    started = time.monotonic()
    loader = eval_loader(model, dataset, workers=workers, on_bad="skip")
    for batch, _, results in predictions(model, loader):
        metric.update(batch, results)
        examples.update(batch, results)
        for index, result in zip(batch.indices.tolist(), results, strict=True):
            if index in copied:
                _write_copy(copies, dataset, index, result)
    speed = _speed(len(dataset) - len(loader.faults), started)
    facts = [*info.facts, speed, *left_out(dataset, loader.faults)]
    return write_masks(target, replace(info, facts=facts), examples, metric.compute())


def _write_copy(folder: Path | None, dataset: Dataset, index: int, result: Detections | Segmentation) -> None:
    """Write an annotated copy of an image; its name starts with its index, so that none replaces another."""
    if folder is not None:
        path = dataset.samples[index].image_path
        annotations.write_image(folder / f"{index:05}-{path.stem}.jpg", draw(read_image(path), result))


def left_out(dataset: Dataset, unreadable: Sequence[Fault]) -> list[tuple[str, str]]:
    """Return facts on boxes and images that the reader left out, and on images that could not be read."""
    facts = []
    faulty = refuse_or_list([dataset], "skip")
    for name, faults in (("left out, faulty", faulty), ("left out, not readable", unreadable)):
        where = [fault.file.name if fault.line is None else f"{fault.file.name}:{fault.line}" for fault in faults[:3]]
        if where:
            facts.append((name, f"{len(faults)}: {', '.join(where)}{', …' if len(faults) > 3 else ''}"))
    return facts


def _speed(images: int, started: float) -> tuple[str, str]:
    return "images per second, evaluating", f"{images / max(time.monotonic() - started, 1e-9):.1f}"


def _dataset(
    run: Run | str | Path,
    model: Predictor[Any, Any],
    data: Dataset | SplitChoice | None,
    weights: Path,
) -> tuple[Dataset | None, str | None]:
    """Return the split to evaluate on, if any, and a note about it."""
    note, own = None, data is None  # a run's own data has passed its --on-bad
    if data is None and isinstance(run, Run):
        data = run.val_data
        if data is None and run.train_data is not None:
            indices = evenly_spaced(len(run.train_data), TRAIN_IMAGES)
            data = replace(run.train_data, samples=[run.train_data.samples[index] for index in indices])
            note = (
                f"The run had no validation split. These are the scores on {len(data)} images that it was trained on: "
                "good for finding faulty labels, no measure of how well it does on others."
            )
    if data is None:
        return None, "Nothing was evaluated: the report was made without data."
    if isinstance(data, SplitChoice):
        data, warnings = data.read(model, weights)
        note = " ".join(f"{warning[:1].upper()}{warning[1:]}." for warning in warnings) or None
    else:
        check_classes(model, data)
    unknown = [fault for fault in data.faults if fault.kind == "unknown-class"]
    if unknown and not own:
        message = f"objects of classes that the model does not have: {len(unknown)}; here {unknown[0].message}"
        remedy = "Correct the names, or evaluate on data with the model's classes"
        raise DataError(message, kind="other-classes", remedy=remedy, file=unknown[0].file, line=unknown[0].line)
    return data, note
