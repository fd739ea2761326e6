"""What tests of images, sounds and jobs share: a gateway before the fake upstream, and the official client."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
from PIL import Image

from tests.gateway.conftest import Gateway, Reply, running, settings_for
from tests.support.fake_upstream import Asked, FakeUpstream, Scripted, fake_upstream
from tests.support.fake_upstream import Reply as Answer

ALIASES = {"gpt-image-1": "drawn"}
VOICES = {"alloy": {}, "seven": {"label": "7"}, "minor": {"key": "Am"}}


@dataclasses.dataclass(frozen=True)
class Media:
    """A gateway, what it asks, and a client of it."""

    gateway: Gateway
    fake: FakeUpstream
    client: openai.OpenAI

    @property
    def asked(self) -> dict[str, Any]:
        """The parameters that a model was asked with at last."""
        params: dict[str, Any] = self.fake.asked[-1].params
        return params


def official(url: str, retries: int = 0) -> openai.OpenAI:
    """The official client; to be closed, as its connections outlive it otherwise."""
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=retries)


@contextmanager
def media(folder: Path, *documents: Mapping[str, Any], **settings: Any) -> Iterator[Media]:
    """One of these settings, which keeps its things in `folder`; `documents` describe models beside the usual ones."""
    with fake_upstream(folder) as fake:
        fake.models |= {document["name"]: Scripted(dict(document)) for document in documents}
        with running(settings_for(fake, folder, **settings)) as gateway, official(gateway.url) as client:
            yield Media(gateway, fake, client)


def answering(pieces: list[bytes], content_type: str, **params: Any) -> Any:
    """The reply of a model that answers so, with a receipt of these parameters."""

    def reply(_asked: Asked) -> Answer:
        text = base64.urlsafe_b64encode(json.dumps({"model": "m", "params": params}).encode()).decode().rstrip("=")
        return Answer(pieces, content_type, headers={"X-Atelier-Receipt": text})

    return reply


def picture(side: int = 32, kind: str = "png") -> io.BytesIO:
    """An upload."""
    out = io.BytesIO()
    Image.new("RGB", (side, side), (9, 99, 199)).save(out, kind)
    out.seek(0)
    out.name = f"upload.{kind}"
    return out


def receipt(reply: Reply) -> dict[str, Any]:
    """The receipt that an answer came with."""
    text = reply.headers["x-atelier-receipt"]
    document: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return document


def error(reply: Reply) -> tuple[int, str | None, str]:
    """Status, param and message of a refusal."""
    found = reply.json["error"]
    return reply.status, found["param"], found["message"]
