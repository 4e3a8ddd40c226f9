"""`singleshot predict` with a segmenter: overlays with a legend, and masks as numbers, colours or probabilities."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from singleshot.errors import SingleshotError, UsageError
from singleshot.storage import atomic

if TYPE_CHECKING:
    from singleshot.cli.predict_plan import Plan
    from singleshot.prediction.frames import Frame, ImageError
    from singleshot.prediction.predictor import Segmenter
    from singleshot.structures import Segmentation

KINDS = ("ids", "colours", "probability")


def check_kinds(kinds: Sequence[str], files: Sequence[Path], planned: Plan, *, overwrite: bool) -> None:
    """Refuse what `--save` cannot mean for a segmenter, and masks that cannot be written; the rest is planned already.

    Raises:
        UsageError: an unknown kind, or kinds without a folder.
        CannotCreateError: a mask is there already.
    """
    from singleshot.cli import outputs

    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise UsageError(f"a segmenter cannot save {', '.join(unknown)}", remedy=f"Known are {', '.join(KINDS)}")
    if kinds and planned.out is None:
        raise UsageError("--save needs a folder", remedy="Give --out DIR")
    masks = [beside(copy, kind) for copy in planned.pictures.values() for kind in kinds]
    reserved = [*planned.pictures.values(), *([planned.json_file] if planned.json_file else [])]
    outputs.check(*masks, inputs=files, reserved=reserved, overwrite=overwrite)


def predict_masks(
    segmenter: Segmenter,
    frames: Iterable[Frame | ImageError],
    planned: Plan,
    kinds: Sequence[str],
    *,
    total: int,
    rows: list[dict[str, Any]],
    failures: list[SingleshotError],
) -> None:
    """Give every pixel of some pictures a class, and write what was asked for.

    Args:
        segmenter: the segmenter.
        frames: the pictures, as a process of their own reads them.
        planned: where the overlay of each goes, `<stem>.jpg` or `.png`.
        kinds: of `KINDS`: `<stem>_ids.png` (class ids), `<stem>_colours.png` (class colours) and
            `<stem>_probability.png` (grey, 0…255: of the second of two classes, else of the class that won).
        total: how many pictures there are, for the bar.
        rows: gets the share of each class in each picture, for `--json`.
        failures: gets what went wrong.
    """
    from singleshot.cli import terminal
    from singleshot.drawing import draw
    from singleshot.prediction import sinks
    from singleshot.prediction.frames import ImageError

    with terminal.bar("pictures", total) as advance:
        for done, frame in enumerate(frames, start=1):
            advance(done)
            if isinstance(frame, ImageError):
                failures.append(frame.error)
                terminal.warn(str(frame.error))
                rows.append({"file": frame.source, "error": str(frame.error)})
                continue
            found = segmenter.predict(frame.image, probabilities="probability" in kinds)
            rows.append({"file": frame.source, "size_hw": list(found.size_hw), "shares": found.shares()})
            copy = planned.pictures.get(Path(frame.source))
            if copy is not None:
                sinks.write_picture(copy, draw(frame.image, found))
                for kind in kinds:
                    atomic.write_bytes(beside(copy, kind), encoded(found, kind))
            said = ", ".join(f"{name} {share:.0%}" for name, share in sorted(found.shares().items(), key=_less))
            terminal.show(f"{frame.source}: {said}")


def beside(copy: Path, kind: str) -> Path:
    """The mask of a kind beside an overlay.

    >>> str(beside(Path("out/street.jpg"), "ids"))
    'out/street_ids.png'
    """
    return copy.with_name(f"{copy.stem}_{kind}.png")


def encoded(found: Segmentation, kind: str) -> bytes:
    """A segmentation as the bytes of a PNG of that kind."""
    from singleshot.data.masks import files as mask_files
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
