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


def check_kinds(kinds: Sequence[str], files: Sequence[Path], planned: Plan, *, overwrite: bool) -> None:
    """Refuse what `--save` cannot mean for a segmenter, and masks that cannot be written; the rest is planned already.

    Raises:
        UsageError: an unknown kind, or kinds without a folder.
        CannotCreateError: a mask is there already.
    """
    from singleshot.cli import outputs
    from singleshot.prediction.annotations import MASK_KINDS, mask_path

    unknown = [kind for kind in kinds if kind not in MASK_KINDS]
    if unknown:
        raise UsageError(f"a segmenter cannot save {', '.join(unknown)}", remedy=f"Known are {', '.join(MASK_KINDS)}")
    if kinds and planned.out is None:
        raise UsageError("--save needs a folder", remedy="Give --out DIR")
    masks = [mask_path(copy, kind) for copy in planned.pictures.values() for kind in kinds]
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
        kinds: of `annotations.MASK_KINDS`: `<stem>_ids.png` (class ids), `<stem>_colours.png` (class colours) and
            `<stem>_probability.png` (grey, 0…255: of the second of two classes, else of the class that won).
        total: how many pictures there are, for the bar.
        rows: gets the share of each class in each picture, for `--json`.
        failures: gets what went wrong.
    """
    from singleshot.cli import terminal
    from singleshot.drawing import draw
    from singleshot.prediction import annotations
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
                annotations.write_image(copy, draw(frame.image, found))
                for kind in kinds:
                    atomic.write_bytes(annotations.mask_path(copy, kind), annotations.mask_png(found, kind))
            said = ", ".join(f"{name} {share:.0%}" for name, share in sorted(found.shares().items(), key=_less))
            terminal.show(f"{frame.source}: {said}")


def _less(row: tuple[str, float]) -> float:
    return -row[1]
