"""What a run is made of when the user names a model and no recipe.

For boxes the defaults are `Recipe`'s own. For pixels they differ in what has no meaning without boxes: crops that ask
for an overlap, and a canvas four times the picture, most of which would be void.
"""

from __future__ import annotations

from singleshot.data.augment.augment import Augmentation
from singleshot.data.augment.sampling import WHOLE, CropSampler
from singleshot.segmentation.presets import FLAVOURS
from singleshot.training.recipe import Recipe

PIXELS = Augmentation(
    expand_probability=0.25,
    max_expand=1.5,
    samplers=(WHOLE, CropSampler(scale=(0.5, 1.0), aspect_ratio=(0.75, 1.33))),
    interpolations=("linear",),
)
"""Scale from half to one and a half times, crop, mirror and colour, for pictures with masks."""


def default_recipe(model: str | None) -> Recipe:
    """The recipe for a model without one; for None, the default detector's."""
    if model in FLAVOURS:
        return Recipe(model=model, augmentation=PIXELS, batch_size=8)
    return Recipe()
