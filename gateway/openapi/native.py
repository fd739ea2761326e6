"""A model's own words, jobs and what operators ask, in the document."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.described import Described
from gateway.openapi.parts import (
    EVENT,
    EVENTS,
    FORM,
    JSON,
    Document,
    answer,
    in_path,
    nullable,
    operation,
    parameter,
    record,
    reference,
)

MODELS, JOBS, OPERATION = "models", "jobs", "operation"
_STRING, _INTEGER = {"type": "string"}, {"type": "integer"}
_ID = in_path("id", "of a job of the caller's")


def paths(models: Sequence[Described]) -> Document:
    """The paths; a model's own are under its name."""
    found: Document = {
        "/api/models": _get("listDescribed", "every model in short", MODELS),
        "/api/models/{name}": _get(
            "getDescribed", "a model: parameters, limits, certificate, licence, example", MODELS
        ),
        "/api/jobs": _get("listJobs", "the caller's own jobs", JOBS),
        "/api/jobs/{id}": {
            **_job("getJob", "how a job is", "get"),
            **_job("endJob", "cancel it, or forget it", "delete"),
        },
        "/api/jobs/{id}/events": {"get": _events()},
        "/api/jobs/{id}/result": {"get": _result()},
        "/healthz": _get("healthz", "whether the process answers", OPERATION, public=True),
        "/readyz": _get("readyz", "whether it takes requests", OPERATION, public=True),
        "/metrics": _get("metrics", "counters for Prometheus", OPERATION, kind="text/plain"),
        "/openapi.json": _get("openapi", "this document", OPERATION, public=True),
        "/docs": _get("docs", "this document to be read", OPERATION, public=True, kind="text/html"),
    }
    found["/api/models/{name}"]["get"]["parameters"] = [in_path("name", "a model's name, or an alias")]
    for model in models:
        body = _body(model)
        made = answer("the model's own answer, its receipt in X-Atelier-Receipt", dict.fromkeys(model.content_types))
        begun = answer("the job, which goes on by itself", {JSON: reference("Job")}, "202")
        summary = f"everything that {model.name} takes ({model.kind})"
        ask = operation(f"generate.{model.name}", summary, made, tag=MODELS, body=body)
        job = operation(f"begin.{model.name}", f"the same as a job: {model.name}", begun, tag=JOBS, body=body)
        found[f"/api/generate/{model.name}"] = {"post": ask}
        found[f"/api/jobs/{model.name}"] = {"post": job}
    return found


def _body(model: Described) -> Document:
    files = [spec.name for spec in model.params.values() if spec.type == "image"]
    needed = [name for name in ("text", "messages") if model.has(name) and model.medium == "text"]
    required = [*needed, *files[:1]]
    properties = {
        spec.name: parameter(spec) if spec.name in required or files else nullable(parameter(spec))
        for spec in model.params.values()
    }
    schema = record(properties, required, closed=True)
    if files:
        return {FORM: {"schema": schema}}
    return {JSON: {"schema": schema, "examples": {model.name: {"value": dict(model.example)}}}}


def _get(name: str, summary: str, tag: str, *, public: bool = False, kind: str = JSON) -> Document:
    schema = {"type": "object"} if kind == JSON else {"type": "string"}
    return {"get": operation(name, summary, answer(summary, {kind: schema}), tag=tag, public=public)}


def _job(name: str, summary: str, method: str) -> Document:
    answers = answer("the job", {JSON: reference("Job")})
    return {method: operation(name, summary, answers, tag=JOBS, parameters=[_ID])}


def _events() -> Document:
    answers = answer("events named `job` until it has ended", {EVENTS: EVENT})
    return operation("watchJob", "how a job goes on", answers, tag=JOBS, parameters=[_ID])


def _result() -> Document:
    answers = answer("what the model made, with its content type", {"*/*": None})
    return operation("getJobResult", "what a job made; 409 while it has not ended", answers, tag=JOBS, parameters=[_ID])


def components() -> Document:
    """Schemas of the answers."""
    moment = {"type": ["integer", "null"]}
    fields = {"id": _STRING, "object": {"enum": ["job"]}, "model": _STRING, "status": _STRING, "created_at": _INTEGER}
    more = {"started_at": moment, "ended_at": moment, "tries": _INTEGER, "bytes": _INTEGER}
    more |= {"content_type": {"type": ["string", "null"]}, "error": {"type": ["object", "null"]}}
    return {"Job": record({**fields, **more}, list(fields))}
