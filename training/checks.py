"""Checks of a config's fields, and the one wording of their refusals: the field as an option, its value, the bound."""

from __future__ import annotations

import codecs
from collections.abc import Collection


class ConfigError(ValueError):
    """A value of the command that cannot be; the message names the option, what it is and what was wanted."""


def refuse(field: str, found: object, wanted: str) -> ConfigError:
    """The refusal of a field: "--batch-size is 0, wanted at least 1"."""
    return ConfigError(f"--{field.replace('_', '-')} is {found}, wanted {wanted}")


def at_least(config: object, **bounds: float) -> None:
    """Raise `ConfigError` for the first field under its bound."""
    for field, bound in bounds.items():
        if not (found := getattr(config, field)) >= bound:
            raise refuse(field, found, f"at least {bound}")


def positive(config: object, *fields: str) -> None:
    """Raise `ConfigError` for the first field that is not over 0."""
    for field in fields:
        if not (found := getattr(config, field)) > 0:
            raise refuse(field, found, "more than 0")


def share(config: object, *fields: str) -> None:
    """Raise `ConfigError` for the first field outside [0, 1]."""
    for field in fields:
        if not 0 <= (found := getattr(config, field)) <= 1:
            raise refuse(field, found, "0 to 1")


def less_than_one(config: object, *fields: str) -> None:
    """Raise `ConfigError` for the first field outside [0, 1): a dropout of 1 would leave nothing."""
    for field in fields:
        if not 0 <= (found := getattr(config, field)) < 1:
            raise refuse(field, found, "at least 0 and less than 1")


def encoding(config: object, field: str) -> None:
    """Raise `ConfigError` if the field is neither None nor the name of an encoding of texts."""
    found = getattr(config, field)
    if found is None:
        return
    try:
        b"a".decode(codecs.lookup(found).name, "replace")  # that of a codec which is none of texts is a LookupError
    except (LookupError, ValueError):
        raise refuse(field, repr(found), "the name of an encoding: cp1252, utf-16, gb18030, shift_jis, ...") from None


def one_of(config: object, field: str, choices: Collection[str]) -> None:
    """Raise `ConfigError` if the field is none of `choices`."""
    if (found := getattr(config, field)) not in choices:
        raise refuse(field, repr(found), f"one of {', '.join(choices)}")
