"""The OpenAPI document: valid, of all routes, and true of what is checked; and the page that shows it."""

from __future__ import annotations

import asyncio
import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route

from gateway import app
from gateway.described import read
from gateway.openapi.page import STYLE
from gateway.openapi.routes import Written
from gateway.openapi.words import takes
from gateway.settings import Settings
from gateway.v1.schemas import same
from tests.gateway.conftest import Gateway, Reply, running, settings_for
from tests.support.fake_documents import documents
from tests.support.fake_upstream import FakeUpstream, fake_upstream
from tests.support.openapi import METHODS, problems, valid

SETTINGS: dict[str, Any] = {
    "aliases": {"gpt-4o-mini": "chat"},
    "system": {"chat": "prepend"},
    "ignore_fields": ("backend", "tools", "functions", "suffix", "beams"),
    "voices": {"alloy": {"label": "1"}},
}
ROUTES = {
    "chat": "/v1/chat/completions",
    "told": "/v1/completions",
    "summary": "/v1/completions",
    "drawn": "/v1/images/generations",
    "digits": "/v1/audio/speech",
}
USUAL: dict[str, Any] = {
    "chat": {"messages": [{"role": "user", "content": "a"}]},
    "told": {"prompt": "It was"},
    "summary": {"prompt": "long"},
    "drawn": {"prompt": ""},
    "digits": {"input": "4 2"},
}


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeUpstream]:
    with fake_upstream(tmp_path_factory.mktemp("up")) as fake:
        yield fake


@pytest.fixture(scope="module")
def door(upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(settings_for(upstream, tmp_path_factory.mktemp("gw"), **SETTINGS)) as made:
        yield made


@pytest.fixture(scope="module")
def document(door: Gateway) -> Any:
    return door.get("/openapi.json").json


def test_the_document_is_valid(document: Any) -> None:
    assert problems(document) == []
    assert len(document["paths"]) > 25


def test_what_is_no_document_is_found_out(document: Any) -> None:
    """The check itself finds what it is there for."""

    def broken(change: Any) -> list[str]:
        other = copy.deepcopy(document)
        change(other)
        return problems(other)

    chat = ("paths", "/v1/chat/completions", "post")

    def operation(other: Any) -> Any:
        for part in chat:
            other = other[part]
        return other

    assert broken(lambda d: d.update(openapi="3.0.0"))
    assert broken(lambda d: d["components"]["schemas"].pop("Usage"))
    assert broken(lambda d: operation(d).pop("responses"))
    assert broken(lambda d: operation(d).update(operationId="createCompletion"))
    assert broken(lambda d: d["paths"]["/v1/models/{name}"]["get"].pop("parameters"))
    assert broken(lambda d: d["components"]["schemas"]["Model"]["properties"].update(id={"type": "text"}))
    assert broken(lambda d: d["components"]["schemas"]["Model"]["required"].append("nothing"))
    assert broken(lambda d: d["components"]["schemas"]["Model"].update(enumeration=[1]))


def test_every_route_is_documented_and_nothing_else(document: Any) -> None:
    routed = set()
    for route in app.routes():
        assert isinstance(route, Route)
        path = re.sub(r":path}", "}", route.path)
        methods = route.methods or {m.upper() for m in METHODS if hasattr(route.endpoint, m)}
        routed |= {(path, method.lower()) for method in methods - {"HEAD"}}
    told = {(path, method) for path, methods in document["paths"].items() for method in methods}
    names = documents()
    for sort, placeholder in (("generate", "{name}"), ("jobs", "{id}")):
        own = {(f"/api/{sort}/{name}", "post") for name in names}
        assert own <= told, "each model has a path of its own, with its own parameters"
        told = told - own | {(f"/api/{sort}/{placeholder}", "post")}
    assert told == routed


def examples(document: Any) -> Iterator[tuple[str, Any, Any, Any]]:
    for path, methods in document["paths"].items():
        for operation in methods.values():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                for example in content.get("examples", {}).values():
                    yield path, content["schema"], example["value"], operation["responses"]


def test_every_example_is_what_its_schema_says_and_is_answered_so(door: Gateway, document: Any) -> None:
    seen = 0
    for path, schema, example, responses in examples(document):
        assert valid(example, schema, document), f"{path}: {example}"
        reply = door.post(path, example)
        assert reply.status in (200, 202), f"{path} {example}: {reply.body[:300]!r}"
        kind = reply.headers["content-type"].partition(";")[0]
        assert kind in responses[str(reply.status)]["content"], f"{path} answers with {kind}"
        if kind == "application/json":
            answer = responses[str(reply.status)]["content"][kind].get("schema", {})
            assert valid(reply.json, answer, document), f"{path}: {reply.json}"
        seen += 1
    assert seen >= 14


@pytest.mark.parametrize(
    "path", ["/v1/models", "/v1/models/gpt-4o-mini", "/v1/audio/voices", "/api/models", "/api/jobs", "/api/history"]
)
def test_lists_are_what_the_document_says(door: Gateway, document: Any, path: str) -> None:
    told = path if path in document["paths"] else "/v1/models/{name}"
    schema = document["paths"][told]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    reply = door.get(path)
    assert reply.status == 200
    assert valid(reply.json, schema, document), reply.json


def test_errors_are_what_the_document_says(door: Gateway, document: Any) -> None:
    schema = document["components"]["responses"]["error"]["content"]["application/json"]["schema"]
    for reply in (door.post("/v1/completions", {}), door.get("/v1/models/none"), door.get("/nowhere")):
        assert reply.status in (400, 404)
        assert valid(reply.json, schema, document), reply.json


CANDIDATES: list[Any] = [
    None, 0, 1, 2, 2.5, -1, 1000, True, False, "", "auto", "none", "text", "medium", "x" * 600,
    [], ["text"], ["a"] * 5, {}, {"type": "text"}, {"a": "b"}, {"include_usage": 1}, {"include_usage": True},
]  # fmt: skip
# A field alone says nothing of these: they depend on another one.
TOGETHER: set[tuple[str, Any]] = {
    ("best_of", 2), ("min_tokens", 2), ("input", None), ("input", ""),
    ("output_compression", 0), ("output_compression", 1), ("output_compression", 2),
}  # fmt: skip


def schema_of(document: Any, model: str) -> Any:
    schema = document["paths"][ROUTES[model]]["post"]["requestBody"]["content"]["application/json"]["schema"]
    return next(one for one in schema.get("oneOf", [schema]) if model in one["properties"]["model"]["enum"])


@pytest.mark.parametrize("model", ROUTES)
def test_what_the_document_allows_is_taken_and_nothing_else_is(door: Gateway, document: Any, model: str) -> None:
    """Every field of the route and of the model, at many values: the document and the gateway say the same."""
    schema = schema_of(document, model)
    unlike = []
    for name in [*schema["properties"], "function_call", "audio", "num_ctx"]:
        for value in CANDIDATES:
            if _depends(name, value):
                continue
            body = {"model": model, **USUAL[model], name: value}
            reply: Reply = door.post(ROUTES[model], body)
            assert reply.status in (200, 400, 404), f"{name} = {value!r}: {reply.status} {reply.body!r}"
            told = valid(body, schema, document) or (value is None and name not in schema["properties"])
            if told != (reply.status == 200):
                unlike.append((name, value, told, reply.body[:150]))
    assert unlike == [], "\n".join(map(str, unlike))


def _depends(name: str, value: Any) -> bool:
    return any(name == other and same(value, one) for other, one in TOGETHER)


def test_refused_fields_are_told_and_no_properties(document: Any) -> None:
    schema = schema_of(document, "chat")
    assert "function_call" not in schema["properties"]
    assert "function_call: no model here calls functions" in schema["description"]
    assert "functions: " not in schema["description"], "what is overlooked is not refused"
    assert schema["additionalProperties"] is False
    assert schema["properties"]["model"]["enum"] == ["chat", "gpt-4o-mini"]
    assert schema["properties"]["max_tokens"]["maximum"] == 64, "the bounds are the model's own"
    assert schema["properties"]["length_penalty"]["maximum"] == 2, "its own parameters are there"


def test_a_model_with_few_parameters_is_documented() -> None:
    """No seed, no length, no voices: what is not there is null alone."""
    few = documents()
    for one in few.values():
        one["params"] = [spec for spec in one["params"] if spec["name"] in ("prompt", "text", "messages", "image")]
    models = tuple(read(name, json.dumps(one).encode()) for name, one in few.items())
    document = json.loads(asyncio.run(Written().of(models, Settings(keys="none")))[0])
    assert problems(document) == []
    assert schema_of(document, "told")["properties"]["seed"]["enum"] == [None]
    speech = document["paths"]["/v1/audio/speech"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert speech["properties"]["voice"] == {"type": ["null"]}


def test_where_keys_are_required_the_document_says_so() -> None:
    models = [read(name, json.dumps(one).encode()) for name, one in documents().items()]
    found, _ = asyncio.run(Written().of(tuple(models), Settings(keys="required")))
    document = json.loads(found)
    assert problems(document) == []
    assert document["security"] == [{"key": []}]
    assert document["paths"]["/healthz"]["get"]["security"] == []


def test_the_document_follows_the_models() -> None:
    models = tuple(read(name, json.dumps(one).encode()) for name, one in documents().items())
    written, settings = Written(), Settings(keys="none")
    first = asyncio.run(written.of(models, settings))
    assert asyncio.run(written.of(models, settings))[0] is first[0], "it is written once"
    fewer = asyncio.run(written.of(models[:1], settings))
    assert "/v1/chat/completions" not in json.loads(fewer[0])["paths"]
    assert problems(json.loads(asyncio.run(written.of((), settings))[0])) == []


def test_the_page_needs_nothing_from_elsewhere(door: Gateway) -> None:
    reply = door.get("/docs")
    text = reply.body.decode()
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/html")
    assert reply.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert f"<style>{STYLE}</style>" in text
    for tag in ("<script", "<img", "<link", "<iframe", " on", "javascript:"):
        assert not re.search(rf"<[^>]*{re.escape(tag.strip('<'))}[^>]*=", text) or tag == " on", tag
    assert re.findall(r'(?:href|src)="([^"]*)"', text) == ["/openapi.json"]
    for said in (
        "/v1/chat/completions",
        "repetition_penalty",
        "function_call: no model here calls functions",
        "curl -H &#x27;Content-Type: application/json&#x27; -d &#x27;{&quot;model&quot;: &quot;drawn&quot;",
        f" {door.url}/v1/images/generations</pre>",
        "whole number, 1 to 16",
    ):
        assert said in text
    headings = re.findall(r"<h2>(.*?)</h2>", text)
    assert sorted(headings) == sorted(set(headings)), "what belongs together stands together"
    assert "bearer" not in text.lower(), "here nobody needs a key"


def test_the_page_says_that_a_key_is_wanted(fake: FakeUpstream, tmp_path: Path) -> None:
    with running(settings_for(fake, tmp_path, keys="required", public_url="https://gate.example/")) as gateway:
        text = gateway.get("/docs").body.decode().replace("&#x27;", "'")
    assert "It wants a key: <code>Authorization: Bearer atl_...</code>" in text
    assert "curl -H 'Authorization: Bearer atl_...' -H 'Content-Type" in text
    assert " https://gate.example/v1/images/generations</pre>" in text


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": ["integer", "null"], "minimum": 1, "maximum": 16, "default": 1}, "whole number, 1 to 16, default 1"),
        ({"type": "number", "minimum": 0.25}, "number, at least 0.25"),
        ({"type": ["string", "null"], "maxLength": 512}, "text, at most 512 characters"),
        ({"type": ["string", "null"], "enum": ["png", None], "default": "png"}, '"png", default "png"'),
        (
            {"type": ["string", "array", "null"], "minItems": 1, "maxItems": 64, "items": {"type": "string"}},
            "text or list of text, 1 to 64 items",
        ),
        (
            {"type": "object", "properties": {"a": {"type": "boolean"}, "b": {}}, "required": ["b"]},
            "object of (a: true or false; b (required): anything)",
        ),
        (
            {"type": "array", "minItems": 1, "items": {"type": "object", "maxProperties": 2}},
            "list of (object, at most 2 fields), at least 1 items",
        ),
        ({"oneOf": [{"enum": ["Am", "G"]}, {"type": "string"}, {"type": "null"}]}, '"Am", "G" or text'),
        ({"type": "string", "pattern": "^a$"}, 'text, pattern "^a$"'),
        ({"type": "null"}, "nothing"),
        ({"description": "the operator has it overlooked"}, "anything"),
    ],
)
def test_what_a_field_takes_is_said_in_words(schema: dict[str, Any], said: str) -> None:
    assert takes(schema) == said


def test_words_of_a_model_are_no_markup(fake: FakeUpstream, tmp_path: Path) -> None:
    fake.models["told"].document["params"][0]["doc"] = "<script>alert(1)</script>"
    fake.models["told"].document["example"] = {"prompt": "it's </pre><b>"}
    with running(settings_for(fake, tmp_path)) as gateway:
        text = gateway.get("/docs").body.decode()
    assert "&lt;script&gt;alert(1)" in text
    assert "<script" not in text
    assert "</pre><b>" not in text
    assert "'\\''s &lt;/pre" in text.replace("&#x27;", "'"), "a quote in an example ends no argument of the shell"
