"""A recipe: every choice of a training run in one frozen record.

The defaults are for people's own data: a light detector, cosine schedule, running mean of the weights, background
pictures that teach. Published results are modules in `recipes/` that fill a record of their own. The command line
overrides single fields by name; what was trained is written beside the result as `recipe.json`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from singleshot.config import check_number, from_json_dict, to_json_dict, with_defaults
from singleshot.data.augment.augment import Augmentation
from singleshot.detection.anchors import FeatureMap
from singleshot.detection.loss import LossConfig
from singleshot.detection.presets import FLAVOURS
from singleshot.errors import ConfigError, nearest
from singleshot.preprocess import Fit
from singleshot.segmentation.loss import PixelLossConfig
from singleshot.segmentation.presets import FLAVOURS as SEGMENTERS
from singleshot.training.checkpoint import CheckpointConfig
from singleshot.training.optimizer import OptimizerConfig
from singleshot.training.schedule import Schedule


@dataclass(frozen=True)
class Recipe:
    """How a detector is trained. Exactly one of `epochs`, `steps` and `minutes` limits the run.

    Args:
        model: the flavour, such as `vgg300` or `lite320`.
        weights: to start from: a file, a name of `weights import`, or `owner/name` on the hub; None starts from
            nothing.
        freeze: blocks of the trunk, from the picture on, that stay what they are; see `backbones.freezing.blocks`.
        norm: `batch` puts batch normalisation into a VGG trunk that starts from nothing.
        input_size_hw: another input size than the flavour's own.
        fit: how pictures come to it: `warp` stretches, `letterbox` keeps proportions and fills the margin.
        anchors: other default boxes than the flavour's (`singleshot data anchors`).
        epochs: passes over the training data.
        steps: batches.
        minutes: minutes of training, validation included.
        batch_size: pictures a step, over all ranks.
        accumulate: parts in which a step's batch goes through the network, to save memory. The gradient is that of
            the whole batch; only the statistics of batch normalisation are those of the parts.
        drop_last: leave out an epoch's last batch where it is not full (never where it is the only one).
        seed: of weights, order and augmentation. Equal seeds and threads give equal results on a CPU.
        precision: `auto` takes bf16 where the processor computes in it, else fp32. `fp16`, with a scaled loss, is for
            CUDA devices without bf16.
        compile: let torch.compile make a program of the network: minutes at the start for a few percent in every
            step. Where it does not work, one line says so and the run goes on without. Bits may differ.
        fast_decode: read JPEG files for training faster and not quite exactly; what is judged is read exactly.
        workers: processes that load pictures; None takes what the machine has.
        optimizer: see `OptimizerConfig`.
        schedule: see `Schedule`.
        augmentation: see `Augmentation`.
        loss: of a detector, see `LossConfig`.
        pixel_loss: of a segmenter, see `PixelLossConfig`.
        ema_decay: of the running mean that is judged and saved; None judges the weights themselves.
        metric: by which the best epoch of a detector is chosen.
        pixel_metric: by which the best epoch of a segmenter is chosen.
        validate_every: epochs between validations; the last epoch is always validated.
        train_subset: pictures of the training split that are judged beside the validation split; 0 for none.
        checkpoint: how often the run is saved, see `CheckpointConfig`.
        rank_timeout_s: with several processes, how long one may be silent before the others end.
    """

    model: str = "lite320-fine"
    weights: str | None = None
    freeze: int = 0
    norm: Literal["none", "batch"] = "none"
    input_size_hw: tuple[int, int] | None = None
    fit: Fit = "warp"
    anchors: tuple[FeatureMap, ...] | None = None
    epochs: int | None = 100
    steps: int | None = None
    minutes: float | None = None
    batch_size: int = 16
    accumulate: int = 1
    drop_last: bool = True
    seed: int = 0
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    compile: bool = False
    fast_decode: bool = True
    workers: int | None = None
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(kind="adamw", lr=2e-3, weight_decay=0.05, bias_lr=1.0, clip_norm=10.0)
    )
    schedule: Schedule = field(default_factory=Schedule)
    augmentation: Augmentation = field(default_factory=Augmentation)
    loss: LossConfig = field(default_factory=lambda: LossConfig(negatives_when_empty="auto"))
    pixel_loss: PixelLossConfig = field(default_factory=PixelLossConfig)
    ema_decay: float | None = 0.999
    metric: Literal["voc07", "voc12"] = "voc12"
    pixel_metric: Literal["miou", "maxf"] = "miou"
    validate_every: int = 1
    train_subset: int = 100
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    rank_timeout_s: float = 60.0

    def __post_init__(self) -> None:
        limits = {"epochs": self.epochs, "steps": self.steps, "minutes": self.minutes}
        given = {name: limit for name, limit in limits.items() if limit is not None}
        if len(given) != 1:
            raise ConfigError(
                f"a run is limited by exactly one of epochs, steps and minutes, not by {', '.join(given) or 'none'}",
                remedy="Give one and leave the others out",
            )
        name, limit = next(iter(given.items()))
        if not 0 < limit < float("inf"):
            raise ConfigError(f"{name} is {limit}", remedy="Give a number above 0")
        if self.batch_size < 1:
            raise ConfigError(f"batch_size is {self.batch_size}", remedy="Give at least 1")
        if self.freeze < 0 or (self.freeze and self.weights is None):
            raise ConfigError(f"freeze is {self.freeze}", remedy="Give 0 or more, and weights to start from")
        if self.ema_decay is not None:
            check_number("ema_decay", self.ema_decay, 0, 1, below=True)
        check_number("seed", self.seed, 0, 2**63 - 1)
        check_number("accumulate", self.accumulate, 1)
        if self.accumulate > 1 and self.pixel_loss.soft_iou:
            what = f"accumulate is {self.accumulate}, and soft IoU cannot be added up from parts of a batch"
            raise ConfigError(what, remedy="Set accumulate or pixel_loss.soft_iou, not both")
        check_number("validate_every", self.validate_every, 1)
        check_number("train_subset", self.train_subset, 0)
        check_number("rank_timeout_s", self.rank_timeout_s, 0, above=True)
        if self.workers is not None:
            check_number("workers", self.workers, 0)
        known = FLAVOURS.get(self.model)
        if self.norm == "batch" and (self.model in SEGMENTERS or (known is not None and known.trunk != "vgg16")):
            what = f"norm is batch, which {self.model} does not choose by"
            raise ConfigError(what, remedy="Leave norm out: it is for the trunks of the vgg flavours")

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
        ConfigError: no such field, or a value of the wrong type.

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
        branch[parts[-1]] = _value(text)
    return from_json_dict(Recipe, tree, "recipe")


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


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
