"""The document as a page to be read: one file of HTML, without scripts and without anything from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 0 auto; padding: 1rem; color-scheme: light dark }
table { border-collapse: collapse; width: 100%; font-size: .9rem }
td, th { text-align: left; vertical-align: top; padding: .25rem .5rem; border-bottom: 1px solid #8886 }
code, pre { font: .85rem/1.4 ui-monospace, monospace; overflow-wrap: anywhere }
pre { overflow-x: auto; padding: .75rem; border: 1px solid #8886; border-radius: .3rem }
summary { cursor: pointer; padding: .4rem 0 }
details > :not(summary) { margin-left: 1rem }
""".strip()
_DIGEST = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_DIGEST}'; frame-ancestors 'none'; base-uri 'none'"


def page(document: Mapping[str, Any], base: str) -> str:
    """The page. `base`: the address of the gateway, for examples."""
    info = document["info"]
    return "".join(
        (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(info['title'])}</title><style>{STYLE}</style></head><body>",
            f"<h1>{escape(info['title'])}</h1><p>{escape(info['description'])}</p>",
            '<p>The same for programs: <a href="/openapi.json">/openapi.json</a></p><main>',
            *_operations(document, base),
            "</main></body></html>",
        )
    )


def _operations(document: Mapping[str, Any], base: str) -> Iterator[str]:
    tag = None
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if operation["tags"][0] != tag:
                tag = operation["tags"][0]
                yield f"<h2>{escape(tag)}</h2>"
            yield f"<details><summary><code>{method.upper()} {escape(path)}</code> {escape(operation['summary'])}"
            yield "</summary>"
            for kind, content in operation.get("requestBody", {}).get("content", {}).items():
                yield from _body(kind, content, base + path)
            yield from _answers(operation["responses"])
            yield "</details>"


def _body(kind: str, content: Mapping[str, Any], url: str) -> Iterator[str]:
    schema = content["schema"]
    yield f"<p>Body: <code>{escape(kind)}</code></p>"
    for one in schema.get("oneOf", [schema]):
        if "title" in one:
            yield f"<h3>{escape(one['title'])}</h3>"
        if "description" in one:
            yield f"<p>{escape(one['description'])}</p>"
        yield "<table><tr><th>field</th><th>takes</th><th>meaning</th></tr>"
        for name, field in one["properties"].items():
            needed = " (required)" if name in one.get("required", ()) else ""
            yield f"<tr><td><code>{escape(name)}</code>{needed}</td><td><code>{escape(_takes(field))}</code></td>"
            yield f"<td>{escape(field.get('description', ''))}</td></tr>"
        yield "</table>"
    for example in content.get("examples", {}).values():
        body = json.dumps(example["value"], ensure_ascii=False).replace("'", "'\\''")
        yield f"<pre>{escape(f'''curl -H 'Content-Type: {kind}' -d '{body}' {url}''')}</pre>"


def _answers(responses: Mapping[str, Any]) -> Iterator[str]:
    for status, response in responses.items():
        if "content" in response:
            kinds = ", ".join(response["content"])
            yield f"<p>{escape(status)}: {escape(response['description'])} (<code>{escape(kinds)}</code>)</p>"


def _takes(field: Mapping[str, Any]) -> str:
    """What a field takes, in short."""
    said = {key: value for key, value in field.items() if key not in ("description", "title")}
    if set(said) == {"enum"}:
        return ", ".join(json.dumps(value, ensure_ascii=False) for value in said["enum"])
    return json.dumps(said, ensure_ascii=False)[1:-1]
