"""`everyday` beside the published model in LiteRT, alive: for `make test-long`, where both are there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from singleshot.images import IMAGE_SUFFIXES
from tests.starts.litert import BOX_PX, LOGIT, OWN, answers, differences
from tests.starts.test_shipped import PHOTOS
from tools.ready_detector import model_bytes

DATA = os.environ.get("READY_DATA", "")


@pytest.mark.skipif(
    not (os.environ.get("SINGLESHOT_LONG") and DATA),
    reason="make test-long READY_DATA=FILE runs it",
)
def test_logits_and_boxes_are_those_of_litert_on_every_photograph() -> None:
    pytest.importorskip("ai_edge_litert", reason="pip install ai-edge-litert")
    _, model = model_bytes(Path(DATA))
    more = sorted(PHOTOS.iterdir()) if PHOTOS.is_dir() else []
    for photo in [*OWN, *(each for each in more if each.suffix in IMAGE_SUFFIXES)]:
        logit, box_px = differences(*answers(model, photo), photo)
        assert logit <= LOGIT and box_px <= BOX_PX, photo.name
