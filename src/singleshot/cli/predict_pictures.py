"""`singleshot predict` on pictures: drawn copies, a line for each, and the ones that could not be read named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from singleshot.errors import SingleshotError
from singleshot.prediction import annotations
from singleshot.prediction.annotations import Sink, result_row
from singleshot.prediction.frames import ImageError, ImageResult
from singleshot.prediction.image_reader import ImageReader
from singleshot.prediction.predict_files import predict_images
from singleshot.prediction.predictor import Detector
from singleshot.prediction.stream import StreamOptions
from singleshot.structures import Detections


def look(
    detector: Detector,
    options: StreamOptions,
    pictures: Sequence[Path],
    reading: ImageReader,
    *,
    copies: Mapping[Path, Path],
    files: Sequence[Sink] = (),
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

    with terminal.bar("pictures", len(pictures)) as advance:
        for done, seen in enumerate(predict_images(detector, pictures, options, reading), start=1):
            if isinstance(seen, ImageResult) and seen.drawn is not None:
                annotations.write_image(copies[Path(seen.source)], seen.drawn)
            if isinstance(seen, ImageError):
                failures.append(seen.error)
                terminal.warn(str(seen.error))
                rows.append({"file": seen.source, "error": str(seen.error)})
            elif isinstance(seen.result, Detections):
                found = seen.result
                rows.append(result_row(seen))
                for file in files:
                    file.add(seen, (names or {}).get(Path(seen.frame.source), seen.frame.name))
                said = ", ".join(f"{row['class']} {row['score']:.2f}" for row in found.as_json()) or "nothing"
                terminal.show(f"{seen.frame.source}: {said}")
            advance(done)
