"""The tables, in words that SQLite and MySQL both know. Times are seconds since 1970 UTC.

Names may be of any script, so MySQL is told utf8mb4; other databases ignore what begins with `mysql_`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, Index, Integer, MetaData, String, Table, Text

METADATA = MetaData()
# People. `password` is an Argon2id hash; one who comes by an OpenID provider has its issuer and subject instead.
USERS = Table(
    "users",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("name", String(100), nullable=False),
    Column("folded", String(200), nullable=False, unique=True),
    Column("role", String(16), nullable=False),
    Column("password", String(200)),
    Column("issuer", String(200)),
    Column("subject", String(200)),
    Column("created", Double, nullable=False),
    Column("disabled", Double),
    Index("users_by_subject", "subject"),
    mysql_charset="utf8mb4",
    mysql_engine="InnoDB",
)
# One row a browser that signed in; `hash` is the SHA-256 of what its cookie holds.
SESSIONS = Table(
    "sessions",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("hash", String(64), nullable=False, unique=True),
    Column("user_id", String(32), nullable=False),
    Column("agent", String(200), nullable=False),
    Column("created", Double, nullable=False),
    Column("seen", Double, nullable=False),
    Column("expires", Double, nullable=False),
    Column("revoked", Double),
    Index("sessions_by_user", "user_id"),
    mysql_charset="utf8mb4",
    mysql_engine="InnoDB",
)
KEYS = Table(
    "api_keys",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("hash", String(64), nullable=False, unique=True),
    Column("hint", String(16), nullable=False),
    Column("name", String(100), nullable=False),
    Column("scopes", String(500), nullable=False),
    Column("created", Double, nullable=False),
    Column("expires", Double),
    Column("revoked", Double),
    Column("last_used", Double),
    Column("requests_a_minute", Integer),
    Column("concurrent", Integer),
    Column("images_a_day", BigInteger),
    Column("tokens_a_day", BigInteger),
    Column("audio_seconds_a_day", BigInteger),
    Column("user_id", String(32)),
    mysql_charset="utf8mb4",
    mysql_engine="InnoDB",
)
# Counters that grow when something changed which processes keep in memory.
CHANGES = Table(
    "changes",
    METADATA,
    Column("subject", String(32), primary_key=True),
    Column("count", BigInteger, nullable=False),
    mysql_charset="utf8mb4",
    mysql_engine="InnoDB",
)
# One row a request of a known caller; never any text of it.
AUDIT = Table(
    "audit",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("request_id", String(64), nullable=False),
    Column("key_id", String(32), nullable=False),
    Column("route", String(128), nullable=False),
    Column("status", Integer, nullable=False),
    Column("started", Double, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("images", Double, nullable=False),
    Column("tokens", Double, nullable=False),
    Column("audio_seconds", Double, nullable=False),
    mysql_charset="utf8mb4",
    mysql_engine="InnoDB",
)
# What a key used of a unit on a day (YYYY-MM-DD, UTC).
USED = Table(
    "used",
    METADATA,
    Column("key_id", String(32), primary_key=True),
    Column("day", String(10), primary_key=True),
    Column("unit", String(16), primary_key=True),
    Column("amount", Double, nullable=False),
    mysql_charset="utf8mb4",
    mysql_engine="InnoDB",
)
# What an owner had made. `asked` is the prompt and all parameters as JSON: what makes the same again. Where a data key
# is there, `asked`, `receipt`, `text` and the files are sealed under it (gateway/sealed.py), the texts in base64.
LONG = 2**24 - 1  # bytes; MySQL takes MEDIUMTEXT for it
GENERATIONS = Table(
    "generations",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("owner", String(32), nullable=False),
    Column("model", String(128), nullable=False),
    Column("version", String(64), nullable=False),
    Column("medium", String(16), nullable=False),
    Column("route", String(128), nullable=False),
    Column("job", String(40)),
    Column("asked", Text(LONG), nullable=False),
    Column("receipt", Text(LONG)),
    Column("text", Text(LONG)),
    Column("sealed_by", String(32)),
    Column("sealed_key", String(128)),
    Column("created", Double, nullable=False),
    Column("status", String(16), nullable=False),
    Index("generations_by_owner", "owner", "created", "id"),
    Index("generations_by_age", "created"),
    mysql_charset="utf8mb4",
    mysql_engine="InnoDB",
)
# The files of a generation. `sha256` is of the file that its seed makes, `sent_sha256` of what was sent (signed, where
# that is done), `phash` its perceptual hash in hex; `result` names it in the store, if it is kept there.
FILES = Table(
    "files",
    METADATA,
    Column("generation", String(32), primary_key=True),
    Column("index", Integer, primary_key=True, autoincrement=False),
    Column("sha256", String(64), nullable=False),
    Column("sent_sha256", String(64), nullable=False),
    Column("phash", String(32)),
    Column("result", String(64)),
    Column("bytes", BigInteger, nullable=False),
    Column("content_type", String(64), nullable=False),
    Index("files_by_sha256", "sha256"),
    Index("files_by_sent_sha256", "sent_sha256"),
    Index("files_by_result", "result"),
    mysql_charset="utf8mb4",
    mysql_engine="InnoDB",
)
