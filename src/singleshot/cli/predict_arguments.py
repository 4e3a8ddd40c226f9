"""Which of `singleshot predict`'s arguments are weights, and which are sources.

    singleshot predict photo.jpg                 the detector that comes with the package
    singleshot predict best.safetensors photo.jpg

A mistyped weights file must never pass for a source, nor a photograph for weights, so the first argument's form decides
and not whether there is such a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from singleshot.errors import UsageError, nearest
from singleshot.starts.shipped import EVERYDAY

WEIGHTS_SUFFIXES = (".safetensors", ".pt2", ".onnx", ".xml", ".param", ".pt", ".pth", ".ckpt", ".tflite")
"""Of weights and exports; those of other projects are among them, because opening them says what to do with them."""


def weights_and_sources(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """Split the arguments into weights, or None for `everyday`, and sources.

    The first one is weights if it has a weights file's suffix, is a known name, is a folder with weights, or has the
    form `owner/name`, is nothing local, and more arguments follow; or if it is nearly a known name, and nothing local:
    then loading it says which one.

    Raises UsageError for weights without a source.

    >>> weights_and_sources(["photo.jpg"]), weights_and_sources(["typo.safetensors", "photo.jpg"])
    ((None, ['photo.jpg']), ('typo.safetensors', ['photo.jpg']))
    """
    first, rest = arguments[0], list(arguments[1:])
    if not _is_weights(first, followed=bool(rest)):
        return None, [first, *rest]
    if not rest:
        remedy = f"Name images, videos or folders: singleshot predict {first} photo.jpg"
        raise UsageError(f"{first} is a model, and there is nothing to predict on", remedy=remedy)
    return first, rest


def _is_weights(text: str, *, followed: bool) -> bool:
    from singleshot import hub
    from singleshot.prediction.load import WEIGHTS_IN_A_RUN, known_names

    path = Path(text)
    if path.is_dir():
        return any((path / name).is_file() for name in (hub.WEIGHTS, *WEIGHTS_IN_A_RUN))
    if path.suffix.lower() in WEIGHTS_SUFFIXES:
        return True
    if path.exists():
        return False
    names = known_names()
    mistyped = followed and not path.suffix and nearest(text, names) is not None
    return text in names or mistyped or (followed and hub.is_repository_id(text))


def model_line(class_count: int, thresholds: Sequence[float]) -> str:
    """Return the line that says which model is used where none was named.

    >>> model_line(23, (0.4, 0.4))
    'model: everyday, 23 classes, shown from a score of 0.4 (others: singleshot predict WEIGHTS SOURCE)'
    """
    shown = " or ".join(f"{value:g}" for value in sorted(set(thresholds)))
    others = "others: singleshot predict WEIGHTS SOURCE"
    return f"model: {EVERYDAY}, {class_count} classes, shown from a score of {shown} ({others})"
