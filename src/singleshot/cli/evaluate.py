"""`singleshot evaluate`: scores weights, or another program's results, on a split.

Detections are scored by Pascal VOC's metric or COCO's, masks by mean IoU or KITTI road's MaxF. Detections are
collected; the masks of a split would not fit into memory, so each is scored and written as it comes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from singleshot.cli import outputs, reading
from singleshot.cli.model_options import (
    Backend,
    BatchSize,
    ClassAgnosticNms,
    Device,
    MaxDetections,
    NmsIou,
    Trust,
    nms_changes,
    with_nms,
)
from singleshot.cli.reading import Classes, DataFormat, FollowLinks, MaxPixels, OnBad, Rename, Splits
from singleshot.errors import Fault, UsageError

if TYPE_CHECKING:
    from singleshot.evaluation.coco import CocoReport
    from singleshot.evaluation.maxf import MaxfReport
    from singleshot.evaluation.miou import MiouReport
    from singleshot.evaluation.voc import VocReport
    from singleshot.reporting.pages import PageInfo
    from singleshot.structures import Batch, Dataset, Detections, Segmentation

Metric = Literal["voc07", "voc12", "coco", "miou", "maxf"]
JSON_KEYS = ("metric", "images")


def evaluate(
    data: Annotated[Path, typer.Option(help="Data folder, or a COCO JSON file.")],
    weights: Annotated[
        Path | None, typer.Argument(help="A weights file, an export, a known name, or owner/name on the hub.")
    ] = None,
    detections: Annotated[
        Path | None,
        typer.Option(help="Results of another program: comp3/comp4 files, a COCO result JSON, or a folder of masks."),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="The split to evaluate on; if not given test, else val, else all images.")
    ] = None,
    splits: Splits = None,
    data_format: DataFormat = None,
    classes: Classes = None,
    rename: Rename = None,
    max_pixels: MaxPixels = None,
    follow_links: FollowLinks = False,
    metric: Annotated[
        Metric | None,
        typer.Option(
            help="voc07 (11-point AP), voc12 (area under the curve), coco (AP 50:95), miou, maxf; if not given, the "
            "one by which the weights were chosen."
        ),
    ] = None,
    threshold: Annotated[float | None, typer.Option(help="Drop detections with a lower score.", min=0, max=1)] = None,
    on_bad: OnBad = "fail",
    write_detections: Annotated[
        Path | None, typer.Option(help="Write comp4 files or masks into this folder, or COCO results to a .json.")
    ] = None,
    annotated: Annotated[
        bool,
        typer.Option("--annotated/--not-annotated", help="Whether the split has annotations (test sets may not)."),
    ] = True,
    curves: Annotated[
        Path | None, typer.Option(help="Draw precision-recall curves into this .png, .svg or .pdf.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the results to this file.")] = None,
    report_file: Annotated[
        Path | None,
        typer.Option("--report", help="Write an HTML report to this file; by default next to the weights of a run."),
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes that load images.", min=0)] = 0,
    partial: Annotated[bool, typer.Option("--partial", help="Evaluate although some masks are missing.")] = False,
    backend: Backend = None,
    device: Device = "auto",
    batch_size: BatchSize = None,
    max_detections: MaxDetections = None,
    nms_iou: NmsIou = None,
    class_agnostic_nms: ClassAgnosticNms = None,
    trust: Trust = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")] = False,
) -> None:
    """Score detections by Pascal VOC's metric or COCO's, masks by mean IoU or KITTI road's MaxF."""
    reading.use(max_pixels, follow_links)
    loaded: Any = None
    if metric is None:
        from singleshot.cli import terminal
        from singleshot.evaluation.evaluate import metric_of
        from singleshot.prediction.load import load

        # By which the weights were chosen; voc07 for another program's results.
        if weights is not None:
            with terminal.download(f"fetching {weights}") as observer:
                loaded = load(weights, device=device, backend=backend, trust=trust, observer=observer)
        metric = "voc07" if loaded is None else metric_of(loaded)
    masks = metric in ("miou", "maxf")
    if (weights is None) == (detections is None):
        raise UsageError("give either WEIGHTS or --detections", remedy="See singleshot evaluate --help")
    if detections is not None and (backend is not None or trust):
        raise UsageError("--backend and --trust are for WEIGHTS", remedy="Omit them")
    nms = nms_changes(max_detections, nms_iou, class_agnostic_nms)
    if detections is not None and (device != "auto" or batch_size is not None or nms):
        raise UsageError("--device, --batch-size and the options of NMS are for WEIGHTS", remedy="Omit them")
    if not annotated:
        files = {"--detections": detections, "--json": json_file, "--curves": curves, "--report": report_file}
        _check_not_annotated(files, write_detections)
    if masks and (threshold is not None or curves is not None):
        raise UsageError("--threshold and --curves are for detections", remedy="Omit them")
    if partial and not masks:
        raise UsageError("--partial is for masks", remedy="Omit it")
    if curves is not None and metric == "coco":
        raise UsageError("--curves draws VOC's curves", remedy="Use --metric voc12 with it")
    from singleshot.cli import report, terminal
    from singleshot.data import class_choice, divide, read, split_file
    from singleshot.data.faults import refuse_or_list
    from singleshot.data.orientation import turned_warning
    from singleshot.evaluation.loop import check_classes, eval_loader, predictions
    from singleshot.metrics.curves import draw_precision_recall, image_format
    from singleshot.prediction.load import find_weights, load_detector, load_segmenter

    if curves is not None:
        image_format(curves)
    inputs = (data, weights, detections)
    options = Options(metric, threshold, annotated, on_bad, partial, write_detections, overwrite)
    options.check_outputs(curves, json_file, inputs)
    page = report.target(report_file, weights, split or "test", inputs=inputs, overwrite=overwrite)
    load: Any = load_segmenter if masks else load_detector
    model = loaded
    if weights is not None and loaded is None:
        with terminal.download(f"fetching {weights}") as observer:
            find_weights(weights, observer=observer)
        model = load(weights, device=device, backend=backend, trust=trust)
    model = with_nms(model, nms)
    dataset, warnings = divide.for_evaluation(
        data,
        split,
        weights=weights,
        splits=None if splits is None else split_file.read(splits),
        layout=data_format,
        label_map=None if model is None or masks else model.label_map,
        annotated=annotated,
        with_images=masks or model is not None,
        with_masks=masks,
        choice=class_choice.parse(classes, rename) or None,
    )
    split = dataset.split
    terminal.note(read.describe(dataset))
    for warning in warnings:
        terminal.warn(warning)
    faults = refuse_or_list([dataset], on_bad)
    terminal.warn(turned_warning([dataset]))
    scorer = (MaskScorer if masks else DetectionScorer)(dataset, options, inputs)
    started = time.monotonic()
    if model is not None:
        check_classes(model, dataset)
        loader = eval_loader(model, dataset, batch_size=batch_size, workers=workers, on_bad=on_bad)
        predicted = predictions(model, loader, probabilities=scorer.needs_probabilities)
        for batch, _, results in terminal.track(predicted, "evaluating", len(dataset), lambda each: len(each.batch)):
            scorer.update(batch, results)
        unreadable = loader.faults
    else:
        unreadable = scorer.read(detections or Path())
    seconds = time.monotonic() - started
    result: Any = scorer.compute()
    faults += unreadable
    terminal.warn_left_out(faults)
    if write_detections is not None:
        terminal.show(f"result files: {write_detections}")
    if result is None:
        return
    _show(result, metric)
    if curves is not None:
        draw_precision_recall(result.curves, curves)
    outputs.write_json(json_file, result.as_json() | {"left_out": len(faults)})
    if page is not None:
        title = f"{weights or detections} on {split}"
        info = report.page_info(title, result.images, None if model is None else seconds)
        report.write(lambda: scorer.write_page(page, info, result), requested=report_file is not None)


def _check_not_annotated(files: Mapping[str, Path | None], write_detections: Path | None) -> None:
    """Refuse options that require annotations: without them there are no scores, only result files."""
    remedy = "Without annotations there is only --write-detections, for WEIGHTS"
    for option, file in files.items():
        if file is not None:
            raise UsageError(f"--not-annotated does not go with {option}", remedy=remedy)
    if write_detections is None:
        raise UsageError("--not-annotated without --write-detections gives nothing", remedy=remedy)


def _show(report: Any, metric: Metric) -> None:
    """Print the scores, and notes on how they were obtained."""
    from singleshot.cli import terminal
    from singleshot.evaluation import coco, maxf, miou, voc

    if metric == "miou":
        terminal.show(miou.miou_table(report))
        terminal.warn(miou.absent_note(report))
        terminal.warn(miou.instances_note(report))
    elif metric == "maxf":
        terminal.show(maxf.maxf_table(report))
        terminal.warn(maxf.plane_note(report))
    else:
        if metric == "coco":
            terminal.warn(coco.cut_warning(report))
        terminal.show(coco.coco_table(report) if metric == "coco" else voc.voc_table(report))
        bounds = None if metric == "coco" else report.map_interval
        terminal.show(voc.map_line(metric, report.map, report.images, bounds))


@dataclass(frozen=True)
class Options:
    """The options of `evaluate` with these names that a scorer needs."""

    metric: Metric
    threshold: float | None
    annotated: bool
    on_bad: Literal["fail", "skip"]
    partial: bool
    write_detections: Path | None
    overwrite: bool

    @property
    def coco_file(self) -> Path | None:
        """The file for COCO results, if `--write-detections` names one; else it names a folder."""
        target = self.write_detections
        return target if target is not None and target.suffix.lower() == ".json" else None

    def check_outputs(self, curves: Path | None, json_file: Path | None, inputs: Sequence[Path | None]) -> None:
        """Refuse outputs that cannot be written, before anything is read. Raises as `outputs.check` does."""
        from singleshot.data.masks import results as mask_results

        masks, overwrite = self.metric in ("miou", "maxf"), self.overwrite
        files = (curves,) if masks else (curves, self.coco_file)
        outputs.check(*files, json_file=json_file, json_keys=JSON_KEYS, inputs=inputs, overwrite=overwrite)
        if self.write_detections is None:
            return
        if masks:
            mask_results.check_target(self.write_detections, overwrite=overwrite)
        elif self.coco_file is None:
            outputs.check_folder(self.write_detections)


class DetectionScorer:
    """Collects the detections of a split, then writes and scores them.

    Args:
        dataset: the split.
        options: metric, threshold and result files.
        inputs: files and folders that the command reads.

    Raises:
        UsageError, CannotCreateError: a result file exists, or is an input.
    """

    needs_probabilities = False

    def __init__(self, dataset: Dataset, options: Options, inputs: Sequence[Path | None]) -> None:
        from singleshot.data.boxes import results as box_results
        from singleshot.evaluation.voc import CollectDetections

        self._dataset, self._options = dataset, options
        self._collected = CollectDetections(dataset)
        self._found: list[Detections] | None = None
        if options.write_detections is not None and options.coco_file is None:
            files = box_results.paths_in(options.write_detections, dataset)
            outputs.check(*files, inputs=inputs, overwrite=options.overwrite)

    def update(self, batch: Batch[Any], results: Sequence[Detections]) -> None:
        """Add the detections of a batch."""
        self._collected.update(batch, results)

    def read(self, path: Path) -> list[Fault]:
        """Read another program's results instead. Raises what the readers raise; returns no faults."""
        from singleshot.cli import terminal
        from singleshot.data.boxes import results as box_results

        if path.suffix.lower() == ".json":
            self._found = box_results.read_coco(path, self._dataset)
            terminal.warn(box_results.coverage_warning(self._found, self._dataset))
        else:
            self._found = box_results.read_voc(path, self._dataset)
        return []

    def compute(self) -> VocReport | CocoReport | None:
        """Write the result files, and return the scores; None without annotations."""
        from singleshot.cli import terminal
        from singleshot.data.boxes import results as box_results
        from singleshot.evaluation.coco import coco_report
        from singleshot.evaluation.voc import SIZE_BANDS_PX, threshold_warning, voc_report
        from singleshot.metrics.bootstrap import SAMPLES

        options = self._options
        if self._found is None:
            self._found, self._dataset = self._collected.compute()
        if options.threshold is not None:
            self._found = [each.above(options.threshold) for each in self._found]
            terminal.warn(threshold_warning(options.threshold))
        if options.write_detections is not None:
            write = box_results.write_voc if options.coco_file is None else box_results.write_coco
            write(self._found, self._dataset, options.write_detections, overwrite=options.overwrite)
        if not options.annotated:
            return None
        if options.metric == "coco":
            return coco_report(self._found, self._dataset)
        metric: Any = options.metric
        return voc_report(self._found, self._dataset, metric=metric, size_bands_px=SIZE_BANDS_PX, resamples=SAMPLES)

    def write_page(self, path: Path, info: PageInfo, report: Any) -> Path:
        """Write the HTML report. It always has VOC's scores."""
        from singleshot.evaluation.voc import SIZE_BANDS_PX, voc_report
        from singleshot.reporting.pages import write_detections

        found = self._found or []
        if self._options.metric != "coco":
            return write_detections(path, info, found, self._dataset, report)
        voc = voc_report(found, self._dataset, metric="voc12", size_bands_px=SIZE_BANDS_PX)
        return write_detections(path, info, found, self._dataset, voc, report)


class MaskScorer:
    """Scores and writes the masks of a split one by one.

    Args:
        dataset: the split.
        options: metric and result files.

    Raises:
        DataError: images have no masks, or the classes do not suit the metric.
    """

    def __init__(self, dataset: Dataset, options: Options, _inputs: Sequence[Path | None]) -> None:
        from singleshot.evaluation.evaluate import metric_for
        from singleshot.reporting.masks import MaskExamples

        self._dataset, self._options = dataset, options
        self._metric: Any = metric_for(options.metric, dataset) if options.annotated else None
        self._examples = MaskExamples(dataset)
        self.needs_probabilities = options.metric == "maxf" or dataset.layout == "kitti_road"

    def update(self, batch: Batch[Any], results: Sequence[Segmentation]) -> None:
        """Score and write the masks of a batch."""
        if self._metric is not None:
            self._metric.update(batch, results)
            self._examples.update(batch, results)
        for index, result in zip(batch.indices.tolist(), results, strict=True):
            self._write(index, result.class_ids, result.probabilities)

    def read(self, path: Path) -> list[Fault]:
        """Score another program's masks instead; returns the faults of images that are left out."""
        from singleshot.cli import terminal
        from singleshot.data.masks import results as mask_results
        from singleshot.evaluation.evaluate import masks_from_files

        options, faults = self._options, []
        files = mask_results.find(path, self._dataset, partial=options.partial)
        terminal.warn(mask_results.coverage(files))
        metric: Any = options.metric
        items = masks_from_files(files, self._dataset, metric=metric, on_bad=options.on_bad)
        for item in terminal.track(items, "evaluating", len(self._dataset)):
            if isinstance(item, Fault):
                faults.append(item)
                continue
            self._metric.add(item.index, item.truth, item.values)
            if options.metric == "miou":
                self._examples.add(item.index, item.truth, item.values)
            self._write(item.index, item.values, None)
        return faults

    def compute(self) -> MiouReport | MaxfReport | None:
        """Return the scores; None without annotations."""
        return None if self._metric is None else self._metric.compute()

    def write_page(self, path: Path, info: PageInfo, report: Any) -> Path:
        """Write the HTML report."""
        from singleshot.reporting.pages import write_masks

        return write_masks(path, info, self._examples, report)

    def _write(self, index: int, class_ids: Any, probabilities: Any) -> None:
        """Write one image's result for the official server; for KITTI road also in bird's-eye view, if possible."""
        from singleshot.data.masks import files as mask_files
        from singleshot.data.masks import results as mask_results
        from singleshot.evaluation.maxf import for_server
        from singleshot.metrics.road_maxf import ROAD
        from singleshot.storage import atomic

        folder, sample = self._options.write_detections, self._dataset.samples[index]
        if folder is None:
            return
        if self._dataset.layout != "kitti_road" or probabilities is None:
            mask_results.write(folder, self._dataset, sample, class_ids)
            return
        name = mask_results.result_name(self._dataset, sample)
        in_image, birds_eye_view = for_server(probabilities[ROAD], sample.image_path)
        if birds_eye_view is None:
            atomic.write_bytes(folder / name, mask_files.encode(in_image))
        else:
            atomic.write_bytes(folder / mask_results.IN_PICTURE / name, mask_files.encode(in_image))
            atomic.write_bytes(folder / name, mask_files.encode(birds_eye_view))
