from __future__ import annotations

from typing import Any

from tests.gateway.conftest import Gateway


def test_health_and_readiness(gateway: Gateway) -> None:
    assert gateway.get("/healthz").json == {"status": "ok"}
    ready = gateway.get("/readyz")
    models = dict.fromkeys(("altered", "chat", "digits", "drawn", "summary", "told"), True)
    document: Any = {
        "ready": True,
        "reason": None,
        "models": models,
        "refused": {},
        "database": "ok",
        "warnings": [],
        "results": "ok",
    }
    assert (ready.status, ready.json) == (200, document)
    assert len(ready.headers["x-request-id"]) == 32
    assert ready.headers["x-content-type-options"] == "nosniff"


def test_a_model_answers_through_the_client_of_upstream(gateway: Gateway) -> None:
    assert {model.name: model.medium for model in gateway.state.models.known()} == {
        "altered": "image",
        "chat": "text",
        "digits": "audio",
        "drawn": "image",
        "summary": "text",
        "told": "text",
    }
