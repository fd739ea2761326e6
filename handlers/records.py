"""JSON into frozen dataclasses, strictly: a missing, unknown or mistyped field is an error that names its place."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from typing import Any, TypeVar

T = TypeVar("T")


class RecordError(ValueError):
    """JSON that does not fit its record: the place, what was found, what was wanted."""


def parse(data: bytes, where: str, wanted: str) -> dict[str, Any]:
    """The JSON object in the file `where`, whose field `format` is `wanted`. Raises `RecordError`."""
    try:
        raw = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{where} is not valid JSON ({error}); build the bundle again") from None
    if not isinstance(raw, dict) or raw.get("format") != wanted:
        found = raw.get("format") if isinstance(raw, dict) else type(raw).__name__
        raise RecordError(f"{where} has format {found!r}, this version reads {wanted!r}; build the bundle again")
    return raw


def read(cls: type[T], value: Any, where: str) -> T:
    """`value` (parsed JSON) as an instance of the dataclass `cls`. Raises `RecordError`."""
    return typing.cast(T, _read(cls, value, where))


def _read(kind: Any, value: Any, where: str) -> Any:  # noqa: PLR0911 (one case a line)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _read_union(inner, value, where)
    if origin is typing.Literal:
        if value not in inner:
            raise _mismatch(where, value, f"one of {', '.join(map(str, inner))}")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise _mismatch(where, value, "a list")
        return tuple(_read(inner[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise _mismatch(where, value, "an object")
        return {key: _read(inner[1], item, f"{where}.{key}") for key, item in value.items()}
    if dataclasses.is_dataclass(kind):
        return _read_fields(kind, value, where)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise RecordError(f"{where} is an integer of {value.bit_length()} bits, wanted a number") from None
    if kind is Any or (isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool)):
        return value
    raise _mismatch(where, value, kind.__name__)


def _read_union(options: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in options:
        return None
    problems = []
    for option in options:
        if option is not type(None):
            try:
                return _read(option, value, where)
            except RecordError as error:
                problems.append(error)
    if len(problems) == 1:
        raise problems[0]
    if isinstance(value, dict) and all(dataclasses.is_dataclass(option) for option in options):
        # The record that is nearest by its fields' names says best what is wrong.
        distances = [len({f.name for f in dataclasses.fields(option)} ^ set(value)) for option in options]
        raise problems[distances.index(min(distances))]
    raise _mismatch(where, value, " or ".join(option.__name__ for option in options))


def _read_fields(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise _mismatch(where, value, "an object")
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = sorted(set(value) - set(fields))
    if unknown:
        raise RecordError(f"{where} has the unknown field {unknown[0]!r}; known: {', '.join(fields)}")
    missing = sorted(
        name
        for name, field in fields.items()
        if name not in value and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    )
    if missing:
        raise RecordError(f"{where} lacks the field {missing[0]!r}")
    try:
        return kind(**{name: _read(hints[name], item, f"{where}.{name}") for name, item in value.items()})
    except RecordError:
        raise
    except (ValueError, TypeError) as error:  # a check of the dataclass itself
        raise RecordError(f"{where}: {error}") from None


def _mismatch(where: str, value: Any, wanted: str) -> RecordError:
    return RecordError(f"{where} is {str(value)[:60]!r} ({type(value).__name__}), wanted {wanted}")
