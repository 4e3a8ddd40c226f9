from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from singleshot.data.masks.mask_samples import Pair, samples_of, without_pictures


def draw(path: Path, size_hw: tuple[int, int]) -> Path:
    cv2.imwrite(str(path), np.zeros(size_hw, np.uint8))
    return path


def test_pairs_that_hold_together_are_samples_in_order(tmp_path: Path) -> None:
    pairs = [Pair(f"{i}", draw(tmp_path / f"{i}.png", (4, 6)), draw(tmp_path / f"{i}m.png", (4, 6))) for i in (2, 0, 1)]
    samples, faults = samples_of(pairs)
    assert [sample.image_id for sample in samples] == ["2", "0", "1"] and not faults
    assert samples[0].size_hw == (4, 6) and samples[0].mask_path == tmp_path / "2m.png"
    assert len(samples[0].boxes_xyxy) == 0


def test_b33_a_mask_of_another_size_is_a_fault_with_both_sizes(tmp_path: Path) -> None:
    pair = Pair("a", draw(tmp_path / "a.png", (4, 6)), draw(tmp_path / "m.png", (6, 4)))
    samples, (fault,) = samples_of([pair])
    assert not samples and (fault.file, fault.kind, fault.severity) == (tmp_path / "m.png", "other-size-mask", "fatal")
    assert "4×6" in fault.message and "6×4" in fault.message


def test_a19_a_picture_without_a_mask_and_a_mask_without_a_picture_are_named(tmp_path: Path) -> None:
    listed = tmp_path / "train.txt"
    image, mask = draw(tmp_path / "a.png", (4, 6)), draw(tmp_path / "m.png", (4, 6))
    pairs = [
        Pair("a", image, tmp_path / "none.png", listed, 3),
        Pair("b", tmp_path / "none.jpg", mask, listed, 4),
    ]
    samples, faults = samples_of(pairs)
    assert not samples
    assert [(fault.file, fault.line, fault.kind) for fault in faults] == [
        (listed, 3, "missing-mask"),
        (listed, 4, "missing-picture"),
    ]
    (alone,) = without_pictures([mask], "images")
    assert (alone.file, alone.kind, alone.severity) == (mask, "missing-picture", "fatal")


def test_a_file_that_is_no_mask_is_a_fault(tmp_path: Path) -> None:
    mask = tmp_path / "m.png"
    mask.write_bytes(b"<html>")
    _, (fault,) = samples_of([Pair("a", draw(tmp_path / "a.png", (4, 6)), mask)])
    assert fault.kind == "not-a-mask"


def test_a_split_without_masks_has_samples_without(tmp_path: Path) -> None:
    (sample,), faults = samples_of([Pair("a", draw(tmp_path / "a.png", (4, 6)), None)])
    assert sample.mask_path is None and not faults
    assert samples_of([]) == ((), ())
