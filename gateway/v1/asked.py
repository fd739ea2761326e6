"""Fields of a request, sorted: those that are honoured, those whose neutral value alone is taken, a model's own.

A field that is absent or null says nothing. Every other field is a 400 that names it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from gateway.described import Described
from gateway.errors import ApiError
from gateway.v1.schemas import same

SHOWN = 60  # characters of a wrong value


@dataclasses.dataclass(frozen=True)
class Table:
    """The fields of one route: `honoured`; `neutral` with the values that change nothing; `refused` with the reason."""

    honoured: tuple[str, ...]
    neutral: Mapping[str, tuple[Any, ...]]
    refused: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a request says: `fields` of the route, and `own` parameters of the model."""

    fields: Mapping[str, Any]
    own: Mapping[str, Any]

    def text(self, name: str, default: str | None = None, most: int | None = None) -> str | None:
        """A field that is a text of at most `most` characters. Raises `ApiError`."""
        value = self.fields.get(name, default)
        if value is None:
            return None
        if not isinstance(value, str):
            refuse(name, f"{name} is {shown(value)}, wanted a string")
        if most is not None and len(value) > most:
            refuse(name, f"{name} has {len(value)} characters, wanted at most {most}")
        return value

    def whole(self, name: str, default: int, least: int, most: int) -> int:
        """A field that is an integer of a range. Raises `ApiError`."""
        value = self.fields.get(name, default)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            refuse(name, f"{name} is {shown(value)}, wanted an integer from {least} to {most}")
        return value

    def choice(self, name: str, default: str, choices: Sequence[str]) -> str:
        """A field that is one of some words. Raises `ApiError`."""
        value = self.fields.get(name, default)
        if not isinstance(value, str) or value not in choices:
            refuse(name, f"{name} is {shown(value)}, wanted one of {', '.join(choices)}")
        return value

    def flag(self, name: str) -> bool:
        """A field that is true or false, the latter where it is absent. Raises `ApiError`."""
        value = self.fields.get(name, False)
        if not isinstance(value, bool):
            refuse(name, f"{name} is {shown(value)}, wanted true or false")
        return value


def sort_out(body: Mapping[str, Any], table: Table, model: Described, ignored: Sequence[str]) -> Asked:
    """The fields of a request. `ignored`: names that the operator has this gateway overlook. Raises `ApiError`."""
    fields, own = {}, {}
    for name, value in body.items():
        if value is None:
            continue
        if name in table.honoured:
            fields[name] = value
        elif name in ignored:
            continue
        elif name in table.neutral:
            if not any(same(value, wanted) for wanted in table.neutral[name]):
                wanted = " or ".join(shown(item) for item in table.neutral[name])
                refuse(name, f"{name} is {shown(value)}; model {model.name} takes {wanted} alone, or leave it out")
        elif name in table.refused:
            refuse(name, f"{name} is not taken here: {table.refused[name]}; leave it out")
        elif (spec := model.params.get(name)) is not None and spec.type != "image":
            own[name] = value
        else:
            known = ", ".join((*table.honoured, *table.neutral))
            params = ", ".join(spec.name for spec in model.params.values() if spec.name not in table.honoured)
            refuse(name, f"{name[:SHOWN]} is unknown; known are {known}, and of model {model.name}: {params}")
    return Asked(fields, own)


def refuse(param: str, message: str) -> NoReturn:
    """Raise a 400 about a field."""
    raise ApiError(400, message, param=param[:SHOWN])


def shown(value: Any) -> str:
    """A value in a message."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def model_name(body: Mapping[str, Any]) -> str:
    """The field `model`, which every route needs. Raises `ApiError`."""
    name = body.get("model")
    if not isinstance(name, str) or not name:
        found = "missing" if name is None else shown(name)
        refuse("model", f"model is {found}; GET /v1/models lists what there is")
    return name


def renamed(error: ApiError, names: Mapping[str, str]) -> ApiError:
    """An error of a model's about its parameter, as one about the field that its caller knows."""
    error.param = names.get(error.param or "", error.param)
    return error
