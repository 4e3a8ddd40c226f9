"""Default boxes in a file: what `singleshot data anchors --out` writes and `train --anchors` takes.

The rows only make sense with the network and the input that they were made for, so the file names both, and a run
with another model or size is refused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from singleshot import durable
from singleshot.detection.anchors import FeatureMap
from singleshot.errors import ConfigError, InputMissingError, NotPermittedError
from singleshot.preprocess import Fit
from singleshot.strict_json import from_json_dict, to_json_dict

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
    """Write the file, whole or not at all. Raises what `durable.write_text` raises."""
    durable.write_text(path, anchors.to_json())


def read(path: Path) -> AnchorFile:
    """The default boxes in a file.

    Raises:
        InputMissingError: there is no such file.
        NotPermittedError: it may not be read.
        ConfigError: it is no JSON, or a field is missing, unknown or of another type.
    """
    try:
        if not path.is_file():
            raise InputMissingError("no such file of default boxes", remedy="Check the path", file=path)
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except PermissionError as error:
        raise NotPermittedError("no permission to read", remedy="Change its permissions", file=path) from error
    remedy = "Make it anew with `singleshot data anchors … --out FILE`"
    if len(data) > MAX_BYTES:
        raise ConfigError("too large to hold default boxes", remedy=remedy, file=path)
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"not JSON ({error})", remedy=remedy, file=path) from error
    try:
        return from_json_dict(AnchorFile, content, "anchors")
    except ConfigError as error:
        raise ConfigError(error.what, remedy=remedy, file=path) from error
