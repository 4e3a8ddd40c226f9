"""`singleshot predict` on pictures: drawn copies, a line for each, and the ones that could not be read named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from singleshot.errors import SingleshotError
from singleshot.prediction import sinks
from singleshot.prediction.annotation_files import AnnotationFile, frame_facts
from singleshot.prediction.frames import ImageError, ImageResult
from singleshot.prediction.picture_process import PictureProcess
from singleshot.prediction.predictor import Detector
from singleshot.prediction.stream import StreamOptions, pipeline, results
from singleshot.structures import Detections


def look(
    detector: Detector,
    options: StreamOptions,
    pictures: Sequence[Path],
    reading: PictureProcess,
    *,
    copies: Mapping[Path, Path],
    files: Sequence[AnnotationFile] = (),
    names: Mapping[Path, str] | None = None,
    rows: list[dict[str, Any]],
    failures: list[SingleshotError],
) -> None:
    """Look at pictures one after the other; one that cannot be read is named, and the rest go on.

    Args:
        detector: the model.
        options: what to do with each.
        pictures: their files.
        reading: what reads them.
        copies: where the drawn copy of each goes.
        files: take what was seen.
        names: what each picture's own files are called; its stem where it is not in there.
        rows: gets a row for each picture as it is done, for `--json`.
        failures: gets what went wrong.
    """
    from singleshot.cli import terminal

    # One at a time and one waiting: pictures may be large, and a person watches the lines come.
    stages = pipeline(detector, reading.frames(pictures), replace(options, batch_size=1), depth=1)
    with terminal.bar("pictures", len(pictures)) as advance:
        for done, seen in enumerate(results(stages), start=1):
            if isinstance(seen, ImageResult) and seen.drawn is not None:
                sinks.write_picture(copies[Path(seen.source)], seen.drawn)
            if isinstance(seen, ImageError):
                failures.append(seen.error)
                terminal.warn(str(seen.error))
                rows.append({"file": seen.source, "error": str(seen.error)})
            elif isinstance(seen.result, Detections):
                found = seen.result
                rows.append({"file": seen.frame.source, **frame_facts(seen), "detections": found.as_json()})
                for file in files:
                    file.add(seen, found, (names or {}).get(Path(seen.frame.source), seen.frame.name))
                said = ", ".join(f"{row['class']} {row['score']:.2f}" for row in found.as_json()) or "nothing"
                terminal.show(f"{seen.frame.source}: {said}")
            advance(done)
