"""Detector: a network, its preprocessing and its thresholds behind one call.

    model = singleshot.load("best.safetensors")
    result = model.predict("street.jpg", threshold=0.5)

What it does to a picture is what evaluation does: the same resize, the same postprocess. The threshold drops results
at the very end and changes no other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, overload, runtime_checkable

import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray
from torch import Tensor

from singleshot import preprocess
from singleshot.detection.postprocess import Postprocess, postprocess
from singleshot.detection.raw import RawDetections, fold_unnamed
from singleshot.detection.ssd import SSD
from singleshot.errors import UsageError
from singleshot.images import read_image
from singleshot.prediction import stream
from singleshot.prediction.choosing import DEFAULT, Threshold, choice
from singleshot.prediction.frames import Seen, check_batch_size
from singleshot.structures import Detections, LabelMap


@runtime_checkable
class PilImage(Protocol):
    """What is needed of a PIL image; Pillow itself is not imported here."""

    def convert(self, mode: str, /) -> Any:
        """The image in another mode."""
        ...


Picture = str | Path | ndarray | PilImage
Pictures = list[Picture] | tuple[Picture, ...]


@dataclass(frozen=True)
class Detector:
    """A trained detector, ready to be shown pictures.

    Args:
        network: the torch module: normalised float (B, 3, H, W) → RawDetections.
        provenance: where the weights come from, as stored with them.
        device: where it computes; the network is moved there on construction by `load`.
        bf16: compute in bfloat16 (autocast); results are float32 all the same.
    """

    network: SSD
    provenance: dict[str, Any] = field(default_factory=dict)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    bf16: bool = False

    @property
    def label_map(self) -> LabelMap:
        """Class names in the order of class ids."""
        return LabelMap(self.network.config.class_names)

    @property
    def input_size_hw(self) -> tuple[int, int]:
        """Height and width of the network's input."""
        return self.network.config.input_size_hw

    @overload
    def predict(self, source: Pictures, *, threshold: Threshold = ..., batch_size: int = ...) -> list[Detections]: ...
    @overload
    def predict(self, source: Picture, *, threshold: Threshold = ..., batch_size: int = ...) -> Detections: ...
    def predict(
        self, source: Picture | Pictures, *, threshold: Threshold = DEFAULT, batch_size: int = 8
    ) -> Detections | list[Detections]:
        """What the detector sees in one picture, or in each of a list of pictures.

        Args:
            source: a path, an (H, W, 3) uint8 RGB array, a PIL image, or a list of these.
            threshold: only detections that score at least this, 0…1; or a least score for each of some classes, as
                `choosing.choice` takes it: {"car": 0.3}.
            batch_size: pictures of a list that go through the network together.

        Raises:
            DataError, InputMissingError: a file is not a readable picture.
            UsageError: something that is none of the above, or a threshold or batch size that makes no sense.
        """
        shown = choice(self.label_map, threshold)
        check_batch_size(batch_size)
        if isinstance(source, list | tuple):
            found: list[Detections] = []
            for start in range(0, len(source), batch_size):
                found += self._predict([as_array(picture) for picture in source[start : start + batch_size]])
            return [shown.kept(result) for result in found]
        return shown.kept(self._predict([as_array(source)])[0])

    def stream(self, source: Any, **options: Any) -> Iterator[Seen]:
        """What the detector sees, frame by frame, in a video, a camera, a folder, …; options: see `stream.stream`."""
        return stream.stream(self, source, **options)

    def _predict(self, images: Sequence[UInt8[ndarray, "_ _ 3"]]) -> list[Detections]:
        inputs = np.stack([preprocess.to_input(image, self.network.config.preprocess) for image in images])
        return self.see(torch.from_numpy(inputs), [(image.shape[0], image.shape[1]) for image in images])

    def see(self, images: UInt8[Tensor, "B H W 3"], sizes_hw: Sequence[tuple[int, int]]) -> list[Detections]:
        """Detections in uint8 RGB pictures that are at the input size already; `sizes_hw` is what they were before."""
        return self.postprocess(self.raw(images), sizes_hw)

    @torch.inference_mode()
    def raw(self, images: UInt8[Tensor, "B H W 3"]) -> RawDetections:
        """The network's answer to uint8 RGB pictures of the input size."""
        batch = preprocess.normalise(images.to(self.device), self.network.config.preprocess)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            return self.network(batch)

    def postprocess(self, raw: RawDetections, sizes_hw: Sequence[tuple[int, int]]) -> list[Detections]:
        """Detections in pixels of pictures of those sizes, best first, above the stored score threshold."""
        config = self.network.config
        raw = fold_unnamed(raw, config.unnamed_slots)
        return postprocess(
            raw, self.network.anchors_cxcywh, sizes_hw, self.label_map, config.postprocess, config.preprocess
        )

    def with_postprocess(self, **changes: Any) -> Detector:
        """A detector with other thresholds or counts, see `Postprocess`. It shares the network's weights."""
        changed: Postprocess = replace(self.network.config.postprocess, **changes)
        network = SSD(replace(self.network.config, postprocess=changed)).to(self.device).eval()
        network.load_state_dict(self.network.state_dict(), assign=True)
        return replace(self, network=network)


def as_array(picture: Picture) -> UInt8[ndarray, "H W 3"]:
    """A picture in any of the accepted forms as (H, W, 3) uint8 RGB."""
    if isinstance(picture, str | Path):
        return read_image(Path(picture))
    if isinstance(picture, np.ndarray):
        if picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3 and picture.size:
            return picture
        raise UsageError(
            f"an array of {picture.dtype} {picture.shape} is not a picture", remedy="Give (H, W, 3) uint8 RGB"
        )
    if isinstance(picture, PilImage):
        return np.asarray(picture.convert("RGB"), dtype=np.uint8)
    raise UsageError(f"{type(picture).__name__} is not a picture", remedy="Give a path, an array or a PIL image")
