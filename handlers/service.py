"""A TorchServe batch <-> a BatchGenerator. Nothing here raises: every item gets an answer and a status of its own.

TorchServe's classic mode answers 503 to a whole batch when the handler raises, and kills the worker when a header
holds a line break or a body is over its limit. So all of that is checked here, item by item.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import logging
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from handlers.bundle import Bundle, BundleError, read
from handlers.engine import Engine, open_engine
from handlers.generator import BadRequest, Media, Params, Request

DESCRIBE_FORMAT = "atelier-describe/1"
MAX_RECEIPT = 4096  # bytes, as base64url
MAX_WHY = 500  # characters of the reason; the describe document has all of it
PHRASES = {400: "Bad Request", 413: "Payload Too Large", 415: "Unsupported Media Type", 500: "Internal Server Error", 504: "Deadline Exceeded"}  # fmt: skip
log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What goes back for one item."""

    body: bytes
    content_type: str = "application/json"
    status: int = 200
    receipt: str | None = None


class BatchService:
    """Serves one bundle in TorchServe's classic mode."""

    def __init__(self, bundle: Bundle, engine: Engine) -> None:
        self._bundle, self._engine = bundle, engine
        self._describe = json.dumps(describe(bundle, engine)).encode()

    @classmethod
    def from_context(cls, context: Any) -> BatchService:
        """Open the bundle beside the handler. Raises `BundleError`; TorchServe then reports the worker as failed."""
        bundle = read(Path(context.system_properties["model_dir"]) / "bundle")
        archived = context.manifest["model"]["modelVersion"]
        if archived != bundle.version:
            raise BundleError(f"the archive is version {archived}, its bundle is {bundle.version}: archive it again")
        service = cls(bundle, open_engine(bundle))
        log.warning("serving %s %s: %s", bundle.manifest.name, bundle.version, service._engine.reason)
        return service

    def handle(self, items: Sequence[Mapping[str, Any]], context: Any) -> list[bytes]:
        """One body per item; statuses, content types and receipts go into the context."""
        answers = self.answer([(item, headers_of(context, i)) for i, item in enumerate(items)])
        for i, answer in enumerate(answers):
            context.set_response_content_type(i, answer.content_type)
            context.set_response_status(answer.status, PHRASES.get(answer.status, ""), i)
            if answer.receipt is not None:
                context.set_response_header(i, "X-Atelier-Receipt", answer.receipt)
        return [answer.body for answer in answers]

    def answer(self, batch: Sequence[tuple[Mapping[str, Any], Mapping[str, str]]]) -> list[Answer]:
        """Answers of (TorchServe item, lower-case headers) pairs, in order."""
        answers: dict[int, Answer] = {}
        work: dict[int, Params] = {}
        deadlines: dict[int, float | None] = {}
        for i, (item, headers) in enumerate(batch):
            try:
                if (control := headers.get("x-atelier")) is not None or headers.get("describe") == "True":
                    answers[i] = self._control(control or "describe")
                else:
                    request = self._request(item, headers)
                    work[i], deadlines[i] = self._engine.generator.parse(request), request.deadline
            except BadRequest as error:
                answers[i] = refusal(error)
            except Exception:
                log.exception("parsing an item failed")
                answers[i] = failure()
        late = [i for i, deadline in deadlines.items() if deadline is not None and time.time() > deadline]
        for i in late:
            answers[i] = refusal(
                BadRequest(None, "the deadline passed before the engine was free; nothing was computed", 504)
            )
            del work[i]
        media = self._generate(list(work.values()))
        for (i, params), result in zip(work.items(), media, strict=True):
            try:
                answers[i] = self._finish(params, result)
            except Exception:
                log.exception("finishing an item failed")
                answers[i] = failure()
        return [answers[i] for i in range(len(batch))]

    def _control(self, command: str) -> Answer:
        if command == "ping":
            return Answer(b'{"status":"ok"}')
        if command == "describe":
            return Answer(self._describe)
        raise BadRequest("X-Atelier", "unknown value of the header X-Atelier; known: ping, describe")

    def _request(self, item: Mapping[str, Any], headers: Mapping[str, str]) -> Request:
        manifest = self._bundle.manifest
        example = f"curl -H 'Content-Type: application/json' -d '{json.dumps(manifest.example)}' ADDRESS/predictions/{manifest.name}"
        content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != "application/json":
            raise BadRequest(
                "Content-Type",
                "parameters are a JSON object sent as application/json (a form or a query string would lose them); "
                f"use: {example}",
                415,
            )
        body = item.get("body", item.get("data", b""))
        if isinstance(body, (bytes, bytearray)):  # else TorchServe has parsed it (decode_input_request=true)
            limit = manifest.limits["max_request_bytes"]
            if len(body) > limit:
                raise BadRequest(None, f"the body has {len(body)} bytes, {manifest.name} takes at most {limit}", 413)
            if not body.strip():
                raise BadRequest(None, f"the body is empty; send at least {{}}: {example}")
            body = _parse_json(bytes(body))
        return Request(params=body, deadline=self._deadline(headers))

    def _deadline(self, headers: Mapping[str, str]) -> float | None:
        value = headers.get("x-atelier-deadline")
        if value is None:
            return None
        try:
            deadline = float(value)
            if math.isnan(deadline):
                raise ValueError
            return deadline
        except ValueError:
            raise BadRequest(
                "X-Atelier-Deadline", "X-Atelier-Deadline wants seconds since the epoch, such as 1700000000.5"
            ) from None

    def _generate(self, batch: list[Params]) -> list[Media | BadRequest | None]:
        """The media of a batch; when it fails, each item alone, so that only the culprit has none."""
        if not batch:
            return []
        try:
            return self._whole(batch)
        except Exception:
            log.exception("a batch of %d failed; its items are tried one by one", len(batch))
        results: list[Media | BadRequest | None] = []
        for params in batch:
            try:
                results.extend(self._whole([params]))
            except BadRequest as error:
                results.append(error)
            except Exception:
                log.exception("an item failed: %s", params.public())
                results.append(None)
        return results

    def _whole(self, batch: list[Params]) -> list[Media | BadRequest | None]:
        media = self._engine.generator.generate(batch)
        if len(media) != len(batch):
            raise ValueError(f"the generator gave {len(media)} answers to {len(batch)} items")
        return list(media)

    def _finish(self, params: Params, result: Media | BadRequest | None) -> Answer:
        if result is None:
            return failure()
        if isinstance(result, BadRequest):
            return refusal(result)
        limit = self._bundle.manifest.limits["max_response_bytes"]
        if len(result.body) > limit:
            return refusal(
                BadRequest(
                    None,
                    f"the answer has {len(result.body)} bytes, the limit is {limit}: lower n, or use format jpeg",
                    413,
                )
            )
        return Answer(result.body, result.content_type, receipt=self._receipt(params))

    def _receipt(self, params: Params) -> str:
        receipt = {
            "model": self._bundle.manifest.name,
            "version": self._bundle.version,
            "bundle": self._bundle.digest,
            "candidate": self._engine.candidate,
            "fingerprint": self._engine.fingerprint,
            "why": self._engine.reason[:MAX_WHY],
            "params": params.public(),
        }
        encoded = base64.urlsafe_b64encode(json.dumps(receipt, separators=(",", ":")).encode()).decode().rstrip("=")
        if len(encoded) > MAX_RECEIPT:
            raise ValueError(f"a receipt of {len(encoded)} bytes is over {MAX_RECEIPT}: hash large parameters")
        return encoded


def headers_of(context: Any, index: int) -> dict[str, str]:
    """The request headers of one item by lower-case name; nested per-part headers of TorchServe are left out."""
    headers = context.get_all_request_header(index)
    return {str(name).lower(): value for name, value in headers.items() if isinstance(value, str)}


def describe(bundle: Bundle, engine: Engine) -> dict[str, Any]:
    """The describe document: everything a gateway needs to offer this model to people."""
    manifest = bundle.manifest
    return {
        "format": DESCRIBE_FORMAT,
        "name": manifest.name,
        "version": bundle.version,
        "bundle": bundle.digest,
        "recipe": manifest.recipe,
        "kind": manifest.kind,
        "params": [dataclasses.asdict(spec) for spec in manifest.params],
        "content_types": list(manifest.content_types),
        "limits": manifest.limits,
        "scope": manifest.scope,
        "source": manifest.source,
        "serving": {"candidate": engine.candidate, "fingerprint": engine.fingerprint, "reason": engine.reason},
        "certificate": bundle.certificate,
    }


def refusal(error: BadRequest) -> Answer:
    """The JSON answer of a refused item, in the shape of TorchServe's own errors."""
    body = {"code": error.status, "type": "BadRequest", "message": error.message, "field": error.field}
    return Answer(json.dumps(body).encode(), status=error.status)


def failure() -> Answer:
    """The answer of an item whose computation failed; the log has the reason."""
    body = {"code": 500, "type": "InternalError", "message": "this item could not be computed; the server's log has the reason", "field": None}  # fmt: skip
    return Answer(json.dumps(body).encode(), status=500)


def _parse_json(body: bytes) -> Any:
    def refuse_constant(name: str) -> None:
        raise BadRequest(None, f"the body holds {name}, which is not JSON; use a finite number")

    def refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        if len(set(names)) != len(names):
            raise BadRequest(None, "the body names a field twice; name each once")
        return dict(pairs)

    try:
        return json.loads(body, parse_constant=refuse_constant, object_pairs_hook=refuse_duplicates)
    except (ValueError, RecursionError) as error:
        detail = getattr(error, "msg", type(error).__name__)
        raise BadRequest(
            None, f'the body is not valid JSON ({detail}); wanted an object such as {{"seed": 7}}'
        ) from None
