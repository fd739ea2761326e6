"""Signing in with a real Chromium, at two widths: login, a key, the studio by the session, signing out."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from gateway.accounts.passwords import Passwords
from gateway.accounts.people import Users
from tests.gateway.conftest import Gateway, running, settings_for
from tests.gateway.test_web_browser import WIDTHS, browser, upstream
from tests.support.accounts import store_at
from tests.support.fake_upstream import FakeUpstream

pytestmark = pytest.mark.browser
GOOD = "correct horse battery"
__all__ = ["browser", "upstream"]


@pytest.fixture(scope="module")
def door(upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gw")
    users, known = Users(store_at(folder / "gateway.db").engine), Passwords()
    users.create("alice", "admin", known.hash(GOOD, "alice"))
    with running(settings_for(upstream, folder, keys="required")) as made:
        yield made


@pytest.fixture(params=WIDTHS)
def page(browser: Browser, door: Gateway, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A browser of a width, signed in; at the end no page was refused anything by its own policy."""
    made = browser.new_page(viewport={"width": request.param, "height": 900}, locale="en-US")
    said: list[str] = []
    made.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    made.goto(f"{door.url}/web/login")
    made.get_by_label("Name").fill("alice")
    made.get_by_label("Password").fill(GOOD)
    made.get_by_role("button", name="Sign in").click()
    expect(made.get_by_role("button", name="Generate")).to_be_visible()
    yield made
    over = made.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    made.close()
    assert said == []
    assert over <= 0, "the page is wider than its window"


def serious(page: Page) -> list[str]:
    """What a screen reader or weak eyes would stumble over badly, by axe."""
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found if one["impact"] in ("serious", "critical")]


def test_a_key_is_made_used_and_ended(page: Page, door: Gateway) -> None:
    page.get_by_role("link", name="alice").click()
    page.get_by_role("button", name="Make a key").first.click()
    page.get_by_label("What it is for").fill("laptop")
    page.get_by_role("button", name="Make a key").last.click()
    key = page.get_by_label(re.compile("Your new key")).input_value()
    assert door.get("/v1/models", headers={"Authorization": f"Bearer {key}"}).status == 200
    page.get_by_role("button", name="End laptop").first.click()
    expect(page.get_by_role("cell", name="ended", exact=True).first).to_be_visible()
    assert door.get("/api/models", headers={"Authorization": f"Bearer {key}"}).status in (200, 401)


def test_the_studio_works_by_the_session(page: Page) -> None:
    page.locator("#model").select_option("drawn")
    page.get_by_role("button", name="Generate").click()
    expect(page.locator("figure img").first).to_be_visible()
    assert "Bearer atl_" in page.locator("pre.command").inner_text()


def test_signing_out_ends_it(page: Page, door: Gateway) -> None:
    page.goto(f"{door.url}/web/account")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    page.goto(f"{door.url}/web/account")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/web/account", "/web/admin", "/web/login"])
def test_axe_finds_nothing_serious(page: Page, door: Gateway, path: str, scheme: str) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    if path == "/web/login":
        page.context.clear_cookies()
    page.goto(door.url + path)
    assert serious(page) == []
