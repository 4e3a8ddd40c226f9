from __future__ import annotations

import re

import pytest

from singleshot import classes
from singleshot.errors import UsageError
from singleshot.foreign.sources import COCO_GAPS, SOURCES, find, get


def test_every_name_and_alias_is_there_once():
    names = [name for row in SOURCES for name in (row.name, *row.aliases)]
    assert len(names) == len(set(names))
    wanted = {"vgg16-imagenet", "vgg16-reducedfc", "vgg16-hed", "ssd300-coco", "lite320-coco", "ssd300-voc"}
    assert wanted | {"ssd300-voc-lufficc", "ssd512-voc-lufficc"} <= set(names)


def test_torchvisions_own_names_are_known():
    assert get("ssd300_vgg16").name == "ssd300-coco"
    assert get("ssdlite320_mobilenet_v3_large").name == "lite320-coco"
    assert find("nothing") is None


def test_the_hash_in_a_file_name_is_the_hash_of_its_row():
    for row in SOURCES:
        stated = re.search(r"-([0-9a-f]{8})\.pth$", row.file_name)
        assert row.sha256 is None or stated is None or stated[1] == row.sha256
        assert row.url.startswith("https://") or row.name == "vgg16-hed"
        assert row.training_data and row.licence


def test_cocos_ninety_slots_name_its_eighty_classes_in_order():
    slots = get("ssd300-coco").class_names
    assert len(slots) == 90 and [name for name in slots if name is not None] == classes.COCO
    assert len(COCO_GAPS) == 10
    # instances_val2017.json: category 1 is person, 13 stop sign, 18 dog, 84 book, 90 toothbrush; 12 and 26 are gaps.
    assert [slots[i - 1] for i in (1, 13, 18, 84, 90)] == ["person", "stop sign", "dog", "book", "toothbrush"]
    assert slots[11] is None and slots[25] is None


def test_a_misspelt_name_gets_a_suggestion():
    with pytest.raises(UsageError, match="Did you mean ssd300-coco") as caught:
        get("ssd300-cocoa")
    assert caught.value.exit_code == 2
    with pytest.raises(UsageError, match="Known ones: vgg16-imagenet"):
        get("")
