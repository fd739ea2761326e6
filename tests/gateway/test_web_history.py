"""The history of the page in a real Chromium, at two widths: what was made, again, varied, deleted; what axe finds."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.gateway.conftest import Gateway, eventually
from tests.gateway.test_web_browser import WIDTHS, asked, browser, choose, door, page, upstream
from tests.support.fake_upstream import FakeUpstream, refused

pytestmark = pytest.mark.browser
__all__ = ["browser", "door", "page", "upstream"]


def written(door: Gateway, count: int) -> None:
    """Wait until so many rows are there: they are written behind their answers."""
    eventually(lambda: len(door.get("/api/history").json["data"]) == count, 30, "the history is not written")


def test_what_was_made_is_shown_made_again_varied_and_deleted(
    page: Page, upstream: FakeUpstream, door: Gateway
) -> None:
    page.on("dialog", lambda dialog: dialog.accept())
    choose(page, "drawn")
    page.get_by_label("seed", exact=True).fill("7")
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_text("Done.")).to_be_visible()
    written(door, 1)
    rows = page.locator(".past .rows > li")
    again = page.get_by_role("button", name="Show the newest")
    expect(again).to_be_enabled()
    again.click()
    expect(rows.first).to_contain_text('"seed":7')
    image = rows.first.locator("img")
    assert image.evaluate("(one) => one.decode().then(() => one.naturalWidth)") == 64
    found = Axe().run(page).response["violations"]
    assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []

    choose(page, "told")
    rows.first.get_by_role("button", name="Same again").click()
    expect(page.get_by_text("The same bytes as before.")).to_be_visible()
    assert page.locator("#model").input_value() == "drawn"
    assert asked(upstream, "drawn")[-1].params == {"seed": 7}

    count = len(asked(upstream, "drawn"))
    rows.first.get_by_role("button", name="Vary").click()
    expect(page.get_by_text("Done.")).to_be_visible()
    assert len(asked(upstream, "drawn")) == count + 1
    assert asked(upstream, "drawn")[-1].params["seed"] != 7

    written(door, 3)
    again.click()
    expect(rows).to_have_count(3)
    rows.first.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("Deleted.")).to_be_visible()
    expect(rows).to_have_count(2)
    assert page.evaluate("document.activeElement.matches('.past .remove, #past-title')"), "focus is kept"
    page.get_by_role("button", name="Delete all").click()
    expect(page.get_by_text("Nothing was made yet")).to_be_visible()
    expect(rows).to_have_count(0)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_any_view(
    browser: Browser, door: Gateway, scheme: str, language: str, width: int
) -> None:
    """Without the page's policy, which axe itself runs against where it looks through a waveform."""
    dark = scheme == "dark"
    view = browser.new_page(
        viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", bypass_csp=True
    )
    view.goto(f"{door.url}/?lang={language}")
    send = view.locator("form button[type=submit]")
    for model in ("drawn", "digits", "told", "altered", "chat"):
        view.locator("#model").select_option(model)
        view.wait_for_function("(name) => location.hash === `#${name}`", arg=model)
        view.locator("details").evaluate_all("(all) => all.forEach((one) => { one.open = true; })")
        if model in ("drawn", "digits", "told"):
            send.click()
            expect(view.locator("pre.command").first).to_be_visible()
            expect(send).to_be_enabled()
        found = Axe().run(view).response["violations"]
        grave = [one for one in found if one["impact"] in ("serious", "critical")]
        assert [f"{one['id']}: {one['nodes'][0]['html']}" for one in grave] == [], model
    view.close()


def test_a_field_that_is_refused_is_marked(page: Page, upstream: FakeUpstream) -> None:
    choose(page, "told")
    upstream.models["told"].reply = lambda _asked: refused(400, "temperature is 9, wanted at most 2", "temperature")
    page.get_by_text("More settings").click()
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_role("alert")).to_contain_text("temperature is 9")
    expect(page.locator("#field-temperature")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#field-seed")).not_to_have_attribute("aria-invalid", "true")
    upstream.models["told"].reply = None
