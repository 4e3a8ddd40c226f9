from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from singleshot.config import check_number, filled, from_json_dict, to_json_dict
from singleshot.errors import ConfigError


@dataclass(frozen=True)
class Inner:
    step: float | None
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Outer:
    size_hw: tuple[int, int]
    names: tuple[str, ...]
    rows: tuple[Inner, ...]
    on: bool = False


CONFIG = Outer((3, 4), ("x", "y"), (Inner(None), Inner(2.5, "b")), True)


def through_json(config: Any) -> Any:
    return json.loads(json.dumps(to_json_dict(config)))


def test_a_config_survives_json():
    assert from_json_dict(Outer, through_json(CONFIG)) == CONFIG


@dataclass(frozen=True)
class Later:
    inner: Inner
    other: Inner = Inner(1.0, "b")
    rate: float = 0.5
    names: tuple[str, ...] = ()


def test_e7_fields_that_came_later_take_their_defaults_at_every_depth_and_no_others():
    assert from_json_dict(Later, filled(Later, {"inner": {"step": 2.0}})) == Later(Inner(2.0))
    stored = filled(Later, {"inner": {"step": 2.0, "kind": "b"}, "other": {"step": None}, "more": 1})
    assert stored == {
        "inner": {"step": 2.0, "kind": "b"},
        "other": {"step": None, "kind": "a"},  # the default of its own type: what was there was written in full
        "rate": 0.5,
        "names": [],
        "more": 1,
    }
    for wrong in ({}, {"inner": 3}, 3, {"inner": {"step": 2.0}, "more": 1}):
        with pytest.raises(ConfigError):
            from_json_dict(Later, filled(Later, wrong))


def test_empty_tuples_survive_json():
    config = Outer((3, 4), (), ())
    assert from_json_dict(Outer, through_json(config)) == config


def test_a_whole_number_may_stand_for_a_float():
    data = through_json(CONFIG)
    data["rows"][1]["step"] = 300
    step = from_json_dict(Outer, data).rows[1].step
    assert (step, type(step)) == (300.0, float)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": 1}, "unknown fields: colour"),
        ({"on": 1}, "config.on is 1"),
        ({"on": None}, "config.on is None"),
        ({"size_hw": [3]}, r"config.size_hw is \[3\]"),
        ({"size_hw": [3, 4.0]}, r"config.size_hw\[1\] is 4.0"),
        ({"size_hw": [3, True]}, r"config.size_hw\[1\] is True"),
        ({"names": "xy"}, "config.names is 'xy'"),
        ({"rows": [{"step": "8", "kind": "a"}]}, r"config.rows\[0\].step is '8'"),
        ({"rows": [{"step": 8.0, "kind": "c"}]}, r"config.rows\[0\].kind is 'c'"),
        ({"rows": [{"step": 8.0}]}, r"config.rows\[0\] has missing fields: kind"),
        ({"rows": [7]}, r"config.rows\[0\] is 7"),
    ],
)
def test_anything_else_is_refused_by_name(change, message):
    with pytest.raises(ConfigError, match=message):
        from_json_dict(Outer, through_json(CONFIG) | change)


def test_a_list_is_not_a_config():
    with pytest.raises(ConfigError, match="weights metadata is"):
        from_json_dict(Outer, [1, 2], "weights metadata")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), -0.001, 1.001, 1])
def test_a_number_outside_its_range_is_named_with_the_range(value: float | int) -> None:
    with pytest.raises(ConfigError, match=r"momentum is .*\. Give a number of 0 or more, below 1"):
        check_number("momentum", value, 0, 1, below=True)


def test_the_ends_of_a_range_count_unless_they_are_left_out() -> None:
    check_number("share", 0.0, 0, 1)
    check_number("share", 1, 0, 1)
    check_number("rate", 1e30, 0, above=True)
    with pytest.raises(ConfigError, match=r"rate is 0\.0\. Give a number above 0"):
        check_number("rate", 0.0, 0, above=True)


@dataclass(frozen=True)
class Rate:
    value: float


def test_a_whole_number_that_no_float_holds_is_no_float() -> None:
    assert from_json_dict(Rate, {"value": 300}) == Rate(300.0)
    with pytest.raises(ConfigError, match=r"config\.value is 1000000.*, which is not float"):
        from_json_dict(Rate, {"value": 10**400})
