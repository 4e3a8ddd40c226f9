"""`singleshot predict` with a segmenter: overlays with a legend, and masks as numbers, colours or probabilities."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from singleshot import durable
from singleshot.errors import DataError, InputMissingError, NotPermittedError, SingleshotError, StorageError, UsageError

if TYPE_CHECKING:
    from singleshot.prediction.segmenter import Segmenter
    from singleshot.structures import Segmentation

KINDS = ("ids", "colours", "probability")


def predict_masks(
    segmenter: Segmenter,
    files: Sequence[Path],
    *,
    out: Path | None,
    save: Iterable[str],
    json_file: Path | None,
    overwrite: bool,
) -> None:
    """Give every pixel of some pictures a class, and write what was asked for.

    Args:
        segmenter: the segmenter.
        files: pictures.
        out: the folder for overlays, `<stem>.jpg` or `.png`, and for what `save` names; None draws nothing.
        save: of `KINDS`: `<stem>_ids.png` (class ids), `<stem>_colours.png` (class colours) and
            `<stem>_probability.png` (grey, 0…255: of the second of two classes, else of the class that won).
        json_file: the share of each class in each picture.
        overwrite: replace files that are there.

    Raises:
        UsageError: an unknown kind, or `save` without `out`.
        CannotCreateError: a file is there already.
        typer.Exit: with the error's code, after all others were done, where a picture could not be read.
    """
    from singleshot import pictures
    from singleshot.cli import outputs, progress
    from singleshot.drawing import draw
    from singleshot.prediction import sinks

    kinds = tuple(save)
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise UsageError(f"a segmenter cannot save {', '.join(unknown)}", remedy=f"Known are {', '.join(KINDS)}")
    if kinds and out is None:
        raise UsageError("--save needs a folder", remedy="Give --out DIR")
    copies = sinks.targets(files, out) if out is not None else {}
    targets = [path for copy in copies.values() for path in (copy, *(beside(copy, kind) for kind in kinds))]
    outputs.check(*targets, inputs=files, overwrite=overwrite)
    rows: list[dict[str, Any]] = []
    failures: list[SingleshotError] = []
    with progress.bar("pictures", len(files)) as advance:
        for done, file in enumerate(files, start=1):
            try:
                image = pictures.read(file)
            except (DataError, InputMissingError, NotPermittedError, StorageError) as error:
                failures.append(error)
                progress.warn(str(error))
                rows.append({"file": str(file), "error": str(error)})
                continue
            found = segmenter.predict(image, probabilities="probability" in kinds)
            rows.append({"file": str(file), "size_hw": list(found.size_hw), "shares": found.shares()})
            if file in copies:
                sinks.write_picture(copies[file], draw(image, found))
                for kind in kinds:
                    durable.write_bytes(beside(copies[file], kind), encoded(found, kind))
            advance(done)
            said = ", ".join(f"{name} {share:.0%}" for name, share in sorted(found.shares().items(), key=_less))
            progress.out.print(f"{file}: {said}", soft_wrap=True, markup=False)
    if json_file is not None:
        facts = {"classes": list(segmenter.label_map.names), "pictures": rows}
        durable.write_text(json_file, json.dumps(facts, indent=2) + "\n")
    if failures:
        progress.warn(f"{len(failures)} of {len(files)} pictures could not be read")
        raise typer.Exit(max(error.exit_code for error in failures))


def beside(copy: Path, kind: str) -> Path:
    """The mask of a kind beside an overlay.

    >>> str(beside(Path("out/street.jpg"), "ids"))
    'out/street_ids.png'
    """
    return copy.with_name(f"{copy.stem}_{kind}.png")


def encoded(found: Segmentation, kind: str) -> bytes:
    """A segmentation as the bytes of a PNG of that kind."""
    from singleshot.data.label_maps import mask_files
    from singleshot.drawing import class_colour_picture
    from singleshot.metrics.road_maxf import ROAD, as_values

    if kind == "ids":
        return mask_files.encode(found.class_ids)
    if kind == "colours" or found.probabilities is None:
        return mask_files.encode(class_colour_picture(found))
    chances = found.probabilities[ROAD] if len(found.class_names) == 2 else found.probabilities.max(axis=0)
    return mask_files.encode(as_values(chances))


def _less(row: tuple[str, float]) -> float:
    return -row[1]
