"""Frozen dataclasses that check their own fields, as JSON and back, strictly.

A field states its range and its sentence where it is defined:

    @dataclass(frozen=True)
    class OptimizerConfig(Config, name="optimizer"):
        lr: Annotated[float, Above(0)] = 1e-3
        \"\"\"Base learning rate of the weights.\"\"\"

The constructor, the reader of JSON, messages and help texts all take them from there. Weights files carry the config
of their network: a field that is missing, unknown or of another type would silently build another network than the
one that was trained, so each of them is an error that names the field. Only the standard library is needed: training
on a minimal GPU image imports this module.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
import math
import numbers
import sys
import textwrap
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from singleshot.errors import ConfigError, nearest

C = TypeVar("C")
_MISFIT = object()
ADDED = types.MappingProxyType({"added later": True})
"""Metadata of a field that came after files were written: `scores: Scores = field(default="softmax", metadata=ADDED)`.

Its default is what older versions did. It is stored only where it has another value, and read as the default where it
is missing: old files are read as they are, and a config that does not use it is stored byte for byte as before."""
_PLAIN: dict[Any, type[Any]] = {
    int: numbers.Real,
    float: numbers.Real,
    str: str,
    bool: bool,
    types.NoneType: types.NoneType,
}


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`, both included. NaN and infinity are in no range.

    In `Annotated` it restricts a number, or each number of a tuple. None and text, where the type allows them, pass.
    """

    low: float | int
    high: float | int = math.inf

    def __contains__(self, value: float | int) -> bool:
        return self.low <= value <= self.high and -math.inf < value < math.inf

    def __str__(self) -> str:
        return f"of {self.low:g} or more" if math.isinf(self.high) else f"from {self.low:g} to {self.high:g}"


class AtLeast(Range):
    """The numbers from `low` on, `low` included."""


class Above(Range):
    """The numbers above `low`, up to `high`, which is included."""

    def __contains__(self, value: float | int) -> bool:
        return value > self.low and super().__contains__(value)

    def __str__(self) -> str:
        return f"above {self.low:g}" + ("" if math.isinf(self.high) else f", at most {self.high:g}")


class HalfOpen(Range):
    """The numbers from `low`, which is included, to `high`, which is not."""

    def __contains__(self, value: float | int) -> bool:
        return value < self.high and super().__contains__(value)

    def __str__(self) -> str:
        return f"of {self.low:g} or more, below {self.high:g}"


class Ordered(Range):
    """Tuples of numbers from `low` to `high` in ascending order; equal neighbours are allowed."""


class Config:
    """Base of frozen dataclasses whose fields are checked when an object is made.

    A range in `Annotated` and the choices of a `Literal` are checked, in unions and tuples too. A subclass that has
    rules over several fields defines `__post_init__` and calls this one first.

    Args:
        name: precedes the field in messages: `optimizer` gives "optimizer.lr is -1".

    Raises ConfigError where a value is outside its range, or not among its choices.
    """

    _name = ""

    def __init_subclass__(cls, *, name: str = "", **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._name = name or cls._name

    def __post_init__(self) -> None:
        for field, hint in _checked_hints(type(self)).items():
            _check(hint, getattr(self, field), f"{self._name}.{field}" if self._name else field)


def to_json_dict(config: Any) -> dict[str, Any]:
    """Return the fields of a dataclass as JSON stores them: nested dataclasses become dictionaries, tuples lists.

    `ADDED` fields are left out where they have their default.
    """
    return {
        field.name: _to_json(getattr(config, field.name))
        for field in dataclasses.fields(config)
        if not (_is_added(field) and getattr(config, field.name) == field.default)
    }


def _is_added(field: dataclasses.Field[Any]) -> bool:
    return ADDED.keys() <= field.metadata.keys()


def from_json_dict(config_type: type[C], data: Any, where: str = "config") -> C:
    """Make a dataclass from what `to_json_dict` returned.

    Fields may be bool, int, float, str, None, `Literal`, unions of them, tuples, and dataclasses of such fields.

    Args:
        config_type: the dataclass to make.
        data: what a JSON reader returned.
        where: the name of the dictionary, for messages.

    Raises:
        ConfigError: a field is missing, unknown, of another type than the dataclass states, or out of its range.
    """
    if not isinstance(data, dict):
        raise ConfigError(f"{where} is {_shown(data)} and not a table of fields")
    fields = dataclasses.fields(config_type)  # pyright: ignore[reportArgumentType]
    names, needed = [field.name for field in fields], [field.name for field in fields if not _is_added(field)]
    unknown, missing = sorted(set(data) - set(names)), [name for name in needed if name not in data]
    if unknown or missing:
        faults = [
            f"{kind} fields: {', '.join(map(str, found))}"
            for kind, found in (("unknown", unknown), ("missing", missing))
            if found
        ]
        near = nearest(str(unknown[0]), names) if unknown else None
        remedy = f"Did you mean {near}?" if near else "It was written by another version"
        raise ConfigError(f"{where} has {' and '.join(faults)}", remedy=remedy)
    hints = _hints(config_type)
    given = [name for name in names if name in data]
    return config_type(**{name: _from_json(hints[name], data[name], f"{where}.{name}") for name in given})


def with_defaults(config_type: type[Any], data: Any) -> Any:
    """Complete what an older version stored with the defaults of fields that were added later, nested ones too.

    Only for records whose new fields default to what older versions did. Fields in lists stay as they are, and so does
    what is not a table of fields: `from_json_dict` refuses it with its name.
    """
    if not isinstance(data, dict):
        return data
    hints, found = get_type_hints(config_type), dict(data)
    for field in dataclasses.fields(config_type):
        hint = hints[field.name]
        if field.name in data:
            if dataclasses.is_dataclass(hint) and isinstance(hint, type):
                found[field.name] = with_defaults(hint, data[field.name])
        elif field.default is not dataclasses.MISSING:
            found[field.name] = _to_json(field.default)
        elif field.default_factory is not dataclasses.MISSING:
            found[field.name] = _to_json(field.default_factory())
    return found


class FieldHelp(NamedTuple):
    """One field of a config as help texts show it.

    Args:
        name: with the names of the configs around it: `optimizer.lr`.
        expected: the values that it takes, such as "a number above 0".
        default: as JSON stores it; `...` for a field without a default.
        sentence: what it does; empty where its class says nothing.
    """

    name: str
    expected: str
    default: Any
    sentence: str


def field_help(config_type: type[Any], prefix: str = "", defaults: Any = None) -> Iterator[FieldHelp]:
    """Yield the help of every field of a config, those of nested configs in place of their parents.

    Args:
        config_type: a dataclass.
        prefix: precedes the names.
        defaults: an object whose values are the defaults; None for those of the class.
    """
    hints, sentences = _hints(config_type), descriptions(config_type)
    for field in dataclasses.fields(config_type):
        hint, name = hints[field.name], f"{prefix}{field.name}"
        default: Any = ...
        if defaults is not None:
            default = getattr(defaults, field.name)
        elif field.default is not dataclasses.MISSING:
            default = field.default
        elif field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            yield from field_help(hint, f"{name}.", None if default is ... else default)
        else:
            yield FieldHelp(name, _expected(hint), _to_json(default), sentences.get(field.name, ""))


@functools.cache
def descriptions(config_type: type[Any]) -> dict[str, str]:
    """Return the sentence of each field: the string literal below it in the source, or in that of a base class.

    Fields without one are absent, and so are all fields where Python has no source.
    """
    found: dict[str, str] = {}
    for each in reversed(config_type.__mro__):
        if not dataclasses.is_dataclass(each):
            continue
        try:
            (definition,) = ast.parse(textwrap.dedent(inspect.getsource(each))).body
        except (OSError, TypeError):
            continue
        body = definition.body if isinstance(definition, ast.ClassDef) else []
        for field, below in itertools.pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(field.target, ast.Name):
                text = below.value.value if isinstance(below.value, ast.Constant) else None
                if isinstance(text, str):
                    found[field.target.id] = " ".join(text.split())
    return found


@functools.cache
def _hints(config_type: type[Any]) -> dict[str, Any]:
    return get_type_hints(config_type, include_extras=True)


@functools.cache
def _checked_hints(config_type: type[Any]) -> dict[str, Any]:
    """The hints of the fields that have a range or choices; most have none, and are skipped."""
    names = {field.name for field in dataclasses.fields(config_type)}
    return {
        name: hint
        for name, hint in _hints(config_type).items()
        if name in names and ("Annotated[" in str(hint) or "Literal[" in str(hint))
    }


def _check(hint: Any, value: Any, where: str) -> None:
    """Raise ConfigError for a value without the ranges and choices of a hint; for an item of a tuple with its index."""
    if _allows(hint, value):
        return
    if get_origin(hint) is tuple and isinstance(value, tuple | list):
        for index, (kind, item) in enumerate(zip(_item_hints(hint, value), value, strict=False)):
            _check(kind, item, f"{where}[{index}]")
    raise ConfigError(f"{where} is {_shown(value)}", remedy=_remedy(hint, value))


def _item_hints(hint: Any, value: Sequence[Any]) -> Sequence[Any]:
    """The hint of each item of a tuple."""
    options = get_args(hint)
    return [options[0]] * len(value) if options[-1] is Ellipsis else options


def _allows(hint: Any, value: Any) -> bool:
    """Whether a value has the ranges and choices of a hint. Types are checked only as far as those need it."""
    return _checker(hint)(value)


@functools.cache
def _checker(hint: Any) -> Callable[[Any], bool]:
    """`_allows` for one hint: taking hints apart takes longer than the checks, so it is done once for each."""
    origin, options = get_origin(hint), get_args(hint)
    if origin is Annotated:
        ranges = [each for each in options[1:] if isinstance(each, Range)]
        check = _checker(options[0])
        return lambda value: all(_within(limits, value) for limits in ranges) and check(value)
    if origin in (Union, types.UnionType):
        checks = [_checker(option) for option in options]
        return lambda value: any(check(value) for check in checks)
    if origin is Literal:
        return lambda value: any(value == option and type(value) is type(option) for option in options)
    if origin is tuple and options:

        def check_items(value: Any) -> bool:
            if not isinstance(value, tuple | list):
                return False
            kinds = _item_hints(hint, value)
            return len(kinds) == len(value) and all(map(_allows, kinds, value))

        return check_items
    kind = _PLAIN.get(hint, object)
    return lambda value: isinstance(value, kind)


def _within(limits: Range, value: Any) -> bool:
    if isinstance(value, tuple | list):
        ordered = not isinstance(limits, Ordered) or list(value) == sorted(value)
        return ordered and all(_within(limits, each) for each in value)
    return not isinstance(value, _PLAIN[float]) or value in limits


def _expected(hint: Any) -> str:
    """The values of a hint in words, such as "a number above 0, or null"."""
    origin, options = get_origin(hint), get_args(hint)
    if origin is Annotated:
        ranges = "".join(f" {each}" for each in options[1:] if isinstance(each, Range))
        ascending = ", in ascending order" if any(isinstance(each, Ordered) for each in options[1:]) else ""
        return f"{_expected(options[0])}{ranges}{ascending}"
    if origin in (Union, types.UnionType):
        return ", or ".join(_expected(option) for option in options)
    if origin is Literal:
        names = [str(option) for option in options]
        return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]
    if origin is tuple:
        if options[-1] is Ellipsis:
            return f"a list, each {_expected(options[0])}"
        same = len(set(map(_expected, options))) == 1
        each = _expected(options[0]) if same else "; ".join(map(_expected, options))
        return f"a list of {len(options)}, each {each}" if same else f"a list of {len(options)}: {each}"
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text", types.NoneType: "null"}
    return words.get(hint, f"a table of the fields of {getattr(hint, '__name__', hint)}")


def _remedy(hint: Any, value: Any) -> str:
    choices = [each for each in _choices(hint) if isinstance(each, str)]
    near = nearest(value, choices) if isinstance(value, str) else None
    return f"Did you mean {near}?" if near else f"Give {_expected(hint)}"


def _choices(hint: Any) -> Iterator[Any]:
    if get_origin(hint) is Literal:
        yield from get_args(hint)
    elif get_origin(hint) in (Union, types.UnionType, Annotated):
        for option in get_args(hint):
            yield from _choices(option)


def _to_json(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_json_dict(value)
    if isinstance(value, tuple):
        return [_to_json(item) for item in value]
    return value


def _from_json(hint: Any, value: Any, where: str) -> Any:
    found = _fitted(hint, value, where)
    if found is _MISFIT:
        raise ConfigError(f"{where} is {_shown(value)}", remedy=_remedy(hint, value))
    return found


def _fitted(hint: Any, value: Any, where: str) -> Any:
    """The value as the hint wants it, or _MISFIT. Raises ConfigError where a part of it does not fit."""
    origin, options = get_origin(hint), get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_json_dict(hint, value, where)
    if origin is Annotated:
        return _fitted(options[0], value, where)
    if origin in (Union, types.UnionType):
        return _first_that_fits(options, value, where)
    if origin is Literal:
        return value if _allows(hint, value) else _MISFIT
    if origin is tuple:
        if not isinstance(value, list) or len(kinds := _item_hints(hint, value)) != len(value):
            return _MISFIT
        items = enumerate(zip(kinds, value, strict=True))
        return tuple(_from_json(kind, item, f"{where}[{i}]") for i, (kind, item) in items)
    if hint is float:
        # JSON writers may drop the point of 300.0; a whole number that no float can represent is refused.
        fits = type(value) is float or (type(value) is int and abs(value) <= sys.float_info.max)
        return float(value) if fits else _MISFIT
    return value if type(value) is hint else _MISFIT


def _first_that_fits(options: tuple[Any, ...], value: Any, where: str) -> Any:
    failure: ConfigError | None = None
    for option in options:
        try:
            found = _fitted(option, value, where)
        except ConfigError as error:
            failure = failure or error
        else:
            if found is not _MISFIT:
                return found
    if failure is not None:
        raise failure
    return _MISFIT


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}…"
