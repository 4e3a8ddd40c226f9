"""A frozen dataclass as JSON and back, strictly.

Weights files carry the config of their network. A field that is missing, unknown or of another type would build a
network that differs in silence from the trained one, so each of them is an error that names the field.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import types
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from singleshot.errors import ConfigError

Config = TypeVar("Config")


def to_json_dict(config: Any) -> dict[str, Any]:
    """The fields of a dataclass as JSON holds them; nested dataclasses become dictionaries, tuples lists."""
    return {field.name: _to_json(getattr(config, field.name)) for field in dataclasses.fields(config)}


def from_json_dict(config_type: type[Config], data: Any, where: str = "config") -> Config:
    """The inverse of `to_json_dict`.

    Fields may be bool, int, float, str, None, `Literal`, unions of them, tuples, and dataclasses of such fields.

    Args:
        config_type: the dataclass to make.
        data: what a JSON reader returned.
        where: what the dictionary is, for the message.

    Raises:
        ConfigError: a field is missing, unknown, or has another type than the dataclass says.
    """
    if not isinstance(data, dict):
        raise ConfigError(f"{where} is {_shown(data)} and not a table of fields")
    names = [field.name for field in dataclasses.fields(config_type)]  # pyright: ignore[reportArgumentType]
    unknown, missing = sorted(set(data) - set(names)), [name for name in names if name not in data]
    if unknown or missing:
        faults = [
            f"{kind} fields: {', '.join(map(str, found))}"
            for kind, found in (("unknown", unknown), ("missing", missing))
            if found
        ]
        raise ConfigError(f"{where} has {' and '.join(faults)}", remedy="It was written by another version")
    hints = get_type_hints(config_type)
    return config_type(**{name: _from_json(hints[name], data[name], f"{where}.{name}") for name in names})


def filled(config_type: type[Any], data: Any) -> Any:
    """What an older version stored, with the defaults of the fields that came later; nested dataclasses alike.

    Only for records whose new fields stand, by default, for what was the only way before. Fields in lists stay as
    they are, and so does what is no table of fields: `from_json_dict` names it.
    """
    if not isinstance(data, dict):
        return data
    hints, found = get_type_hints(config_type), dict(data)
    for field in dataclasses.fields(config_type):
        hint = hints[field.name]
        if field.name in data:
            if dataclasses.is_dataclass(hint) and isinstance(hint, type):
                found[field.name] = filled(hint, data[field.name])
        elif field.default is not dataclasses.MISSING:
            found[field.name] = _to_json(field.default)
        elif field.default_factory is not dataclasses.MISSING:
            found[field.name] = _to_json(field.default_factory())
    return found


def check_number(
    name: str,
    value: float | int,
    low: float | int,
    high: float | int = math.inf,
    *,
    above: bool = False,
    below: bool = False,
) -> None:
    """Refuse a number of a config that makes no sense: NaN, infinity, or outside low … high.

    Args:
        name: the field, for the message.
        value: what it holds.
        low: the least value that is allowed.
        high: the greatest.
        above: not even `low` itself is allowed.
        below: not even `high` itself is.

    Raises ConfigError.

    >>> check_number("momentum", 0.9, 0, 1, below=True)
    """
    fine = low <= value <= high and math.isfinite(value) and not ((above and value == low) or (below and value == high))
    if not fine:
        least = f"above {low:g}" if above else f"of {low:g} or more"
        most = "" if math.isinf(high) else f", below {high:g}" if below else f", at most {high:g}"
        raise ConfigError(f"{name} is {value}", remedy=f"Give a number {least}{most}")


def _to_json(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_json_dict(value)
    if isinstance(value, tuple):
        return [_to_json(item) for item in value]
    return value


def _from_json(hint: Any, value: Any, where: str) -> Any:
    origin, options = get_origin(hint), get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_json_dict(hint, value, where)
    if origin in (Union, types.UnionType):
        return _first_that_fits(options, value, where)
    if origin is Literal:
        if any(value == option and type(value) is type(option) for option in options):
            return value
    elif origin is tuple:
        if isinstance(value, list) and (options[-1] is Ellipsis or len(value) == len(options)):
            kinds = [options[0]] * len(value) if options[-1] is Ellipsis else options
            return tuple(
                _from_json(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(kinds, value, strict=True))
            )
    elif hint is float:
        # JSON writers may drop the point of 300.0; a whole number that no float holds is none.
        if type(value) is float or (type(value) is int and abs(value) <= sys.float_info.max):
            return float(value)
    elif type(value) is hint:
        return value
    raise ConfigError(f"{where} is {_shown(value)}, which is not {getattr(hint, '__name__', str(hint))}")


def _first_that_fits(options: tuple[Any, ...], value: Any, where: str) -> Any:
    failure: ConfigError | None = None
    for option in options:
        try:
            return _from_json(option, value, where)
        except ConfigError as error:
            failure = failure or error
    raise failure or ConfigError(f"{where} has no type")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}…"
