"""`singleshot.report`: one page that shows how a training went and what the detector, or segmenter, does wrong.

    singleshot.report("runs/mine", data="my-data")      →  runs/mine/report.html

`singleshot train` writes it for every run, `singleshot evaluate` with `--report`. Whatever makes the figures hands
them over here; the page itself is put together from the parts beside this file.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from singleshot.data import read
from singleshot.data.faults import refuse_or_list
from singleshot.drawing import draw
from singleshot.errors import DataError, Fault, InputMissingError
from singleshot.evaluation.evaluate import detect_readable
from singleshot.evaluation.judge import SIZE_BANDS_PX, judge
from singleshot.evaluation.judge_masks import counted
from singleshot.evaluation.miou import MiouJudge
from singleshot.evaluation.segment import segment
from singleshot.images import read_image
from singleshot.prediction import annotations
from singleshot.prediction.load import load
from singleshot.prediction.predictor import Detector, Segmenter
from singleshot.reporting import page, training_part
from singleshot.reporting.masks_part import MaskWatch
from singleshot.reporting.pages import ERRORS_AT, Story, no_judgement, write_detections, write_masks
from singleshot.structures import Dataset, Detections, Segmentation, evenly_spaced
from singleshot.training.run import Run

LEARNED_FROM = 200
"""Pictures of the training split that are judged where there are no others."""
PICTURES = 8
"""Annotated copies that are left in the run's folder."""


def report(
    run: Run | str | Path,
    *,
    data: Dataset | str | Path | None = None,
    split: str = "val",
    data_format: str | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    workers: int = 0,
) -> Path:
    """Write the report of a training run, and into its folder a few annotated pictures too (`pictures/`).

    Args:
        run: what `singleshot.train` returned, or a run's folder.
        data: what to judge by: a split, or a data folder. None takes the run's own validation split, and where it had
            none some of the pictures it learned from, which the page then says in large letters. For a folder there is
            neither: without data the page shows the training alone.
        split: the list to judge by, where `data` is a folder.
        data_format: its layout; None to find out.
        out: where to write; None for `report.html` in the run's folder.
        overwrite: replace a file that is there. A report of ours is always replaced.
        workers: processes that read pictures.

    Returns:
        The file.

    Raises:
        InputMissingError: there is no such run.
        CannotCreateError: something else is there.
        DataError, InputMissingError: as readers say.
        DataError: `data` has other classes than the model, or its annotations name one that the model does not know.

    What is left out, because it is faulty or cannot be read, is listed on the page.
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
    dataset, warning = _dataset(run, model, data, split, data_format)
    log = training_part.read_log(folder / "log.csv")
    story = Story(
        f"Training run {folder.name}",
        str(model.provenance.get("command", "")),
        [*_origin(model.provenance), *training_part.speed(log)],
        log,
        warning,
    )
    if dataset is None:
        return no_judgement(target, story)
    if isinstance(model, Segmenter):
        return _of_segmenter(target, story, model, dataset, workers, copies)
    started = time.monotonic()
    found, dataset, faults = detect_readable(model, dataset, on_bad="skip", workers=workers)
    spent = [_speed(len(dataset), started), *_left_out(dataset, faults)]
    for place in evenly_spaced(len(dataset), PICTURES if copies else 0):
        _leave(copies, dataset, place, found[place].above(ERRORS_AT))
    metric = str(model.provenance.get("metric", "voc12"))
    figures = judge(found, dataset, metric="voc07" if metric == "voc07" else "voc12", size_bands_px=SIZE_BANDS_PX)
    return write_detections(target, replace(story, facts=[*story.facts, *spent]), found, dataset, figures)


def _of_segmenter(
    target: Path, story: Story, model: Segmenter, dataset: Dataset, workers: int, copies: Path | None
) -> Path:
    watch, counts = MaskWatch(dataset), MiouJudge(dataset)
    shown = set(evenly_spaced(len(dataset), PICTURES if copies else 0))
    started = time.monotonic()
    faults: list[Fault] = []
    answers = segment(model, dataset, workers=workers, on_bad="skip", on_skipped=faults.append)
    for seen in counted(counts, answers):
        if seen.truth is not None:
            watch.count(seen.index, seen.truth, seen.class_ids)
        if seen.index in shown:
            _leave(copies, dataset, seen.index, model.segmentation(seen.class_ids))
    spent = [_speed(len(dataset) - len(faults), started), *_left_out(dataset, faults)]
    story = replace(story, facts=[*story.facts, *spent])
    return write_masks(target, story, watch, counts.report())


def _leave(folder: Path | None, dataset: Dataset, place: int, found: Detections | Segmentation) -> None:
    """An annotated copy of a picture in the run's folder; its stem is its place too, so that none covers another."""
    if folder is not None:
        image = read_image(dataset.samples[place].image_path)
        name = f"{place:05}-{dataset.samples[place].image_path.stem}.jpg"
        annotations.write_image(folder / name, draw(image, found))


def _left_out(dataset: Dataset, unread: Sequence[Fault]) -> list[tuple[str, str]]:
    """What the page says of boxes and pictures that the reader left out, and of pictures that could not be read."""
    said = []
    for name, faults in (("left out, faulty", refuse_or_list([dataset], "skip")), ("left out, not readable", unread)):
        places = [fault.file.name if fault.line is None else f"{fault.file.name}:{fault.line}" for fault in faults[:3]]
        if places:
            said.append((name, f"{len(faults)}: {', '.join(places)}{', …' if len(faults) > 3 else ''}"))
    return said


def _speed(images: int, started: float) -> tuple[str, str]:
    return "pictures a second, judging", f"{images / max(time.monotonic() - started, 1e-9):.1f}"


def _dataset(
    run: Run | str | Path,
    model: Detector | Segmenter,
    data: Dataset | str | Path | None,
    split: str,
    data_format: str | None,
) -> tuple[Dataset | None, str | None]:
    """What to judge by, and what to say about it."""
    warning, own = None, data is None  # a run's own data was let pass by its --on-bad
    if data is None and isinstance(run, Run):
        data = run.val_data
        if data is None and run.train_data is not None:
            places = evenly_spaced(len(run.train_data), LEARNED_FROM)
            data = replace(run.train_data, samples=[run.train_data.samples[place] for place in places])
            warning = (
                f"The run had no validation split. What follows is of {len(data)} pictures that it learned from: good "
                "for finding faulty labels, no measure of how well it does on others."
            )
    if data is None:
        return None, "Nothing was judged: the report was made without data."
    if not isinstance(data, Dataset):
        masks = isinstance(model, Segmenter)
        label_map = None if masks else model.label_map
        data = read.read(Path(data), split, layout=data_format, label_map=label_map, with_masks=masks)
    if data.label_map != model.label_map:
        theirs, ours = ", ".join(data.label_map.names), ", ".join(model.label_map.names)
        remedy = "Judge on data with the same classes"
        what = f"the split's classes are {theirs}, the model's {ours}"
        raise DataError(what, kind="other-classes", remedy=remedy, file=data.root)
    unknown = [fault for fault in data.faults if fault.kind == "unknown-class"]
    if unknown and not own:
        what = f"objects of classes that the model does not know: {len(unknown)}; here {unknown[0].message}"
        remedy = "Correct the names, or judge on data with the model's classes"
        raise DataError(what, kind="other-classes", remedy=remedy, file=unknown[0].file, line=unknown[0].line)
    return data, warning


def _origin(provenance: Mapping[str, Any]) -> list[tuple[str, object]]:
    """What the weights file says of its own making."""
    names = {"data": "learned from", "split": "split", "images": "pictures to learn from", "date": "begun"}
    return [(said, str(provenance[name])) for name, said in names.items() if name in provenance]
