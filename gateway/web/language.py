"""The languages of the page: a dictionary file each, and which of them a reader gets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from werkzeug.datastructures import LanguageAccept

USUAL = "en"
FOLDER = Path(__file__).parent / "templates"


def dictionaries(folder: Path = FOLDER) -> dict[str, Mapping[str, str]]:
    """Language -> key -> text, of every dictionary in a folder of templates."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}


def chosen(asked: str | None, accept: LanguageAccept, known: Mapping[str, object]) -> str:
    """The language that was asked for by name, else the best of `Accept-Language`, else English."""
    if asked in known:
        return str(asked)
    for tag, _quality in accept:
        if (language := tag.lower().partition("-")[0]) in known:
            return language
    return USUAL
