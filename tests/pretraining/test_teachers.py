from __future__ import annotations

from pathlib import Path

import pytest
import torch

from singleshot.errors import ConfigError, DataError
from singleshot.images import read_image
from singleshot.preprocess import Preprocess, normalise, to_input
from singleshot.pretraining import teachers
from singleshot.pretraining.teachers import EfficientNetLite0, EverydayMaps, Teacher, load_teacher, load_teachers

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
            best = int(teacher.network.logits(normalise(image, teacher.preprocess)).argmax())
        assert best in accepted, name


def test_a_teacher_is_frozen_and_says_where_it_comes_from(teacher: Teacher) -> None:
    assert not teacher.network.training and not any(each.requires_grad for each in teacher.network.parameters())
    assert teacher.provenance["licence"] == "Apache-2.0" and len(teacher.provenance["file_sha256"]) == 64


def test_the_shipped_detector_teaches_at_all_strides_without_an_extra_package() -> None:
    (teacher,) = load_teachers("everyday")
    with torch.no_grad():
        maps = teacher.maps(torch.zeros(2, 3, 255, 255))
    assert [tuple(each.shape) for each in maps] == [
        (2, channels, -(-255 // stride), -(-255 // stride))
        for stride, channels in zip(teachers.STRIDES, teacher.channels, strict=True)
    ]
    assert not any(each.requires_grad for each in teacher.network.parameters())
    assert teacher.provenance["licence"] == "Apache-2.0" and len(teacher.provenance["file_sha256"]) == 64


def test_its_maps_of_stride_16_and_32_are_those_that_the_detector_reads(shared: Path) -> None:
    (teacher,) = load_teachers("everyday")
    assert isinstance(teacher.network, EverydayMaps)
    image = torch.from_numpy(to_input(read_image(shared / "data/photos/road1.jpg"), teacher.preprocess))[None]
    with torch.no_grad():
        pixels = normalise(image, teacher.preprocess)
        read = teacher.network.detector.backbone(pixels)
        maps = teacher.maps(pixels)
        logits = teacher.network.logits(pixels)
    assert torch.equal(maps[2], read[0]) and torch.equal(maps[3], read[1])
    names = teacher.network.detector.config.class_names
    assert names[int(logits.argmax())] == "car"


def test_both_teach_together_and_the_detector_at_stride_16_alone(teacher: Teacher) -> None:
    first, second = load_teachers("both")
    assert first.name == "lite0" and first.strides == teachers.STRIDES
    assert second.name == "everyday" and (second.strides, second.channels) == ((16,), (576,))


def test_another_file_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    file = tmp_path / "teacher.pth"
    file.write_bytes(b"PK\x03\x04 a pickle that nobody opens")
    with pytest.raises(DataError, match=r"teacher\.pth: SHA-256 .* is not that of the published EfficientNet-Lite0"):
        load_teacher("lite0", file)


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teachers, "_PACKAGE", "no_such_teacher")
    with pytest.raises(ConfigError, match=r"pip install 'singleshot\[pretrain\]'"):
        load_teacher()
