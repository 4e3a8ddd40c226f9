from __future__ import annotations

import numpy as np
import pytest

from singleshot.metrics.mean_iou import (
    class_iou,
    confusion,
    empty_matrix,
    figures,
    grouped,
    mean_over_classes,
    pixels_by_class,
)

VOID = 255


def slow_figures(pairs: list[tuple[np.ndarray, np.ndarray]], classes: int) -> dict[str, object]:
    """An evaluator of sets and loops, with nothing of the one that is tested: sets of pixels for each class."""
    truths, answers = [set() for _ in range(classes)], [set() for _ in range(classes)]
    everything = set()
    for picture, (truth, predicted) in enumerate(pairs):
        for y in range(truth.shape[0]):
            for x in range(truth.shape[1]):
                if truth[y, x] == VOID:
                    continue
                pixel = (picture, y, x)
                everything.add(pixel)
                truths[truth[y, x]].add(pixel)
                if predicted[y, x] != VOID:
                    answers[predicted[y, x]].add(pixel)
    ious = [len(t & a) / len(t | a) if t | a else None for t, a in zip(truths, answers, strict=True)]
    known = [iou for iou in ious if iou is not None]
    recalls = [len(t & a) / len(t) for t, a in zip(truths, answers, strict=True) if t]
    right = sum(len(t & a) for t, a in zip(truths, answers, strict=True))
    return {
        "miou": sum(known) / len(known),
        "iou": ious,
        "pixel_accuracy": right / len(everything),
        "mean_accuracy": sum(recalls) / len(recalls),
        "frequency_weighted_iou": sum(len(t) * (i or 0) for t, i in zip(truths, ious, strict=True)) / len(everything),
    }


def test_against_a_matrix_filled_by_hand() -> None:
    truth = np.array([[0, 0, 0, 1], [1, 1, VOID, 2]], dtype=np.uint8)
    predicted = np.array([[0, 0, 1, 1], [1, 2, 0, VOID]], dtype=np.uint8)
    matrix = confusion(truth, predicted, 3)
    assert matrix.tolist() == [[2, 1, 0, 0], [0, 2, 1, 0], [0, 0, 0, 1]]
    found = figures(matrix, ["a", "b", "c"])
    assert found.iou == {"a": pytest.approx(2 / 3), "b": pytest.approx(2 / 4), "c": 0.0}
    assert found.miou == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert found.pixel_accuracy == pytest.approx(4 / 7)
    assert found.mean_accuracy == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert found.frequency_weighted_iou == pytest.approx((3 * 2 / 3 + 3 * 1 / 2) / 7)
    assert found.pixels == 7 and found.absent == ()


def test_against_an_independent_evaluator_over_a_set_of_images() -> None:
    rng = np.random.default_rng(3)
    pairs = []
    for size in ((7, 11), (16, 5), (1, 1), (9, 9)):
        truth = rng.integers(0, 5, size).astype(np.uint8)
        predicted = np.where(rng.random(size) < 0.6, truth, rng.integers(0, 6, size)).astype(np.uint8)
        truth[rng.random(size) < 0.2] = VOID
        predicted[rng.random(size) < 0.1] = VOID
        predicted[predicted == 5] = 0
        pairs.append((truth, predicted))
    total = empty_matrix(6)
    for truth, predicted in pairs:
        total += confusion(truth, predicted, 6)
    found, slow = figures(total, [str(i) for i in range(6)]), slow_figures(pairs, 6)
    for name in ("miou", "pixel_accuracy", "mean_accuracy", "frequency_weighted_iou"):
        assert getattr(found, name) == pytest.approx(slow[name])
    assert list(found.iou.values()) == [None if iou is None else pytest.approx(iou) for iou in slow["iou"]]


def test_one_matrix_over_the_set_is_not_the_mean_over_images() -> None:
    small, large = np.zeros((1, 1), np.uint8), np.zeros((10, 10), np.uint8)
    wrong = np.ones((1, 1), np.uint8)
    total = confusion(small, wrong, 2) + confusion(large, large, 2)
    assert figures(total, ["a", "b"]).pixel_accuracy == pytest.approx(100 / 101)  # the mean over pictures says 0.5


def test_g12_a_class_that_neither_has_is_left_out_of_the_mean_and_named() -> None:
    truth = np.array([[0, 0, 1, 1]], dtype=np.uint8)
    found = figures(confusion(truth, truth, 3), ["a", "b", "c"])
    assert found.iou == {"a": 1.0, "b": 1.0, "c": None}
    assert found.miou == 1.0 and found.absent == ("c",)


def test_a_class_that_is_predicted_and_never_there_counts_as_zero() -> None:
    truth, predicted = np.array([[0, 0]], dtype=np.uint8), np.array([[0, 1]], dtype=np.uint8)
    found = figures(confusion(truth, predicted, 2), ["a", "b"])
    assert found.iou == {"a": 0.5, "b": 0.0} and found.miou == 0.25
    assert found.mean_accuracy == 0.5  # no true pixel, no accuracy


def test_g12_all_void_gives_no_figures() -> None:
    found = figures(confusion(np.full((4, 4), VOID, np.uint8), np.zeros((4, 4), np.uint8), 2), ["a", "b"])
    assert (found.miou, found.pixel_accuracy, found.mean_accuracy, found.frequency_weighted_iou) == (None,) * 4
    assert found.absent == ("a", "b") and found.pixels == 0


@pytest.mark.parametrize(("truth", "predicted"), [(3, 0), (0, 3), (254, 0), (0, 254)])
def test_an_id_that_is_no_class_is_refused(truth: int, predicted: int) -> None:
    with pytest.raises(ValueError, match="class id"):
        confusion(np.full((3, 3), truth, np.uint8), np.full((3, 3), predicted, np.uint8), 3)


def test_sizes_must_agree() -> None:
    with pytest.raises(ValueError, match="prediction"):
        confusion(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), 2)


def test_grouped_classes_are_right_within_their_group_and_no_class_is_a_miss() -> None:
    matrix = np.array([[1, 2, 0, 4], [0, 3, 5, 0], [0, 1, 1, 0]])
    assert grouped(matrix, [0, 0, 1], 2).tolist() == [[6, 5, 4], [1, 1, 0]]


def test_a_category_of_which_half_was_given_to_no_class_has_an_iou_of_a_half() -> None:
    # Ten true pixels of road, five of them answered as unlabelled: the development kit's fn is row − tp = 5.
    found = figures(grouped(np.array([[5, 0, 5], [0, 0, 0]]), [0, 0], 1), ["flat"])
    assert found.iou["flat"] == 0.5


def test_sums_of_pixels_by_class_give_the_iou_of_summed_matrices() -> None:
    rng = np.random.default_rng(0)
    matrices = [np.pad(rng.integers(0, 50, (3, 3)), ((0, 1), (0, 2))) for _ in range(4)]  # the fourth class is nowhere
    apart = sum(pixels_by_class(matrix) for matrix in matrices)
    assert np.array_equal(apart, pixels_by_class(sum(matrices, empty_matrix(4))))
    found = figures(sum(matrices, empty_matrix(4)), "abcd")
    iou = class_iou(apart)
    assert iou[:3].tolist() == list(found.iou.values())[:3] and np.isnan(iou[3]) and found.iou["d"] is None
    assert float(mean_over_classes(iou)) == pytest.approx(found.miou)
    assert np.array_equal(class_iou(np.stack([apart, 2 * apart]))[1], iou, equal_nan=True)


def test_the_mean_over_no_class_is_not_a_number() -> None:
    assert np.isnan(mean_over_classes(class_iou(np.zeros((2, 3, 5), np.int64)))).tolist() == [True, True]
    assert class_iou(np.array([[5], [10], [5]])).tolist() == [0.5]
