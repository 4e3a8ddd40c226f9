"""`singleshot predict`: detections or segmentations of images, videos, cameras and streams, drawn and saved."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

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
from singleshot.cli.reading import MaxPixels
from singleshot.errors import DataError, SingleshotError, UsageError

if TYPE_CHECKING:
    from singleshot.cli.predict_outputs import Outputs, VideoRow
    from singleshot.prediction.frames import ImageResult
    from singleshot.prediction.network_camera import Address
    from singleshot.prediction.predictor import Predictor
    from singleshot.prediction.stream import StreamOptions
    from singleshot.prediction.video_reader import VideoReader
    from singleshot.prediction.video_writer import VideoWriter


class PredictCommand(TyperCommand):
    """The command, with `--save ndjson -` understood as it is written: the dash is its target, not a source."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See the base class."""
        kept: list[str] = []
        for place, each in enumerate(args):
            before = args[max(0, place - 2) : place]
            before = before if before[:1] == ["--save"] else before[-1:]
            option, _, kinds = "=".join(before).partition("=")
            if not (each == "-" and option == "--save" and "ndjson" in kinds.split(",")):
                kept.append(each)
        return super().parse_args(ctx, kept)


def predict(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="[WEIGHTS] SOURCES...",
            help="A weights file, an export, a known name, or owner/name on the hub; without one, the detector "
            "everyday. Then images, videos, folders, glob patterns, the number of a camera, the address of a stream, "
            "or - for an image on standard input.",
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Write annotated copies into this folder.")] = None,
    threshold: Annotated[
        str | None,
        typer.Option(help="Lowest score to show, by default the model's own; also by class: 0.5,car=0.3."),
    ] = None,
    classes: Annotated[str | None, typer.Option(help="Show only these classes: car,person.")] = None,
    save: Annotated[
        str | None,
        typer.Option(
            help="Files for --out: json,csv,voc,yolo,coco,labelme,labelstudio,cvat; of a segmenter ids,colours,"
            "probability. Or ndjson -: a line of JSON for each image or frame on standard output."
        ),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all results to this file.")] = None,
    tiles: Annotated[
        bool, typer.Option("--tiles", help="Detect in overlapping tiles of large images as well.")
    ] = False,
    tile_size: Annotated[
        int | None, typer.Option(help="Side of a tile in pixels; by default that of the network input.", min=32)
    ] = None,
    max_pixels: MaxPixels = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", help="Use images and videos in subfolders of folders too.")
    ] = False,
    track: Annotated[bool, typer.Option("--track", help="Track objects through videos: each has a number.")] = False,
    allow_network: Annotated[
        bool, typer.Option("--allow-network", help="Read live streams from addresses: rtsp://… or http://….")
    ] = False,
    engine: Annotated[
        str | None, typer.Option(help="For very many images: ray (a cluster) or process. Resumes where it stopped.")
    ] = None,
    font: Annotated[
        Path | None, typer.Option(help="Font file for labels, for scripts that DejaVu Sans lacks; or SINGLESHOT_FONT.")
    ] = None,
    backend: Backend = None,
    device: Device = "auto",
    batch_size: BatchSize = None,
    max_detections: MaxDetections = None,
    nms_iou: NmsIou = None,
    class_agnostic_nms: ClassAgnosticNms = None,
    bf16: Annotated[bool, typer.Option("--bf16", help="Compute in bfloat16 (torch, openvino).")] = False,
    trust: Trust = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only warnings and errors.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")] = False,
) -> None:
    """Detect objects in images and videos, or with a segmenter assign a class to every pixel.

    An unreadable image is reported, the others are processed, and the exit code shows it. Of a damaged video every
    readable frame is used. Ctrl-C leaves a playable video.
    """
    from singleshot import fonts
    from singleshot.cli import reading, terminal
    from singleshot.cli.predict_arguments import model_line, weights_and_sources
    from singleshot.prediction import choosing
    from singleshot.starts.shipped import EVERYDAY

    fonts.use(font)
    reading.use(max_pixels, False)
    named, sources = weights_and_sources(arguments)
    weights = Path(named or EVERYDAY)
    with contextlib.ExitStack() as stack:
        stack.enter_context(terminal.quiet(quiet))
        thresholds = None if threshold is None else choosing.parse_threshold(threshold)
        if engine is not None:
            from singleshot.cli.predict_bulk import predict_bulk

            given = {"--save": save, "--json": json_file, "--tiles": tiles, "--tile-size": tile_size, "--track": track}
            given |= {"--backend": backend, "--bf16": bf16, "--trust": trust, "--batch-size": batch_size}
            given |= {"--device": None if device == "auto" else device, "--max-detections": max_detections}
            nms_option = "--per-class-nms" if class_agnostic_nms is False else "--class-agnostic-nms"
            given |= {"--nms-iou": nms_iou, nms_option: class_agnostic_nms is not None}
            if named is None:
                terminal.note(f"model: {EVERYDAY}")
            _refuse(given, "--engine writes only detections.json into --out, without", "Omit it")
            names = _split(classes)
            predict_bulk(
                weights,
                sources,
                engine=engine,
                out=out,
                thresholds=thresholds,
                classes=names,
                recursive=recursive,
                overwrite=overwrite,
            )
            return
        from singleshot.cli.predict_outputs import open_outputs, plan
        from singleshot.prediction.annotations import KINDS, NDJSON
        from singleshot.prediction.frames import ImageResult
        from singleshot.prediction.image_reader import ImageReader
        from singleshot.prediction.load import load
        from singleshot.prediction.predict_files import predict_images
        from singleshot.prediction.sources import resolve
        from singleshot.prediction.stream import StreamOptions
        from singleshot.prediction.tiles import Tiling

        found = resolve(sources, recursive=recursive, allow_network=allow_network)
        terminal.warn(found.warning())
        if found.videos or found.streams:
            from singleshot.prediction.video_reader import import_av

            import_av()
        kinds = list(dict.fromkeys(_split(save) or []))
        # Whether it is a segmenter is known only after loading, which comes after the checks of the outputs.
        detection_kinds = [kind for kind in kinds if kind in KINDS]
        targets = plan(found, weights, detection_kinds, out=out, json_file=json_file, overwrite=overwrite)
        # The process that reads images starts while the weights are loaded.
        reader = stack.enter_context(ImageReader()) if found.images else None
        with terminal.download(f"fetching {weights}") as observer:
            options = {"backend": backend, "bf16": bf16, "trust": trust, "fold": True}
            model: Any = load(weights, device=device, observer=observer, **options)
        model = with_nms(model, nms_changes(max_detections, nms_iou, class_agnostic_nms))
        if named is None:
            terminal.note(model_line(len(model.label_map), model.display_thresholds))
        videos = found.moving
        if model.task == "segmentation":
            given = {"--threshold": threshold, "--classes": classes, "--tiles": tiles, "--tile-size": tile_size}
            _refuse(given | {"--track": track}, "a segmenter has no", "Omit it, or give a detector's weights")
            if found.images and videos:
                raise UsageError("images and videos together", remedy="Give a segmenter one of both")
            if videos and any(kind != NDJSON for kind in kinds):
                raise UsageError("--save of masks is for images", remedy="Omit it: the video shows the classes")
            model = replace(model, with_probabilities=True) if "probability" in kinds else model
            facts: dict[str, Any] = {"classes": list(model.label_map.names)}
            options = StreamOptions(drawing=out is not None, batch_size=batch_size)
        else:
            if track and not videos:
                terminal.warn("--track has no effect on images: it numbers objects through a video, camera or stream")
            chosen = model.choice(thresholds, _split(classes))
            stored = choosing.stored_table(model.label_map, model.display_thresholds)
            table = stored if thresholds is None else thresholds
            facts = {"threshold": table[""] if set(table) == {""} else table}
            side_hw = (tile_size, tile_size) if tile_size else model.input_size_hw
            tiling = Tiling(side_hw) if tiles or tile_size else None
            options = StreamOptions(chosen, tiling, track, out is not None, batch_size)
        outputs = stack.enter_context(open_outputs(targets, model, kinds, facts))
        if reader is not None:
            results = predict_images(model, found.images, options, reader)
            empty = 0
            for item in terminal.track(results, "images", len(found.images)):
                outputs.add_image(item)
                empty += isinstance(item, ImageResult) and not item.result.classes()
            least_shown = facts.get("threshold")  # a segmenter has none
            if empty and thresholds is None and least_shown is not None:
                least = f"a score of {least_shown:g}" if isinstance(least_shown, float) else "the stored scores"
                terminal.note(f"nothing from {least} on in {empty} of {len(found.images)} images; see --threshold")
            if out is not None:
                terminal.note(f"drawn copies: {out}")
        stopped = False
        for source in videos:
            try:
                row = predict_video(model, options, source, outputs)
            except DataError as error:
                outputs.add_unreadable_video(source, error)
                continue
            outputs.add_video(row)
            # Ctrl-C is the only way to end a camera or stream; anywhere else something is left undone.
            stopped = row.stopped
            if stopped and (isinstance(source, Path) or source is not videos[-1]):
                raise KeyboardInterrupt
    failed = len(outputs.sinks.errors)
    if failed:
        what = "could not be read completely" if videos else f"of {len(found.images)} images could not be read"
        terminal.warn(f"{failed} {what}")
    if stopped:
        raise KeyboardInterrupt
    if failed:
        raise typer.Exit(outputs.sinks.exit_code)


def predict_video(
    predictor: Predictor[Any, Any], options: StreamOptions, source: Path | int | Address, outputs: Outputs
) -> VideoRow:
    """Predict the frames of a video, camera or stream, until its end or Ctrl-C, and save them as they come.

    Args:
        predictor: the model.
        options: what to do with each frame.
        source: a video file, the number of a camera, or the address of a stream.
        outputs: take each frame's result. After damage or Ctrl-C the drawn copy keeps a name that marks it as partial;
            Ctrl-C is the normal end of a camera or stream.

    Raises:
        DataError: no frame can be read. Later damage is not raised but returned as the row's `error`.
        UnreachableError: a stream does not answer.
        ConfigError, CannotCreateError, NotPermittedError, StorageError: the copy cannot be written.
    """
    from singleshot.cli import terminal
    from singleshot.cli.predict_outputs import VideoRow
    from singleshot.prediction.predict_files import VideoPrediction

    row, target, complete = VideoRow(source), outputs.targets.videos.get(source), False
    with contextlib.ExitStack() as stack:
        video = stack.enter_context(
            contextlib.closing(VideoPrediction(predictor, source, options, on_event=terminal.warn))
        )
        copy = None if target is None else VideoCopy(target, video.reader)
        reader = video.reader
        advance = stack.enter_context(terminal.frames_bar(row.file, reader.expected if reader else None))
        try:
            for item in video:
                if copy is not None:
                    copy.write(item)
                outputs.add_frame(row, item)
                advance(row.frame_count)
            row.error = video.fault()
            complete = row.error is None
        except KeyboardInterrupt:
            row.stopped, complete = True, reader is None
        finally:
            video.close()
            if copy is not None:
                path = copy.close(complete=complete)
                if path is not None and not complete:
                    terminal.warn(f"{path}: {copy.written} frames, not the whole video")
        row.stage_times = video.stage_table(*([] if copy is None else [copy.times]))
        row.seconds = video.seconds
    for note in [*(reader.notes if reader else ()), *(copy.notes if copy else ())]:
        terminal.warn(f"{row.file}: {note}")
    return row


class VideoCopy:
    """Writes the drawn frames of a video. It is opened at once if the frame size is known, for a camera later.

    Args:
        target: the file.
        reader: of the original, whose rate, pixel aspect and sound are kept; None for a camera.

    Attributes:
        times: spent on encoding.
    """

    def __init__(self, target: Path, reader: VideoReader | None) -> None:
        from singleshot.prediction.backends.host import cores
        from singleshot.prediction.stages import Times
        from singleshot.prediction.video_writer import VideoWriter

        self._target, self._threads, self.times = target, max(1, cores() // 2), Times("encode")
        self._writer: VideoWriter | None = None
        if reader is not None:
            self._writer = VideoWriter(
                target,
                reader.size_hw,
                rate=reader.rate,
                pixel_aspect=reader.pixel_aspect,
                sound_from=reader.path,
                threads=self._threads,
            )

    def write(self, item: ImageResult) -> None:
        """Write a drawn frame."""
        from singleshot.prediction.video_writer import VideoWriter

        if item.drawn is None:
            return
        start, cpu = time.perf_counter(), time.thread_time()
        if self._writer is None:
            self._writer = VideoWriter(self._target, item.frame.size_hw, threads=self._threads)
        self._writer.write(item.drawn, item.frame.time or Fraction(0), item.frame.duration)
        self.times.add(time.perf_counter() - start, time.thread_time() - cpu, 0.0)

    @property
    def written(self) -> int:
        """Number of frames in the file."""
        return 0 if self._writer is None else self._writer.written

    @property
    def notes(self) -> list[str]:
        """What could not be kept of the original."""
        return [] if self._writer is None else self._writer.notes

    def close(self, *, complete: bool) -> Path | None:
        """Finish the file and return its path; None if nothing was written.

        Of an incomplete file errors are suppressed: another error ended it and is reported.
        """
        if self._writer is None:
            return None
        if complete:
            return self._writer.close()
        with contextlib.suppress(SingleshotError):
            return self._writer.close(whole=False)
        return None


def _refuse(given: Mapping[str, object], message: str, remedy: str) -> None:
    """Refuse options that would have no effect. Raises UsageError with the first that was given."""
    for name, value in given.items():
        if value is not None and value is not False:
            raise UsageError(f"{message} {name}", remedy=remedy)


def _split(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]
