"""Default boxes in a file: what `singleshot data anchors --out` writes and `train --anchors` takes.

The rows only make sense with the network and the input that they were made for, so the file names both, and a run
with another model or size is refused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from singleshot.config import from_json_dict, to_json_dict
from singleshot.detection.anchors import FeatureMap
from singleshot.errors import ConfigError, DataError
from singleshot.preprocess import Fit
from singleshot.storage import atomic
from singleshot.storage.files import file_bytes

MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class AnchorFile:
    """Default boxes and what they are for.

    Args:
        model: the flavour, such as `vgg300`.
        input_size_hw: height and width of the network's input.
        fit: how pictures come to it, see `Preprocess`.
        feature_maps: one row a map.
    """

    model: str
    input_size_hw: tuple[int, int]
    fit: Fit
    feature_maps: tuple[FeatureMap, ...]

    def __post_init__(self) -> None:
        for place, row in enumerate(self.feature_maps):
            lengths = [row.min_size, *row.ratios, *([row.max_size] if row.max_size is not None else [])]
            lengths += [row.step] if row.step is not None else []
            if not all(0 < length < 1e6 for length in lengths) or min(row.size_hw) < 1:
                raise ConfigError(f"feature_maps[{place}] has a length that is no positive number of pixels")

    def to_json(self) -> str:
        """The file's text."""
        return json.dumps(to_json_dict(self), indent=2) + "\n"


def write(path: Path, anchors: AnchorFile) -> None:
    """Write the file, whole or not at all. Raises what `atomic.write_text` raises."""
    atomic.write_text(path, anchors.to_json())


def read(path: Path) -> AnchorFile:
    """The default boxes in a file.

    Raises:
        InputMissingError: there is no such file.
        NotPermittedError, StorageError: it may not be read, or the disk fails.
        ConfigError: it is no plain file or no JSON, or a field is missing, unknown or of another type.
    """
    remedy = "Make it anew with `singleshot data anchors … --out FILE`"
    try:
        data = file_bytes(path, MAX_BYTES)
    except DataError as error:  # empty, too large, no plain file
        raise ConfigError(f"{error.message}: no default boxes", remedy=remedy, file=path) from error
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"not JSON ({error})", remedy=remedy, file=path) from error
    try:
        return from_json_dict(AnchorFile, content, "anchors")
    except ConfigError as error:
        raise ConfigError(error.message, remedy=remedy, file=path) from error
