"""Segmenter: a network and its preprocessing behind one call that gives every pixel a class.

    model = singleshot.load("best.safetensors")
    result = model.predict("street.jpg")
    result.class_ids, result.class_names

The answer has the picture's own size, whatever size the network works at. Evaluation passes through the same two
functions, `raw` and `class_maps`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from singleshot import preprocess
from singleshot.classes import colours
from singleshot.prediction import stream
from singleshot.prediction.frames import Seen, check_batch_size
from singleshot.prediction.predictor import Picture, Pictures, as_array
from singleshot.segmentation import postprocess
from singleshot.segmentation.fcn import FCN
from singleshot.structures import LabelMap, Segmentation


@dataclass(frozen=True)
class Segmenter:
    """A trained segmenter, ready to be shown pictures.

    Args:
        network: the torch module: normalised float (B, 3, H, W) → logits (B, C, H, W).
        provenance: where the weights come from, as stored with them.
        device: where it computes.
        bf16: compute in bfloat16 (autocast); scores are float32 all the same.
    """

    network: FCN
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

    @property
    def colours(self) -> UInt8[ndarray, "C 3"]:
        """RGB of each class: the data set's own, or ours where it has none."""
        given = self.network.config.colours
        return np.array(given, dtype=np.uint8) if given else colours(len(self.network.config.class_names))

    @overload
    def predict(self, source: Pictures, *, probabilities: bool = ..., batch_size: int = ...) -> list[Segmentation]: ...
    @overload
    def predict(self, source: Picture, *, probabilities: bool = ..., batch_size: int = ...) -> Segmentation: ...
    def predict(
        self, source: Picture | Pictures, *, probabilities: bool = False, batch_size: int = 8
    ) -> Segmentation | list[Segmentation]:
        """The class of every pixel of one picture, or of each of a list of pictures.

        Args:
            source: a path, an (H, W, 3) uint8 RGB array, a PIL image, or a list of these.
            probabilities: keep each class's probability at each pixel too; 4 bytes a class and pixel.
            batch_size: pictures of a list that go through the network together.

        Raises:
            DataError, InputMissingError: a file is not a readable picture.
            UsageError: something that is none of the above, or a batch size below 1.
        """
        check_batch_size(batch_size)
        if isinstance(source, list | tuple):
            found: list[Segmentation] = []
            for start in range(0, len(source), batch_size):
                some = [as_array(picture) for picture in source[start : start + batch_size]]
                found += self._predict(some, probabilities)
            return found
        return self._predict([as_array(source)], probabilities)[0]

    def stream(self, source: Any, **options: Any) -> Iterator[Seen]:
        """The classes of every frame of a video, a camera, a folder, …; options: see `stream.stream_masks`."""
        return stream.stream_masks(self, source, **options)

    def _predict(self, images: Sequence[UInt8[ndarray, "_ _ 3"]], probabilities: bool) -> list[Segmentation]:
        inputs = np.stack([preprocess.to_input(image, self.network.config.preprocess) for image in images])
        logits = self.raw(torch.from_numpy(inputs))
        sizes_hw = [(image.shape[0], image.shape[1]) for image in images]
        if not probabilities:
            return [self.segmentation(class_ids) for class_ids in self.class_maps(logits, sizes_hw)]
        found = []
        for scores, size_hw in zip(logits, sizes_hw, strict=True):
            seen = postprocess.without_margin(scores, size_hw, self.network.config.preprocess)
            chances = postprocess.probabilities(seen, size_hw).cpu().numpy()
            found.append(self.segmentation(chances.argmax(axis=0).astype(np.uint8), chances))
        return found

    @torch.inference_mode()
    def raw(self, images: UInt8[Tensor, "B H W 3"]) -> Float[Tensor, "B C H W"]:
        """The network's scores for uint8 RGB pictures of the input size."""
        batch = preprocess.normalise(images.to(self.device), self.network.config.preprocess)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            return self.network(batch)

    @torch.inference_mode()
    def class_maps(
        self, logits: Float[Tensor, "B C H W"], sizes_hw: Sequence[tuple[int, int]]
    ) -> list[UInt8[ndarray, "_ _"]]:
        """The class ids of pictures of those sizes, from the network's scores."""
        maps = postprocess.class_maps(logits, sizes_hw, self.network.config.preprocess)
        return [class_ids.cpu().numpy() for class_ids in maps]

    def segmentation(
        self, class_ids: UInt8[ndarray, "H W"], probabilities: Float[ndarray, "C H W"] | None = None
    ) -> Segmentation:
        """Class ids as the record that names them."""
        return Segmentation(class_ids, self.network.config.class_names, self.colours, probabilities)
