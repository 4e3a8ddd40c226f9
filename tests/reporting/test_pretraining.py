from __future__ import annotations

from pathlib import Path

import torch

from singleshot import weights
from singleshot.backbones.residual import FINE2, ResidualPyramid
from singleshot.preprocess import Preprocess
from singleshot.pretraining.pretrain import Pretrained
from singleshot.reporting.pretraining import write_report

TEACHER = {"title": "EfficientNet-Lite0", "licence": "Apache-2.0", "file_sha256": "57934424"}
LOG = """step,probe_r2,stride 4,stride 32,lr,images_per_second
0,0.1,,,,
100,,0.4,0.5,0.002,50
200,0.3,0.3,0.4,0.001,51
"""


def pretrained(root: Path, log: str = LOG, probe: tuple[float, float] | None = (0.1, 0.3)) -> Pretrained:
    """A finished run with that log."""
    folder = root / "b.pretraining"
    folder.mkdir()
    (folder / "log.csv").write_text(log)
    stages = ResidualPyramid(FINE2).state_dict()
    tensors = {f"trunk.{name}": tensor for name, tensor in stages.items() if name.startswith(("stem.", "stages."))}
    config = weights.BackboneConfig("residual-fine2", Preprocess((64, 64)))
    sha256 = weights.save_backbone(root / "b.safetensors", config, tensors, {"teachers": [TEACHER]})
    return Pretrained(root / "b.safetensors", folder, sha256, 90, 200, 4.0, {"stride 4": 0.3}, probe)


def test_the_page_shows_losses_by_level_the_probe_and_the_origin(tmp_path: Path) -> None:
    torch.manual_seed(0)
    run = pretrained(tmp_path)
    page = write_report(run)
    text = page.read_text()
    assert page == run.folder / "report.html"
    for part in ("stride 32", "Linear probe", "EfficientNet-Lite0", "Apache-2.0", "0.300", run.sha256):
        assert part in text
    assert text.count("<svg") == 4 and "<script" not in text


def test_a_run_too_short_for_a_curve_still_has_a_page(tmp_path: Path) -> None:
    run = pretrained(tmp_path, "step,lr,images_per_second\n1,0.1,5\n", probe=None)
    text = write_report(run).read_text()
    assert "<svg" not in text and "n/a" in text


def test_a_page_is_written_again_over_an_earlier_one(tmp_path: Path) -> None:
    run = pretrained(tmp_path)
    first = write_report(run).read_text()
    assert write_report(run).read_text() == first
