"""What a request to a route of OpenAI's may hold, for one model: the route's table and the model's own parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gateway.described import Described
from gateway.openapi.parts import Document, names_of, nullable, parameter, record
from gateway.settings import Settings
from gateway.v1.asked import Table

# What a field may be for a model.
Schemas = Callable[[str, Described], Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class Rules:
    """A route's table, what its honoured fields may be, and parameters that it writes by itself (`hidden`)."""

    table: Table
    schemas: Schemas
    hidden: Sequence[str] = ()
    own: Mapping[str, Document] = dataclasses.field(default_factory=dict)  # parameters that it takes within less


def request(rules: Rules, model: Described, settings: Settings, required: Sequence[str], word: str) -> Document:
    """The schema of a body. Fields that are refused are told, and are no properties, as is whatever is unknown."""
    table = rules.table
    properties: Document = {
        "model": {"enum": names_of(model, settings.aliases), "description": "its name, or an alias"}
    }
    for name in table.honoured:
        if name != "model":
            schema = rules.schemas(name, model)
            properties[name] = dict(schema) if name in required else nullable(schema)
    overlooked = [name for name in settings.ignore_fields if name not in table.honoured]
    for name, values in table.neutral.items():
        properties[name] = {"enum": [*values, None], "description": "taken at the values that change nothing"}
    for spec in model.params.values():
        if spec.name not in {*properties, *table.refused, *rules.hidden} and spec.type != "image":
            properties[spec.name] = nullable(rules.own.get(spec.name) or parameter(spec))
    for name in overlooked:
        properties[name] = {"description": "the operator has it overlooked"}
    made = record(properties, ["model", *required], closed=True)
    refused = "; ".join(f"{name}: {why}" for name, why in table.refused.items() if name not in overlooked)
    return {"title": f"{word} {model.name}", **({"description": f"Refused: {refused}"} if refused else {}), **made}
