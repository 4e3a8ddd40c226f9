from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from singleshot.data import split_groups
from singleshot.errors import UsageError
from tests.data.series import series


def grouped(root: Path, images: dict[str, int], by: split_groups.GroupBy = "group") -> list[set[str]]:
    paths = [sample.image_path for sample in series(root, images).samples]
    found: dict[int, set[str]] = {}
    for path, group in zip(paths, split_groups.groups(paths, by).ids, strict=True):
        found.setdefault(group, set()).add(path.relative_to(root).with_suffix("").as_posix())
    return sorted((each for each in found.values() if len(each) > 1), key=min)


def test_near_copies_and_versions_of_one_source_stay_together_and_others_do_not(tmp_path: Path) -> None:
    images = {f"x{scene}y": scene for scene in range(20)}
    copies = {"copy": 3, "a_jpg.rf.0123456789abcdef": 30, "a_jpg.rf.fedcba9876543210": 31}
    assert grouped(tmp_path, images | copies) == [
        {"a_jpg.rf.0123456789abcdef", "a_jpg.rf.fedcba9876543210"},
        {"copy", "x3y"},
    ]


def test_consecutive_numbers_stay_together_only_while_neighbours_look_alike(tmp_path: Path) -> None:
    scenes = [1, 1, 1, 2, 2, *range(3, 20)]
    images = {f"IMG_{number:04}": scene for number, scene in enumerate(scenes)}
    assert grouped(tmp_path, images) == [{"IMG_0000", "IMG_0001", "IMG_0002"}, {"IMG_0003", "IMG_0004"}]


def test_by_folder_and_by_random_look_at_no_image(tmp_path: Path) -> None:
    images = {"x/a": 1, "x/b": 2, "y/c": 1}
    assert grouped(tmp_path, images, "folder") == [{"x/a", "x/b"}]
    assert grouped(tmp_path, images, "random") == []
    assert split_groups.groups([], "group") == split_groups.Groups([], 0)


def test_a_series_of_one_fixed_camera_is_cut_into_runs_of_consecutive_images(tmp_path: Path) -> None:
    paths = [sample.image_path for sample in series(tmp_path, {f"f{i:03}": 1 for i in range(60)}).samples]
    found = split_groups.groups(paths, "group")
    assert found.cut == 60
    assert len(set(found.ids)) == 20
    assert found.ids == sorted(found.ids)  # runs, in the order of names


def names(count: int) -> list[str]:
    return [f"{index:03}" for index in range(count)]


def test_shares_and_classes_are_kept_in_proportion_and_groups_whole() -> None:
    rng = np.random.default_rng(0)
    group_ids = rng.integers(0, 120, 400).tolist()
    counts = np.eye(4)[rng.choice(4, 400, p=[0.6, 0.3, 0.07, 0.03])]
    shares = {"train": 0.7, "val": 0.15, "test": 0.15}
    result = split_groups.assign(group_ids, names(400), counts, shares)
    assert all(len({result[i] for i in range(400) if group_ids[i] == group}) == 1 for group in set(group_ids))
    for split, share in shares.items():
        chosen = np.array([each == split for each in result])
        assert abs(chosen.mean() - share) < 0.01
        assert (np.abs(counts[chosen].sum(axis=0) / counts.sum(axis=0) - share) < 0.08).all()


def test_the_division_depends_on_the_seed_alone() -> None:
    counts = np.ones((50, 1))
    shares = {"train": 0.8, "val": 0.2}
    once, again, other = (
        split_groups.assign(list(range(50)), names(50), counts, shares, seed=seed) for seed in (0, 0, 1)
    )
    assert once == again != other
    order = np.random.default_rng(0).permutation(50).tolist()
    shuffled = split_groups.assign(order, [names(50)[i] for i in order], counts, shares)
    assert dict(zip([names(50)[i] for i in order], shuffled, strict=True)) == dict(zip(names(50), once, strict=True))


def test_assigned_images_stay_and_new_ones_follow_their_group() -> None:
    fixed = {0: "val", 1: "train", 2: "train"}
    result = split_groups.assign([0, 1, 2, 0, 3], names(5), np.ones((5, 1)), {"train": 0.5, "val": 0.5}, fixed=fixed)
    assert result[:4] == ["val", "train", "train", "val"]
    assert Counter(result) == {"train": 3, "val": 2} or Counter(result) == {"train": 2, "val": 3}


def test_no_split_is_empty_unless_there_are_too_few_groups() -> None:
    shares = {"train": 0.9, "val": 0.05, "test": 0.05}
    assert sorted(split_groups.assign([0, 1, 2], names(3), np.ones((3, 0)), shares)) == ["test", "train", "val"]
    with pytest.raises(UsageError, match="2 groups that look alike, too few for 3 splits"):
        split_groups.assign([0, 1, 1], names(3), np.ones((3, 0)), shares)
    assert split_groups.assign([], [], np.ones((0, 0)), shares) == []
