"""What the history knows of a file that somebody brings: by its digest, or by what it looks like. Every call blocks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Engine, or_, select

from gateway.accounts.tables import FILES, GENERATIONS

MAX_LOOKED_AT = 20_000  # files whose hashes are compared, the newest first
MAX_FOUND = 5
NEAR = 10  # of 128 bits that may differ in a picture that was scaled or compressed

_COLUMNS = (
    GENERATIONS.c.id,
    GENERATIONS.c.owner,
    GENERATIONS.c.model,
    GENERATIONS.c.version,
    GENERATIONS.c.created,
    FILES.c.sha256,
    FILES.c.sent_sha256,
)
_JOINED = FILES.join(GENERATIONS, FILES.c.generation == GENERATIONS.c.id)


def by_digest(engine: Engine, digests: Iterable[str]) -> list[dict[str, Any]]:
    """Files that were made or sent with one of these digests, the newest first."""
    wanted = list(digests)
    same = or_(FILES.c.sha256.in_(wanted), FILES.c.sent_sha256.in_(wanted))
    query = select(*_COLUMNS).select_from(_JOINED).where(same)
    with engine.connect() as connection:
        rows = connection.execute(query.order_by(GENERATIONS.c.created.desc()).limit(MAX_FOUND)).mappings()
        return [{**row, "match": "digest"} for row in rows]


def by_looks(engine: Engine, phash: str) -> list[dict[str, Any]]:
    """Files whose perceptual hash is near, the nearest first, each with `distance` in bits."""
    query = select(*_COLUMNS, FILES.c.phash).select_from(_JOINED).where(FILES.c.phash.is_not(None))
    query = query.order_by(GENERATIONS.c.created.desc()).limit(MAX_LOOKED_AT)
    value, near = int(phash, 16), []
    with engine.connect() as connection:
        for row in connection.execute(query).mappings():
            if (distance := (int(row["phash"], 16) ^ value).bit_count()) <= NEAR:
                near.append({**row, "match": "looks", "distance": distance})
    return sorted(near, key=lambda row: int(row["distance"]))[:MAX_FOUND]
