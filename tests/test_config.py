from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest

from singleshot.config import (
    ADDED,
    Above,
    AtLeast,
    Config,
    FieldHelp,
    HalfOpen,
    Ordered,
    Range,
    descriptions,
    field_help,
    from_json_dict,
    to_json_dict,
    with_defaults,
)
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


def test_e7_only_later_fields_take_their_defaults_at_every_depth():
    assert from_json_dict(Later, with_defaults(Later, {"inner": {"step": 2.0}})) == Later(Inner(2.0))
    stored = with_defaults(Later, {"inner": {"step": 2.0, "kind": "b"}, "other": {"step": None}, "more": 1})
    assert stored == {
        "inner": {"step": 2.0, "kind": "b"},
        "other": {"step": None, "kind": "a"},  # the default of its own type: what was there was written in full
        "rate": 0.5,
        "names": [],
        "more": 1,
    }
    for wrong in ({}, {"inner": 3}, 3, {"inner": {"step": 2.0}, "more": 1}):
        with pytest.raises(ConfigError):
            from_json_dict(Later, with_defaults(Later, wrong))


def test_empty_tuples_survive_json():
    config = Outer((3, 4), (), ())
    assert from_json_dict(Outer, through_json(config)) == config


def test_a_whole_number_is_read_as_a_float():
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


@dataclass(frozen=True)
class Rate:
    value: float


def test_a_whole_number_beyond_the_range_of_floats_is_refused() -> None:
    assert from_json_dict(Rate, {"value": 300}) == Rate(300.0)
    with pytest.raises(ConfigError, match=r"config\.value is 1000000.*… Give a number\."):
        from_json_dict(Rate, {"value": 10**400})


@dataclass(frozen=True)
class Optimizer(Config, name="optimizer"):
    lr: Annotated[float, Above(0)] = 1e-3
    """Base learning rate
    of the weights."""
    momentum: Annotated[float, HalfOpen(0, 1)] = 0.9
    betas: tuple[Annotated[float, HalfOpen(0, 1)], float] = (0.9, 2.0)
    kind: Literal["sgd", "adam"] = "sgd"
    """Which optimizer."""
    clip: Annotated[float, Above(0)] | None = None
    negatives: Annotated[int, AtLeast(0)] | Literal["auto"] = 0
    contrast: Annotated[tuple[float, float], Ordered(0, 2)] = (0.5, 1.5)
    share: Annotated[float, Range(0, 1)] = 0.0
    rows: tuple[Annotated[int, AtLeast(1)], ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Plan(Config):
    epochs: Annotated[int, AtLeast(1)]
    """Passes over the training data."""
    optimizer: Optimizer = Optimizer()
    "See `Optimizer`."


@dataclass(frozen=True)
class Nesterov(Optimizer, name="nesterov"):
    steps: Annotated[int, AtLeast(1)] = 2
    """Look-ahead steps."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps > 9:
            raise ConfigError("too many steps")


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("field", "values", "remedy"),
    [
        ("lr", (0, -1.0, NAN, INF, "1"), "Give a number above 0."),
        ("momentum", (-0.1, 1, 1.5, NAN), "Give a number of 0 or more, below 1."),
        ("betas", ((0.9,), (0.9, 1.0, 2.0), 3), "Give a list of 2: a number of 0 or more, below 1; a number."),
        ("kind", ("rmsprop", 3, None), "Give sgd or adam."),
        ("kind", ("Adamm",), "Did you mean adam?"),
        ("clip", (0.0, NAN, "x"), "Give a number above 0, or null."),
        ("negatives", (-1, "never", None), "Give a whole number of 0 or more, or auto."),
        ("negatives", ("aut",), "Did you mean auto?"),
        (
            "contrast",
            ((1.5, 0.5), (-1.0, 1.0), (0.0, 2.1), (NAN, 1.0)),
            "each a number from 0 to 2, in ascending order.",
        ),
        ("share", (-0.01, 1.01), "Give a number from 0 to 1."),
        ("negatives", (-(10**400),), "Give a whole number of 0 or more, or auto."),
        ("rows", (0, "x"), "Give a list, each a whole number of 1 or more."),
    ],
)
def test_a_value_out_of_its_range_or_choices_is_refused_with_what_to_give(
    field: str, values: tuple[Any, ...], remedy: str
) -> None:
    for value in values:
        with pytest.raises(ConfigError) as caught:
            Optimizer(**{field: value})
        assert str(caught.value).startswith(f"optimizer.{field} is {repr(value)[:37]}") and str(caught.value).endswith(
            remedy
        )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"betas": (1.0, 2.0)}, "optimizer.betas[0] is 1.0. Give a number of 0 or more, below 1."),
        ({"rows": (1, 0, -1)}, "optimizer.rows[1] is 0. Give a whole number of 1 or more."),
    ],
)
def test_an_item_of_a_tuple_is_named_with_its_index(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Optimizer(**fields)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "fields",
    [
        {"lr": 1e-12},
        {"momentum": 0},
        {"clip": 2, "negatives": "auto"},
        {"negatives": 3, "contrast": (0.0, 0.0)},
        {"share": 1.0, "rows": (1, 2)},
        {"kind": "adam", "note": "x"},
    ],
)
def test_the_ends_of_a_range_and_every_choice_are_allowed(fields: dict[str, Any]) -> None:
    assert to_json_dict(Optimizer(**fields)).items() >= json.loads(json.dumps(fields)).items()


def test_ranges_are_checked_when_json_is_read() -> None:
    data = through_json(Plan(3)) | {"optimizer": through_json(Optimizer()) | {"lr": -1}}
    with pytest.raises(ConfigError, match=r"optimizer\.lr is -1\.0\. Give a number above 0"):
        from_json_dict(Plan, data)
    assert from_json_dict(Plan, through_json(Plan(3))) == Plan(3)


def test_a_mistyped_value_is_answered_with_the_expected_ones() -> None:
    for change, message in (
        ({"lr": "fast"}, "recipe.lr is 'fast'. Give a number above 0."),
        ({"kind": "sdg"}, "recipe.kind is 'sdg'. Did you mean sgd?"),
        ({"clip": []}, "recipe.clip is []. Give a number above 0, or null."),
    ):
        with pytest.raises(ConfigError) as caught:
            from_json_dict(Optimizer, through_json(Optimizer()) | change, "recipe")
        assert str(caught.value) == message


def test_an_unknown_field_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"config has unknown fields: momentun\. Did you mean momentum\?"):
        from_json_dict(Optimizer, through_json(Optimizer()) | {"momentun": 1})


def test_a_subclass_keeps_the_checks_of_its_base_and_adds_its_own() -> None:
    with pytest.raises(ConfigError, match=r"nesterov\.lr is 0"):
        Nesterov(lr=0)
    with pytest.raises(ConfigError, match=r"nesterov\.steps is 0"):
        Nesterov(steps=0)
    with pytest.raises(ConfigError, match="too many steps"):
        Nesterov(steps=10)


def test_help_comes_from_the_fields() -> None:
    rows = {row.name: row for row in field_help(Plan)}
    assert list(rows)[:3] == ["epochs", "optimizer.lr", "optimizer.momentum"]
    assert rows["epochs"] == FieldHelp("epochs", "a whole number of 1 or more", ..., "Passes over the training data.")
    assert rows["optimizer.lr"].sentence == "Base learning rate of the weights."
    assert rows["optimizer.contrast"].default == [0.5, 1.5]
    assert rows["optimizer.note"] == FieldHelp("optimizer.note", "text", "", "")
    chosen = {row.name: row.default for row in field_help(Plan, defaults=Plan(7, Optimizer(lr=0.5)))}
    assert (chosen["epochs"], chosen["optimizer.lr"], chosen["optimizer.contrast"]) == (7, 0.5, [0.5, 1.5])
    assert descriptions(Nesterov)["steps"] == "Look-ahead steps."
    assert descriptions(Nesterov)["kind"] == "Which optimizer."


def test_configs_need_the_standard_library_alone() -> None:
    code = (
        "import sys; import singleshot.config;"
        "assert not {'torch', 'numpy', 'pydantic', 'annotated_types', 'yaml'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), -0.001, 1.001, 1])
def test_a_number_outside_its_range_is_named_with_the_range(value: float | int) -> None:
    with pytest.raises(ConfigError, match=r"momentum is .*\. Give a number of 0 or more, below 1"):
        Optimizer(momentum=value)


def test_the_ends_of_a_range_belong_to_it_unless_they_are_excluded() -> None:
    assert 0.0 in Range(0, 1) and 1 in Range(0, 1) and 1e30 in Above(0) and 1 in Above(0, 1)
    assert 0.0 not in Above(0) and 1 not in HalfOpen(0, 1) and 0 in HalfOpen(0, 1) and 0 in AtLeast(0)
    with pytest.raises(ConfigError, match=r"lr is 0\.0\. Give a number above 0"):
        Optimizer(lr=0.0)


@dataclass(frozen=True)
class Grown:
    rate: float
    kind: str = field(default="plain", metadata=ADDED)


def test_a_field_that_was_added_later_is_stored_only_where_it_differs_and_may_be_missing() -> None:
    assert to_json_dict(Grown(0.5)) == {"rate": 0.5} and from_json_dict(Grown, {"rate": 0.5}) == Grown(0.5)
    other = Grown(0.5, "new")
    assert through_json(other) == {"rate": 0.5, "kind": "new"} and from_json_dict(Grown, through_json(other)) == other
    with pytest.raises(ConfigError, match="missing fields: rate"):
        from_json_dict(Grown, {"kind": "new"})
    with pytest.raises(ConfigError, match=r"config\.kind is 3"):
        from_json_dict(Grown, {"rate": 0.5, "kind": 3})
