"""Two accounts with keys, requests, generations and files, as a gateway leaves them, and the commands about them."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.__main__ import main
from gateway.accounts.audit import Audit
from gateway.accounts.generations import Generation, KeptFile
from gateway.accounts.history import file_field
from gateway.accounts.records import Use
from gateway.accounts.store import Key, Store
from gateway.kept import ResultFolder, ResultStore
from gateway.sealed import Ring, read_ring, seal
from tests.support.accounts import store_at, url_of

PROMPT = "一只猫 \U0001f431 of mine"
DAY = "2026-11-28"


@dataclasses.dataclass
class Data:
    """What is kept in a folder; `ring`: sealed under it."""

    folder: Path
    store: Store
    results: ResultStore
    settings: Path
    ring: Ring | None = None

    @property
    def path(self) -> Path:
        """The database, as tests name it."""
        return self.folder / "gateway.db"

    def command(self, *words: str) -> int:
        """`python -m gateway data ...` with its settings."""
        return main(["data", *words, "--settings", str(self.settings)])

    def account(self, name: str) -> Key:
        """A key that made a request."""
        _, key = self.store.create(name, ["image:generate"])
        audit = Audit(self.store)
        record = audit.begin(f"r-{name}", key.id)
        record.units["images"], record.uses[Use(key.id, DAY, "images")] = 1.0, 1.0
        audit.end(record, "/v1/images/generations", 200)
        assert audit.close(60) == 0
        return key

    def generation(self, owner: str, *files: bytes, prompt: str = PROMPT, ring: Ring | None = None) -> Generation:
        """One with its files, sealed where there is a ring."""
        ring = ring or self.ring
        row = Generation(owner, "faces", "1.0", "image", "/v1", {"prompt": prompt, "seed": 7}, receipt='{"seed":7}')
        contents = list(files)
        if ring is not None:
            key, wrapped = ring.new(row.id)
            cipher = AESGCM(key)
            row.sealed_by, row.sealed_key = wrapped.by, base64.b64encode(wrapped.key).decode()
            row.asked_text = _sealed(cipher, row.asked_text, row.id, "asked")
            row.receipt = _sealed(cipher, row.receipt or "", row.id, "receipt")
            contents = [seal(cipher, content, row.id, file_field(at)) for at, content in enumerate(files)]
        for at, (plain, content) in enumerate(zip(files, contents, strict=True)):
            digest = hashlib.sha256(plain).hexdigest()
            row.files.append(KeptFile(at, digest, digest, self.results.put(content), len(plain), "image/png"))
        self.store.write([row], {})
        return row


def _sealed(cipher: AESGCM, text: str, row: str, field: str) -> str:
    return base64.b64encode(seal(cipher, text.encode(), row, field)).decode()


def keys_file(folder: Path, *ids: str) -> Path:
    """A file of keys; each id has the same key in every file."""
    path = folder / "keys"
    path.write_text(
        "".join(f"{name} {base64.b64encode(hashlib.sha256(name.encode()).digest()).decode()}\n" for name in ids)
    )
    path.chmod(0o600)
    return path


def settings_file(folder: Path, **more: Any) -> Path:
    """Settings of a gateway that keeps its things in a folder."""
    values = {"database": url_of(folder / "gateway.db"), "results": str(folder / "results"), **more}
    path = folder / "gateway.toml"
    path.write_text("".join(f"{name} = {json.dumps(str(value))}\n" for name, value in values.items()))
    return path


def data_in(folder: Path, *ids: str) -> Data:
    """An empty one; `ids` of keys: what is made in it is sealed under the first."""
    folder.mkdir(exist_ok=True)
    more = {"encryption_keys": keys_file(folder, *ids)} if ids else {}
    ring = read_ring(folder / "keys") if ids else None
    return Data(
        folder,
        store_at(folder / "gateway.db"),
        ResultFolder(folder / "results", 1 << 20),
        settings_file(folder, **more),
        ring,
    )


@pytest.fixture(params=["plain", "sealed"])
def data(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Data]:
    """Plain, and sealed."""
    for name in [name for name in os.environ if name.startswith("ATELIER_GATEWAY_")]:
        monkeypatch.delenv(name)
    made = data_in(tmp_path / "at", *(["now", "old"] if request.param == "sealed" else []))
    yield made
    made.store.engine.dispose()
