"""docs/gateway.md names every setting and every route."""

from __future__ import annotations

import re

from starlette.routing import Route

from gateway.app import routes
from gateway.settings import Settings
from tests.conftest import ROOT
from tests.support.documents import table

GATEWAY = (ROOT / "docs/gateway.md").read_text()


def test_every_setting_is_in_the_table() -> None:
    named = [name for row in table(GATEWAY, "## Settings") for name in re.findall(r"`(\w+)`", row[0])]
    assert sorted(named) == sorted(Settings.model_fields)


def test_every_route_is_named() -> None:
    """By its path or, where one goes with another, by the end of it."""
    cells = [row[0] + row[1] for row in table(GATEWAY, "## Routes")]
    paths = [route.path for route in routes() if isinstance(route, Route)]
    assert len(paths) > 10
    for path in paths:
        shown = re.sub(r"\{version\}", "VERSION", re.sub(r"\{id\}", "ID", re.sub(r"\{name(:path)?\}", "NAME", path)))
        last = shown.rpartition("/")[2]
        ends = (shown,) if last in ("NAME", "ID", "VERSION") else (shown, f"/{last}")
        assert any(f"{end}`" in cell for cell in cells for end in ends), f"{shown} is not in the table of routes"
