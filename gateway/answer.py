"""An answer of upstream: its head, and its body at once or piece by piece, within the model's bound."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp

from gateway.errors import ApiError, overloaded

RECEIPT = "X-Atelier-Receipt"
# What aiohttp raises when the other side goes away, or says what is no HTTP.
LOST = (aiohttp.ClientError, OSError)


class Answer:
    """What upstream answers to one request with a status of 200."""

    def __init__(self, model: str, response: aiohttp.ClientResponse, most: int) -> None:
        self._response = response
        self._model, self._most = model, most
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self.content_type: str = response.headers.get("Content-Type", "application/octet-stream")
        self.ended = False  # whether all of it was read
        self.refused = False  # whether moderation refused what it says: then nothing of it is kept

    def refuse(self) -> None:
        """Moderation refuses it."""
        self.refused = True

    @property
    def receipt_text(self) -> str | None:
        """The receipt as it came, base64url of JSON: what `X-Atelier-Receipt` hands on."""
        return self._response.headers.get(RECEIPT)

    @property
    def receipt(self) -> dict[str, Any]:
        """The receipt; empty where there is none."""
        text = self.receipt_text
        if text is None:
            return {}
        document: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        return document

    async def read(self) -> bytes:
        """All of the body. Raises `ApiError` (502) where it is over the model's `max_response_bytes`."""
        pieces = [piece async for piece in self.chunks()]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises `ApiError` where it breaks off, is late or too long."""
        size = 0
        content = self._response.content
        try:
            while piece := await content.readany():
                size += len(piece)
                if size > self._most:
                    raise ApiError(
                        502, f"the answer of model {self._model} is over {self._most} bytes", code="too_large"
                    )
                yield piece
        except TimeoutError:
            raise late() from None
        except LOST:
            raise overloaded(f"model {self._model} broke off its answer; send the request again") from None
        self.ended = True


def late() -> ApiError:
    """What a caller is told whose deadline passed."""
    return ApiError(504, "the deadline passed before the answer was whole")
