"""A recipe: every choice of a training run in one frozen record.

The defaults are for users' own data: a light detector, a cosine schedule, an EMA of the weights, and images without
objects that train the background. Published results are modules in `recipes/` that fill a record of their own. The
command line overrides single fields by name; the recipe of a run is written beside its result as `recipe.json`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from singleshot.config import (
    Above,
    AtLeast,
    Config,
    HalfOpen,
    Range,
    field_help,
    from_json_dict,
    to_json_dict,
    with_defaults,
)
from singleshot.data.augment.augment import Augmentation
from singleshot.data.augment.sampling import WHOLE, CropSampler
from singleshot.detection.anchors import AnchorLevel
from singleshot.detection.coding import Scores
from singleshot.detection.loss import LossConfig
from singleshot.detection.ssd import MODELS
from singleshot.errors import ConfigError, nearest
from singleshot.preprocess import Fit
from singleshot.segmentation.fcn import MODELS as SEGMENTERS
from singleshot.segmentation.loss import PixelLossConfig
from singleshot.starts import shipped
from singleshot.training.checkpoint import CheckpointConfig
from singleshot.training.optimizer import OptimizerConfig, Schedule

PIXELS = Augmentation(
    expand_probability=0.25,
    max_expand=1.5,
    samplers=(WHOLE, CropSampler(scale=(0.5, 1.0), aspect_ratio=(0.75, 1.33))),
    interpolations=("linear",),
)
"""Scale from half to one and a half times, crop, mirror and colour, for pictures with masks."""


SHORT_RUNS = Augmentation(
    expand_probability=0.2,
    max_expand=1.5,
    samplers=(WHOLE, CropSampler(scale=(0.5, 1.0), aspect_ratio=(0.75, 1.34))),
)
"""Milder than SSD's own augmentation, which pays off over a hundred epochs: after 500 steps on 296 photographs of cards
AP50 was 0.57 with that, and 0.85 to 0.93 with this and fitted anchors (docs/log.md)."""


class _ByModel(int):
    """A batch size that was not given."""


_BATCH_SIZE, _BOXES = _ByModel(16), Augmentation()
"""Defaults of a detector, by whose identity `Recipe` finds that nothing was given."""
PIXELS_BATCH_SIZE = 8
DEFAULT_MODEL = "lite320-fine2"
"""The detector of `default_recipe`."""
NO_WEIGHTS = "none"
"""As the name of weights: start from random ones."""


@dataclass(frozen=True)
class Recipe(Config):
    """How a model is trained. Exactly one of `epochs`, `steps` and `minutes` limits the run."""

    model: str = "lite320-fine"
    """Name of the model, such as `vgg300` or `lite320`."""
    weights: str | None = None
    """Weights to start from: a file, a name of `weights import`, or `owner/name` on the hub; null: random weights."""
    freeze: Annotated[int, AtLeast(0)] = 0
    """Number of backbone blocks to freeze, counted from the image on; see `backbones.freezing.blocks`."""
    norm: Literal["none", "batch"] = "none"
    """`batch` adds batch normalisation to a VGG backbone that starts from random weights."""
    input_size_hw: tuple[int, int] | Literal["auto"] | None = None
    """Another input size than the model's own, height and width in pixels; `auto`: as many pixels in the usual
    proportions of the training images, and that of the weights if the run continues a detector of the same model."""
    fit: Fit = "warp"
    """How images are fitted to the input size: `warp` stretches, `letterbox` keeps proportions and fills the margin."""
    anchors: tuple[AnchorLevel, ...] | Literal["auto"] | None = None
    """Other anchors than the model's own (`singleshot data anchors`); `auto`: fitted to the training split, and those
    of the weights if the run continues a detector of the same model."""
    scores: Scores | None = None
    """How class scores come from logits: `softmax`, or `sigmoid` of each class; null: as the model has them."""
    epochs: Annotated[int, AtLeast(1)] | None = 100
    """Passes over the training data."""
    steps: Annotated[int, AtLeast(1)] | None = None
    """Optimizer steps."""
    minutes: Annotated[float, Above(0)] | None = None
    """Minutes of training, validation included."""
    batch_size: Annotated[int, AtLeast(1)] = _BATCH_SIZE
    """Images per step, over all ranks; 8 of a segmenter where none is given."""
    accumulate: Annotated[int, AtLeast(1)] = 1
    """Parts in which a step's batch goes through the network, to save memory. The gradient is that of the whole
    batch; only the statistics of batch normalisation are those of the parts."""
    drop_last: bool = True
    """Leave out an epoch's last batch if it is not full (never if it is the only one)."""
    seed: Annotated[int, Range(0, 2**63 - 1)] = 0
    """Seed of weights, order and augmentation. Equal seeds and threads give equal results on a CPU."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """`auto` takes bf16 where the processor computes in it, else fp32. `fp16`, with a scaled loss, is for CUDA devices
    without bf16."""
    compile: bool = False
    """Compile the network with torch.compile: minutes at the start for a few percent in every step. Where it does not
    work, one line says so and the run goes on without. Bits may differ."""
    fast_decode: bool = True
    """Decode JPEG files for training faster and not quite exactly; evaluation decodes them exactly."""
    workers: Annotated[int, AtLeast(0)] | None = None
    """Processes that load images; null: as many as the machine has CPUs for."""
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(kind="adamw", lr=2e-3, weight_decay=0.05, bias_lr=1.0, clip_norm=10.0)
    )
    """See `OptimizerConfig`."""
    schedule: Schedule = field(default_factory=Schedule)
    """See `Schedule`."""
    augmentation: Augmentation = field(default_factory=lambda: _BOXES)
    """See `Augmentation`; `PIXELS` of a segmenter where none is given."""
    repeat_rare: Annotated[float, Range(0, 1)] = 0.0
    """Share of the images below which a class is rare: images that have it come more often, by the root of what is
    missing (repeat factors); 0: all come equally often. For detectors."""
    keep_left_and_right: bool = False
    """Mirror no image where the name of a class has the word left or right in it: mirrored, it would be wrong."""
    loss: LossConfig = field(default_factory=lambda: LossConfig(negatives_when_empty="auto"))
    """Loss of a detector, see `LossConfig`."""
    pixel_loss: PixelLossConfig = field(default_factory=PixelLossConfig)
    """Loss of a segmenter, see `PixelLossConfig`."""
    ema_decay: Annotated[float, HalfOpen(0, 1)] | None = 0.999
    """Decay of the exponential moving average (EMA) of the weights, which is evaluated and saved; null: no EMA."""
    metric: Literal["voc07", "voc12"] = "voc12"
    """Metric that chooses the best epoch of a detector."""
    pixel_metric: Literal["miou", "maxf"] = "miou"
    """Metric that chooses the best epoch of a segmenter."""
    validate_every: Annotated[int, AtLeast(1)] = 1
    """Epochs between validations; the last epoch is always validated."""
    choose_thresholds: bool = False
    """Store as `display_threshold` for each class the score of best F1 on the validation split; for detectors."""
    patience: Annotated[int, AtLeast(1)] | None = None
    """Validations without a better score after which the run ends early; null: never."""
    train_subset: Annotated[int, AtLeast(0)] = 100
    """Images of the training split that are evaluated beside the validation split; 0: none."""
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    """How often the run is saved, see `CheckpointConfig`."""
    rank_timeout_s: Annotated[float, Above(0)] = 60.0
    """With several processes, seconds without a sign of life from one before the others end."""

    def __post_init__(self) -> None:
        if self.is_segmentation and self.augmentation is _BOXES:
            object.__setattr__(self, "augmentation", PIXELS)
        if isinstance(self.batch_size, _ByModel):
            object.__setattr__(self, "batch_size", PIXELS_BATCH_SIZE if self.is_segmentation else int(_BATCH_SIZE))
        limits = {"epochs": self.epochs, "steps": self.steps, "minutes": self.minutes}
        given = [name for name, limit in limits.items() if limit is not None]
        if len(given) != 1:
            raise ConfigError(
                f"a run is limited by exactly one of epochs, steps and minutes, not by {', '.join(given) or 'none'}",
                remedy="Give one and leave the others out",
            )
        super().__post_init__()
        if self.freeze and self.weights is None:
            raise ConfigError(f"freeze is {self.freeze}", remedy="Give 0, or weights to start from")
        if self.accumulate > 1 and self.pixel_loss.soft_iou:
            message = f"accumulate is {self.accumulate}, and soft IoU cannot be added up from parts of a batch"
            raise ConfigError(message, remedy="Set accumulate or pixel_loss.soft_iou, not both")
        known = MODELS.get(self.model)
        scores = self.scores or (known.scores if known is not None else "softmax")
        if self.loss.quality is not None and not self.is_segmentation and scores != "sigmoid":
            message = f"loss.quality is {self.loss.quality:g}, and {self.model} has {scores} scores"
            raise ConfigError(message, remedy="Set scores=sigmoid, or loss.quality=null")
        if self.norm == "batch" and (self.is_segmentation or (known is not None and known.backbone != "vgg16")):
            message = f"norm is batch, which {self.model} has no choice of"
            raise ConfigError(message, remedy="Leave norm out: it is for models with a VGG backbone")

    @property
    def is_segmentation(self) -> bool:
        """Whether the model is a segmenter and not a detector."""
        return self.model in SEGMENTERS

    def to_json(self) -> str:
        """The recipe as `recipe.json` holds it."""
        return json.dumps(to_json_dict(self), indent=2) + "\n"

    @staticmethod
    def from_json(text: str) -> Recipe:
        """The inverse of `to_json`, for older versions' too: a field that came later takes its default.

        Raises ConfigError on unknown or mistyped fields.
        """
        return from_json_dict(Recipe, with_defaults(Recipe, json.loads(text)), "recipe")


def override(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """The recipe with some fields changed.

    Args:
        recipe: the recipe to start from.
        settings: `field=value` with the value as JSON, or plain text for text; nested fields by a dotted name.

    Raises:
        ConfigError: no such field, or a value of the wrong type or outside its range.

    >>> changed = override(Recipe(), ["batch_size=8", "optimizer.kind=adam", "ema_decay=null"])
    >>> changed.batch_size, changed.optimizer.kind, changed.ema_decay
    (8, 'adam', None)
    """
    tree = to_json_dict(recipe)
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set {setting!r} is not field=value", remedy="Write for example --set batch_size=8")
        branch, *parts = tree, *name.strip().split(".")
        for part in parts[:-1]:
            branch = _field(branch, part, name)
        _field(branch, parts[-1], name)
        try:
            branch[parts[-1]] = json.loads(text)
        except json.JSONDecodeError:
            branch[parts[-1]] = text
    try:
        return from_json_dict(Recipe, tree, "recipe")
    except ConfigError as error:
        # What the field is for helps most where its value is wrong.
        names = [setting.partition("=")[0].strip() for setting in settings]
        for row in field_help(Recipe, defaults=recipe):
            if (
                row.name in names
                and row.sentence
                and error.message.removeprefix("recipe.").startswith(f"{row.name} is")
            ):
                remedy = f"{error.remedy} ({row.sentence.rstrip('.')})"
                raise ConfigError(error.message, remedy=remedy) from error
        raise


def limited(recipe: Recipe, *, epochs: int | None, steps: int | None, minutes: float | None) -> dict[str, Any]:
    """The three limits as fields for `dataclasses.replace`: the given ones, or the recipe's own if none is given."""
    if epochs is None and steps is None and minutes is None:
        return {"epochs": recipe.epochs, "steps": recipe.steps, "minutes": recipe.minutes}
    return {"epochs": epochs, "steps": steps, "minutes": minutes}


def _field(branch: Any, part: str, name: str) -> Any:
    if not isinstance(branch, dict) or part not in branch:
        near = nearest(part, branch if isinstance(branch, dict) else [])
        known = ", ".join(branch) if isinstance(branch, dict) else "none"
        remedy = f"Did you mean {near}?" if near else f"Known fields: {known}"
        raise ConfigError(f"the recipe has no field {name!r}", remedy=remedy)
    return branch[part]


def default_recipe(model: str | None = None) -> Recipe:
    """Return the recipe of a run that names none: what has proven itself on users' own data.

    A model with the backbone that comes with the package starts from it. A detector's default boxes are fitted to the
    data, and its augmentation is that of short runs. Everything else is as in `Recipe()`, whose defaults are those of
    0.1.0.

    Args:
        model: a detector or segmenter; None for the default detector, `lite320-fine2`.
    """
    model = model or DEFAULT_MODEL
    known = SEGMENTERS.get(model) or MODELS.get(model)
    weights = shipped.BACKBONE if known is not None and known.backbone == shipped.BACKBONE else None
    if model in SEGMENTERS:
        return Recipe(model=model, weights=weights)
    return Recipe(model=model, weights=weights, anchors="auto", augmentation=SHORT_RUNS)
