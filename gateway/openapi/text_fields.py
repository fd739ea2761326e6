"""What a field of a route for text may be for a model, as the document says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.described import Described
from gateway.openapi.parts import Document
from gateway.v1.fields import Fields

TAG = "texts"


def schemas(fields: Fields, finer: Mapping[str, Document]) -> Any:
    """What a field may be for a model: within the bounds of its parameter; at neutral values where it has none."""

    def schema(name: str, model: Described) -> Document:
        field = fields.honoured[name]
        made: Document = {**finer.get(name, field.schema), "description": field.doc}
        if field.param is None:
            return made
        spec = model.params.get(field.param)
        if spec is None:
            return {"enum": list(field.neutral) or [None], "description": field.doc}
        bounds = {"minimum": spec.minimum, "maximum": spec.maximum}
        whole = {
            key: int(value) if value == int(value) else value for key, value in bounds.items() if value is not None
        }
        return {**made, **whole, **({} if spec.default is None else {"default": spec.default})}

    return schema
