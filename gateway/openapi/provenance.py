"""Where files come from, in the document."""

from __future__ import annotations

from gateway.openapi.parts import JSON, Document, answer, operation, record, reference
from gateway.provenance.routes import FIELD

TAG = "provenance"
_STRING, _INTEGER, _OBJECT = {"type": "string"}, {"type": "integer"}, {"type": "object"}
_NULLABLE = {"type": ["string", "null"]}
_FILE = {"type": "string", "minLength": 1, "contentMediaType": "*/*", "description": "an image, a sound or a text"}


def paths() -> Document:
    """The paths; both take a form with one file, or the file as the body."""
    form = {"schema": record({FIELD: _FILE}, [FIELD], closed=True)}
    body = {"multipart/form-data": form, "application/octet-stream": {"schema": _FILE}}
    found = answer("what the file says of itself, and what is known of it here", {JSON: reference("Provenance")})
    theirs = answer("the same in OpenAI's words", {JSON: reference("ContentProvenanceCheck")})
    own = operation("verifyProvenance", "where a file comes from", found, tag=TAG, body=body)
    checked = operation("createContentProvenanceCheck", "where a file comes from", theirs, tag=TAG, body=body)
    return {"/api/provenance/verify": {"post": own}, "/v1/content_provenance_checks": {"post": checked}}


def components() -> Document:
    """Schemas of the answers."""
    states = {"enum": ["trusted", "valid", "invalid", "absent", "not_supported"]}
    verdicts = {"enum": ["made_here", "looks_like_made_here", "generated", "unknown"]}
    rows = {"type": "array", "items": _OBJECT}
    fields = {
        "sha256": _STRING,
        "bytes": _INTEGER,
        "verdict": verdicts,
        "content_type": _STRING,
        "c2pa": record({"state": states}, ["state"]),
        "marks": rows,
        "phash": _NULLABLE,
        "problem": _NULLABLE,
        "log": {"type": ["array", "null"], "items": _OBJECT},
    }
    result = {
        "type": {"enum": ["c2pa"]},
        "outcome": {"enum": ["detected", "not_detected"]},
        "validation_state": {"enum": ["trusted", "valid", "invalid", "not_present"]},
        **dict.fromkeys(("issuer", "generated_at", "model"), _NULLABLE),
    }
    results = {"type": "array", "items": record(result, list(result))}
    check = {"object": {"enum": ["content_provenance_check"]}, "created_at": _INTEGER, "results": results}
    check["atelier"] = reference("Provenance")
    return {
        "Provenance": record(fields, list(fields)),
        "ContentProvenanceCheck": record(check, list(check)),
    }
