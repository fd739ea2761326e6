"""The document as a page to be read: one file of HTML, without scripts and without anything from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from gateway.openapi.words import takes

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


# Stands in the page for the address of the gateway, which examples begin with: it is known when somebody asks.
ADDRESS = "http://ATELIER.invalid"
_KEYS = "It wants a key: <code>Authorization: Bearer atl_...</code>, which clients make of their <code>api_key</code>."


def page(document: Mapping[str, Any]) -> str:
    """The page, with `ADDRESS` for the address of the gateway."""
    info = document["info"]
    keys = "security" in document
    return "".join(
        (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(info['title'])}</title><style>{STYLE}</style></head><body>",
            f"<h1>{escape(info['title'])}</h1><p>{escape(info['description'])}</p>",
            '<p>The same for programs: <a href="/openapi.json">/openapi.json</a></p>',
            f"<p>{_KEYS}</p>" if keys else "",
            "<main>",
            *_operations(document, "-H 'Authorization: Bearer atl_...' " if keys else ""),
            "</main></body></html>",
        )
    )


def _operations(document: Mapping[str, Any], key: str) -> Iterator[str]:
    """Every operation below its tag; `key`: the option of curl that sends one."""
    found: dict[str, list[tuple[str, str, Mapping[str, Any]]]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            found.setdefault(operation["tags"][0], []).append((path, method, operation))
    for tag, operations in found.items():
        yield f"<h2>{escape(tag)}</h2>"
        for path, method, operation in operations:
            yield f"<details><summary><code>{method.upper()} {escape(path)}</code> {escape(operation['summary'])}"
            yield "</summary>"
            for kind, content in operation.get("requestBody", {}).get("content", {}).items():
                yield from _body(kind, content, key, ADDRESS + path)
            yield from _answers(operation["responses"])
            yield "</details>"


def _body(kind: str, content: Mapping[str, Any], key: str, url: str) -> Iterator[str]:
    schema = content["schema"]
    yield f"<p>Body: <code>{escape(kind)}</code></p>"
    for one in schema.get("oneOf", [schema]):
        if "title" in one:
            yield f"<h3>{escape(one['title'])}</h3>"
        if "description" in one:
            yield f"<p>{escape(one['description'])}</p>"
        if "properties" not in one:
            continue
        yield "<table><tr><th>field</th><th>takes</th><th>meaning</th></tr>"
        for name, field in one["properties"].items():
            needed = " (required)" if name in one.get("required", ()) else ""
            yield f"<tr><td><code>{escape(name)}</code>{needed}</td><td><code>{escape(takes(field))}</code></td>"
            yield f"<td>{escape(field.get('description', ''))}</td></tr>"
        yield "</table>"
    for example in content.get("examples", {}).values():
        body = json.dumps(example["value"], ensure_ascii=False).replace("'", "'\\''")
        yield f"<pre>{escape(f'''curl {key}-H 'Content-Type: {kind}' -d '{body}' {url}''')}</pre>"


def _answers(responses: Mapping[str, Any]) -> Iterator[str]:
    for status, response in responses.items():
        if "content" in response:
            kinds = ", ".join(response["content"])
            yield f"<p>{escape(status)}: {escape(response['description'])} (<code>{escape(kinds)}</code>)</p>"
