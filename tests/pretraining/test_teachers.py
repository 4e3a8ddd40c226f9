from __future__ import annotations

from pathlib import Path

import pytest
import torch

from singleshot.errors import ConfigError, DataError
from singleshot.images import read_image
from singleshot.preprocess import Preprocess, normalise, to_input
from singleshot.pretraining import teachers
from singleshot.pretraining.teachers import EfficientNetLite0, Teacher, load_teacher

CLASSES = {"coffee.png": (967, 504, 969), "chelsea.png": (281, 282, 285), "camera.png": (872,)}
"""ImageNet's numbers of what the photographs show: espresso, mug, eggnog; three kinds of cats; a tripod."""


@pytest.mark.parametrize("side", [224, 255])
def test_maps_have_strides_4_8_16_and_32_rounded_up(side: int) -> None:
    maps = EfficientNetLite0().eval()(torch.zeros(1, 3, side, side))
    assert [tuple(each.shape[1:]) for each in maps] == [
        (channels, -(-side // stride), -(-side // stride))
        for channels, stride in zip((24, 40, 112, 320), teachers.STRIDES, strict=True)
    ]


def test_the_teacher_names_what_photographs_show(teacher: Teacher, shared: Path) -> None:
    for name, accepted in CLASSES.items():
        found = next((shared / "data/photos").glob(f"{Path(name).stem}.*"))
        image = torch.from_numpy(to_input(read_image(found), Preprocess((224, 224))))[None]
        with torch.no_grad():
            maps = teacher.network(normalise(image, teacher.preprocess))
            best = int(teacher.network.logits(maps[-1]).argmax())
        assert best in accepted, name


def test_a_teacher_is_frozen_and_says_where_it_comes_from(teacher: Teacher) -> None:
    assert not teacher.network.training and not any(each.requires_grad for each in teacher.network.parameters())
    assert teacher.provenance["licence"] == "Apache-2.0" and len(teacher.provenance["file_sha256"]) == 64


def test_another_file_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    file = tmp_path / "teacher.pth"
    file.write_bytes(b"PK\x03\x04 a pickle that nobody opens")
    with pytest.raises(DataError, match=r"teacher\.pth: SHA-256 .* is not that of the published EfficientNet-Lite0"):
        load_teacher("lite0", file)


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teachers, "_PACKAGE", "no_such_teacher")
    with pytest.raises(ConfigError, match=r"pip install 'singleshot\[pretrain\]'"):
        load_teacher()
