"""A linear probe: whether a backbone's features say what is in an image, measured without labels.

The teacher's scores of its own classes stand for labels. A ridge regression from the backbone's averaged maps to those
scores is fitted on some images and judged on others that the backbone never trains on, by R²: the share of their
variance that it explains. Random weights give about 0 to 0.2; it rises while the backbone learns and flattens when
more of the same teaches nothing new.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from singleshot.preprocess import Preprocess, normalise
from singleshot.pretraining.teachers import Teacher

CHUNK = 16
RIDGE = 0.1
"""Penalty of the regression's weights, in multiples of the mean variance of a feature times the number of images."""


@dataclass(frozen=True)
class Probe:
    """Images with the teacher's scores; called with a backbone, it measures its features.

    Args:
        images: (N, S, S, 3) uint8; the first `fitted` are to fit on, the others to judge by.
        scores: (N, K) the teacher's.
        fitted: how many images the regression is fitted on.
        preprocess: the backbone's.
    """

    images: UInt8[Tensor, "N S S 3"]
    scores: Float[Tensor, "N K"]
    fitted: int
    preprocess: Preprocess

    @torch.no_grad()
    def __call__(self, backbone: nn.Module) -> float:
        """Return R² on the images that the regression was not fitted on; at most 1, and below 0 for useless features.

        The backbone is evaluated with the statistics that it has, and left as it was.
        """
        training = backbone.training
        backbone.eval()
        device = next(backbone.parameters()).device
        rows = []
        for chunk in self.images.split(CHUNK):
            stages = backbone.stages_of(normalise(chunk.to(device), self.preprocess))  # pyright: ignore[reportCallIssue]
            rows.append(torch.cat([stage.float().mean(dim=(2, 3)) for stage in stages], dim=1).cpu())
        backbone.train(training)
        return ridge_r2(torch.cat(rows).double(), self.scores.double(), self.fitted)


@torch.no_grad()
def make_probe(images: UInt8[Tensor, "N S S 3"], fitted: int, teacher: Teacher, preprocess: Preprocess) -> Probe:
    """Return a probe for these images, with the teacher's scores of them; see `Probe`."""
    device = next(teacher.network.parameters()).device
    scores = [
        teacher.network.logits(normalise(chunk.to(device), teacher.preprocess)).float().cpu()
        for chunk in images.split(CHUNK)
    ]
    return Probe(images, torch.cat(scores), fitted, preprocess)


def ridge_r2(features: Float[Tensor, "N D"], targets: Float[Tensor, "N K"], fitted: int) -> float:
    """Fit targets by a ridge regression on the first rows, and return R² on the others.

    >>> x = torch.randn(300, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> round(ridge_r2(x, x @ torch.ones(8, 2, dtype=torch.float64), 200), 2) > 0.9
    True
    """
    known, new = features[:fitted], features[fitted:]
    mean, std = known.mean(dim=0), known.std(dim=0).clamp(min=1e-6)
    known, new = (known - mean) / std, (new - mean) / std
    centre = targets[:fitted].mean(dim=0)
    wanted = targets[:fitted] - centre
    penalty = RIDGE * fitted * torch.eye(features.shape[1], dtype=features.dtype)
    weights = torch.linalg.solve(known.T @ known + penalty, known.T @ wanted)
    error = (targets[fitted:] - centre - new @ weights).square().sum()
    return float(1 - error / (targets[fitted:] - centre).square().sum())
