"""The official client of OpenAI's API, before a gateway of the tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai

from tests.gateway.conftest import Gateway

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
STORY = "It was a dark night."  # what the fake upstream always writes


@contextmanager
def client(gateway: Gateway, key: str = "none") -> Iterator[Any]:
    """One that never tries again. Of no type: tests send it what its types do not allow."""
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0, timeout=30) as made:
        yield made
