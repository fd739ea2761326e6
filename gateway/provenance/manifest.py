"""What a signature says of a file (C2PA 2.2): that a model made it, from what, with which receipt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.described import Described

# IPTC NewsCodes, digital source type: made by a trained model.
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
RECEIPT_LABEL = "atelier.receipt"
GENERATOR = "Atelier"
PARENT = "parent"


def manifest(
    content_type: str, receipt: Mapping[str, Any], sha256: str, seed: int | None, parent: bool
) -> dict[str, Any]:
    """Of one file whose bytes had that digest before; `parent`: an upload that it was made from is added to it."""
    actions: list[dict[str, Any]] = [{"action": "c2pa.created", "digitalSourceType": SOURCE_TYPE}]
    if parent:  # what is made from a file begins with opening it
        opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": [PARENT]}}
        actions = [opened, {"action": "c2pa.edited", "digitalSourceType": SOURCE_TYPE}]
    said = {"sha256": sha256, "seed": seed, "receipt": receipt}
    return {
        "claim_generator_info": [{"name": GENERATOR}],
        "format": content_type,
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": actions}},
            {"label": RECEIPT_LABEL, "data": said},
        ],
    }


def public_receipt(receipt: Mapping[str, Any], model: Described) -> dict[str, Any]:
    """A receipt for a file that others will see: without what somebody wrote or uploaded.

    `left_out` names the parameters that are not in it; the answer's own header has them all.
    """
    params = receipt.get("params")
    if not isinstance(params, dict):
        return dict(receipt)
    kept = {name: value for name, value in params.items() if not _private(name, model)}
    left_out = sorted(set(params) - set(kept))
    return {**receipt, "params": kept, **({"left_out": left_out} if left_out else {})}


def _private(name: str, model: Described) -> bool:
    spec = model.params.get(name)
    if spec is None:
        return True
    return spec.type not in ("integer", "number", "boolean") and spec.choices is None
