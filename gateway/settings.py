"""Settings of the gateway: one typed TOML file, and `ATELIER_GATEWAY_KEY=value` in the environment over it."""

from __future__ import annotations

import ipaddress
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gateway.moderation.settings import ClassifierSettings, ModerationSettings

PREFIX = "ATELIER_GATEWAY_"
MAX_SHOWN = 60  # characters of a wrong value in a message
# What is wanted, where pydantic says it in words of Python: by setting, else by the type of its error.
WANTED = {
    "upstream": "unix:/PATH of a socket",
    "public_url": "http://HOST or https://HOST",
    "oidc.issuer": "https://HOST, as the provider calls itself",
    "oidc.client_id": "what the provider knows this gateway by",
    "origins": 'a list of pages, such as ["https://app.example"]',
    "ignore_fields": 'a list of fields, such as ["style"]',
    "models": 'a list of names, such as ["faces"]',
    "aliases": 'a table, such as { gpt-image-1 = "faces" }',
    "voices": 'a table, such as { minor = { key = "Am" } }',
    "signature": 'a table, such as { certificate = "certificate.pem", key = "key.pem" }',
    "otel": 'a table, such as { endpoint = "http://127.0.0.1:4318/v1/traces" }',
    "otel.endpoint": "the whole address of a collector, such as http://127.0.0.1:4318/v1/traces",
    "otel.sample": "a share of the requests, from 0 to 1",
    "system": 'a table, such as { chat = "prepend" }',
    "moderation": 'a table, such as { folder = "lists" }; {} turns it on with the lists for trials',
    "moderation.actions": 'a table, such as { self-harm = "log" }',
    "moderation.classifier": 'a table, such as { url = "http://127.0.0.1:9000/v1/moderations" }',
    "moderation.classifier.url": "http://HOST/PATH or https://HOST/PATH",
}
TYPES = {
    "dict_type": "a table, such as { name = ... }",
    "model_type": "a table, such as { concurrent = 4 }",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "a text",
}


class SettingsError(Exception):
    """Error: a setting is unknown, or its value is not what is wanted."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LimitSettings(_Table):
    """What one key may use; 0 or absent: no bound."""

    requests_a_minute: int = Field(default=0, ge=0)
    concurrent: int = Field(default=0, ge=0)
    images_a_day: int = Field(default=0, ge=0)
    tokens_a_day: int = Field(default=0, ge=0)
    audio_seconds_a_day: int = Field(default=0, ge=0)


class SignatureSettings(_Table):
    """What files are signed with; PEM files, the certificate's own first, then those that issued it."""

    certificate: Path
    key: Path
    algorithm: Literal["es256", "es384", "ps256", "ed25519"] = "es256"
    trust: Path | None = None  # certificates of authorities whose signatures /api/provenance/verify trusts


class OidcSettings(_Table):
    """An OpenID provider that people may sign in by."""

    issuer: str = Field(pattern=r"^https?://[^/]")  # as it calls itself, letter by letter
    client_id: str = Field(min_length=1)
    client_secret_file: Path | None = None  # absent: a public client
    name: str = "OpenID"  # on the page: "Sign in with ..."
    make_users: bool = False  # whoever it lets in gets an account; false: only those who were made for it


class OtelSettings(_Table):
    """Who collects traces (OTLP over HTTP), what they call this service, and the share of requests that is traced."""

    endpoint: str = Field(pattern=r"^https?://[^/]+/.*")
    service_name: str = Field(default="atelier-gateway", min_length=1)
    sample: float = Field(default=1.0, ge=0, le=1)


class Settings(_Table):
    """All of them, with their defaults. Seconds and bytes as the names say."""

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65_535)  # 0: a free one, which is printed
    run_dir: Path = Path("artifacts/serving")
    address_file: Path | None = None  # written once it listens: where, for the launcher that started it
    upstream: str | None = Field(default=None, pattern=r"^unix:/.+")
    models: tuple[str, ...] = ()
    spool: Path | None = None
    database: str | None = None
    keys: Literal["required", "none"] | None = None
    aliases: dict[str, str] = {}
    voices: dict[str, dict[str, Any]] = {}
    system: dict[str, Literal["refuse", "prepend"]] = {}
    ignore_fields: tuple[str, ...] = ()
    limits: LimitSettings = LimitSettings()
    moderation: ModerationSettings | None = None  # a table, also an empty one, turns it on
    in_flight: int | None = Field(
        default=None, ge=1
    )  # requests of a model that are upstream at once; absent: by its limits
    waiting: int = Field(default=256, ge=0)  # requests of a model that wait here for their turn
    connections: int = Field(default=1024, ge=1)
    drain_seconds: float = Field(default=30, ge=0)
    header_seconds: float = Field(default=10, gt=0)
    body_seconds: float = Field(default=30, gt=0)
    idle_seconds: float = Field(default=30, gt=0)  # of a connection between two requests
    send_seconds: float = Field(default=30, gt=0)  # without that a caller reads a byte of its answer
    session_days: float = Field(default=30, gt=0)  # after which a browser signs in again
    session_idle_days: float = Field(default=7, gt=0)  # the same, where nothing is asked for so long
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    profile: Literal["eu", "cn", "none"] = "eu"  # how files are marked as generated, beside the engine's own mark
    producer: str | None = Field(default=None, min_length=1, max_length=128)  # in the record of the profile cn
    signature: SignatureSettings | None = None
    verifications_a_minute: int = Field(default=30, ge=0)  # of one caller; 0: no bound
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    origins: tuple[str, ...] = ()
    oidc: OidcSettings | None = None
    otel: OtelSettings | None = None
    public_url: str | None = Field(default=None, pattern=r"^https?://[^/]")  # of links in answers; absent: by Host
    results_seconds: float = Field(default=3600, gt=0)  # for which images asked for as links, and jobs, are kept
    results_bytes: int = Field(default=256 << 20, ge=1)  # of all that are kept
    history: Literal["on", "off"] = "on"  # whether what is made is kept for whoever asked for it
    results: str | None = None  # where its files are, a folder or s3://BUCKET/PREFIX; absent: beside the database
    history_bytes: int = Field(default=4 << 30, ge=1)  # of all these files
    retention_days: int = Field(default=90, ge=0)  # after which a generation goes; 0: when its owner deletes it
    encryption_keys: Path | None = None  # a file; with it all that is kept is sealed
    remove_personal_data: bool = True  # out of prompts and texts before they are kept

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if self.keys == "none" and not self.on_loopback:
            raise ValueError(
                f'keys is none and host is {self.host}, which others can reach: set keys = "required" and make one '
                "by `python -m gateway keys create`, or set host to 127.0.0.1"
            )
        if (self.upstream is None) != (not self.models):
            raise ValueError("upstream and models go together: set both, or neither and run_dir")
        if self.moderation is not None and self.moderation.keep_texts and self.encryption_keys is None:
            raise ValueError("moderation.keep_texts keeps texts sealed alone: set encryption_keys to a file of keys")
        if self.oidc is not None and (self.public_url is None or self.keyless):
            raise ValueError('oidc needs public_url, where its provider sends browsers back to, and keys = "required"')
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key go together: set both or neither")
        if self.profile == "cn" and self.producer is None:
            raise ValueError('profile is cn, whose record names who makes the content: set producer = "NAME OR CODE"')
        if self.profile == "none" and self.signature is not None:
            raise ValueError("profile is none and signature is set: take one of them out")
        return self

    @property
    def on_loopback(self) -> bool:
        """Whether nobody but this machine can reach the gateway."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def secure(self) -> bool:
        """Whether callers come over TLS, to this process or to what stands before it."""
        return self.tls_certificate is not None or (self.public_url or "").startswith("https://")

    @property
    def keyless(self) -> bool:
        """Whether everybody is let in: by `keys = "none"`, or on loopback where nothing is said."""
        return self.keys == "none" or (self.keys is None and self.on_loopback)


# The tables that have names of their own.
TABLES: dict[tuple[int | str, ...], type[BaseModel]] = {
    ("limits",): LimitSettings,
    ("moderation",): ModerationSettings,
    ("moderation", "classifier"): ClassifierSettings,
    ("oidc",): OidcSettings,
    ("otel",): OtelSettings,
    ("signature",): SignatureSettings,
}


def load(path: Path | None, environment: Mapping[str, str]) -> Settings:
    """Settings of a file and of the environment. Raises `SettingsError` that names key, value and what is wanted."""
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text())
        except OSError as error:
            raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise SettingsError(f"{path} is no TOML: {error}") from None
    for name, text in environment.items():
        if name.startswith(PREFIX):
            values[name.removeprefix(PREFIX).lower()] = _value(name.removeprefix(PREFIX).lower(), text)
    try:
        return Settings(**values)
    except ValidationError as error:
        raise SettingsError(_told(error)) from None


def _value(key: str, text: str) -> Any:
    """The value of a variable: text as it is, or JSON where the setting is no text."""
    if text[:1] in ("[", "{"):
        try:
            return json.loads(text)
        except ValueError as error:
            raise SettingsError(f"{PREFIX}{key.upper()} is no JSON: {error}") from None
    return text


def _told(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        shown = str(problem["input"])[:MAX_SHOWN]
        if problem["type"] == "extra_forbidden":
            table = TABLES.get(problem["loc"][:-1], Settings)
            lines.append(f"setting {key} is unknown; known: {', '.join(table.model_fields)}")
        elif problem["type"] == "missing":
            lines.append(f"setting {key} is missing" + (f", wanted: {WANTED[key]}" if key in WANTED else ""))
        elif problem["type"] == "value_error":
            lines.append(str(problem["ctx"]["error"]))
        else:
            wanted = WANTED.get(key, TYPES.get(problem["type"], problem["msg"].removeprefix("Input should be ")))
            lines.append(f"setting {key} is {shown!r}, wanted: {wanted}")
    return "; ".join(lines)
