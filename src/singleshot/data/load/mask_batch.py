"""Some pictures with their masks, stacked for a network: what a detector's `Batch` is, with masks instead of boxes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Int, UInt8


@dataclass(frozen=True)
class MaskBatch:
    """Pictures and their masks, ready for the device.

    Args:
        images: (B, H, W, 3) uint8 RGB at network size; made float on the device.
        masks: (B, H, W) uint8 class ids, `VOID` where nothing is to be learnt.
        image_ids: names of the pictures, for messages.
        indices: (B,) their places in the data set.
        blank: (B,) True where the mask is void all over, also because the pair could not be read.
    """

    images: UInt8[torch.Tensor, "B H W 3"]
    masks: UInt8[torch.Tensor, "B H W"]
    image_ids: tuple[str, ...]
    indices: Int[torch.Tensor, " B"]
    blank: Bool[torch.Tensor, " B"]

    def __len__(self) -> int:
        return len(self.image_ids)

    def to(self, device: torch.device | str) -> MaskBatch:
        """The same batch with pixels and masks on a device; names and places stay."""
        images, masks = self.images.to(device, non_blocking=True), self.masks.to(device, non_blocking=True)
        return replace(self, images=images, masks=masks)

    def pin_memory(self) -> MaskBatch:
        """The same batch in page-locked memory; the loader calls this where there is a CUDA device."""
        return replace(self, images=self.images.pin_memory(), masks=self.masks.pin_memory())
