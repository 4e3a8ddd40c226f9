from __future__ import annotations

import math

import torch

from singleshot.detection.coding import decode, encode


def test_one_unit_is_a_tenth_of_the_width_and_e_to_the_fifth_of_the_height() -> None:
    anchor = torch.tensor([[0.5, 0.5, 0.2, 0.2]])
    box = torch.tensor([[0.52, 0.5, 0.2, 0.2 * math.exp(0.2)]])
    torch.testing.assert_close(encode(box, anchor), torch.tensor([[1.0, 0.0, 0.0, 1.0]]))


def test_decoding_undoes_encoding() -> None:
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand(500, 4, generator=generator) + 0.05
    anchors = torch.rand(500, 4, generator=generator) + 0.05
    torch.testing.assert_close(decode(encode(boxes, anchors), anchors), boxes)


def test_an_absurd_growth_stays_finite() -> None:
    offsets = torch.tensor([[0.0, 0.0, 1e9, 1e9]])
    anchors = torch.tensor([[0.5, 0.5, 0.1, 0.1]])
    assert decode(offsets, anchors).isfinite().all()
    assert decode(offsets, anchors)[0, 2].item() == math.exp(math.log(62.5)) * torch.tensor(0.1).item() or math.isclose(
        decode(offsets, anchors)[0, 2].item(), 6.25, rel_tol=1e-5
    )


def test_no_boxes_have_no_offsets() -> None:
    assert encode(torch.empty(0, 4), torch.empty(0, 4)).shape == (0, 4)
