"""The page in a real Chromium: what is asked, what is shown, and that nothing of it breaks the page's own policy."""

from __future__ import annotations

import json
import os
import re
import shutil
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, FilePayload, Page, expect, sync_playwright

from tests.gateway.conftest import Gateway, eventually, running, settings_for
from tests.gateway.media import picture
from tests.support.accounts import store_at
from tests.support.fake_documents import documents
from tests.support.fake_upstream import Asked, FakeUpstream, Reply, fake_upstream, refused

pytestmark = pytest.mark.browser
CHROMIUM = os.environ.get("ATELIER_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
HTML = "<img src=x onerror=alert(1)><b>bold</b>"
WIDTHS = (1280, 390)


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeUpstream]:
    with fake_upstream(tmp_path_factory.mktemp("up")) as fake:
        yield fake


@pytest.fixture(scope="module")
def door(upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(settings_for(upstream, tmp_path_factory.mktemp("gw"))) as made:
        yield made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium here; ATELIER_CHROMIUM names one")
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield made
        made.close()


@pytest.fixture(params=WIDTHS)
def page(browser: Browser, door: Gateway, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page of a width, opened; at the end nothing was refused by its policy, and it is no wider than its window."""
    made = browser.new_page(viewport={"width": request.param, "height": 900}, locale="en-US")
    said: list[str] = []
    made.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    made.on("pageerror", lambda error: said.append(str(error)))
    made.goto(door.url)
    expect(made.get_by_role("button", name="Generate")).to_be_visible()
    yield made
    over = made.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    made.close()
    assert [text for text in said if "status of 4" not in text] == []  # the browser's own words for a refusal
    assert over == 0


def choose(page: Page, model: str) -> None:
    """Take a model and wait for its form."""
    page.locator("#model").select_option(model)
    expect(page.get_by_text(re.compile(f"^{model} is a model of the kind"))).to_be_visible()


def asked(upstream: FakeUpstream, model: str) -> list[Asked]:
    return [one for one in upstream.asked if one.model == model]


def test_an_image_and_the_seeds_beside_it(page: Page, upstream: FakeUpstream) -> None:
    choose(page, "drawn")
    page.get_by_label("seed", exact=True).fill("7")
    page.get_by_role("button", name="Generate").click()
    image = page.locator("figure img")
    expect(image).to_have_attribute("alt", "Image of drawn, seed 7")
    assert image.evaluate("(one) => one.decode().then(() => one.naturalWidth)") == 64
    page.get_by_role("button", name="Next seed").click()
    expect(image).to_have_attribute("alt", "Image of drawn, seed 8")
    count = len(asked(upstream, "drawn"))
    assert asked(upstream, "drawn")[-1].params == {"seed": 8}
    page.get_by_role("button", name="Seed before").click()
    expect(image).to_have_attribute("alt", "Image of drawn, seed 7")
    assert len(asked(upstream, "drawn")) == count, "one that is there is not asked for again"
    assert page.locator(".strip button").count() == 2
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == "drawn-7.png"
    assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")
    expect(page.locator("pre.command")).to_contain_text("""-d '{"seed":8}' -o 'drawn.image'""")


def test_several_images_and_a_seed_that_the_page_draws(page: Page, upstream: FakeUpstream) -> None:
    choose(page, "drawn")
    page.get_by_label("seed", exact=True).fill("")
    page.get_by_text("More settings").click()
    page.get_by_label("n", exact=True).fill("3")
    page.get_by_label("n", exact=True).press("Enter")
    expect(page.locator(".strip button")).to_have_count(3)
    params = asked(upstream, "drawn")[-1].params
    assert set(params) == {"seed", "n"}
    alts = page.locator(".strip img").evaluate_all("(all) => all.map((one) => one.alt)")
    assert alts == [f"Image of drawn, seed {params['seed'] + i}" for i in range(3)]


def test_a_file_is_sent_as_a_form(page: Page, upstream: FakeUpstream, tmp_path: Path) -> None:
    file = tmp_path / "mine.png"
    file.write_bytes(picture().getvalue())
    choose(page, "altered")
    page.locator("#field-image").set_input_files(file)
    page.get_by_role("button", name="Generate").click()
    expect(page.locator("figure img")).to_have_attribute("alt", re.compile("Image of altered"))
    assert set(asked(upstream, "altered")[-1].params["image"]) == {"spooled"}
    expect(page.locator("pre.command")).to_contain_text("-F 'image=@FILE'")


def test_a_text_is_shown_as_it_comes_and_never_as_markup(page: Page, upstream: FakeUpstream) -> None:
    def reply(_asked: Asked) -> Reply:
        pieces = [json.dumps({"choices": [{"index": 0, "text": part}]}) for part in (HTML[:9], HTML[9:])]
        events = [f"data: {piece}\n\n".encode() for piece in pieces]
        return Reply([*events, b"data: [DONE]\n\n"], "text/event-stream")

    upstream.models["told"].reply = reply
    choose(page, "told")
    page.get_by_label("prompt").fill(HTML)
    upstream.hold()
    try:
        page.get_by_role("button", name="Generate").click()
        expect(page.locator("p.written")).to_have_text(HTML[:9])
    finally:
        upstream.release()
    expect(page.locator("p.written")).to_have_text(HTML)
    expect(page.get_by_role("status")).to_have_text("Done.")
    assert page.locator("main img[src='x'], main b").count() == 0
    upstream.models["told"].reply = None


def test_a_conversation(page: Page, upstream: FakeUpstream) -> None:
    choose(page, "chat")
    for said in (HTML, "and then?"):
        page.get_by_label("Your message").fill(said)
        page.get_by_role("button", name="Send").click()
        expect(page.get_by_role("status")).to_have_text("Done.")
    turns = page.locator(".turn .written")
    expect(turns).to_have_text([HTML, "It was a dark night.", "and then?", "It was a dark night."])
    roles = [message["role"] for message in asked(upstream, "chat")[-1].params["messages"]]
    assert roles == ["user", "assistant", "user"]
    page.get_by_role("button", name="New conversation").click()
    expect(turns).to_have_count(0)


def test_a_refusal_is_told_and_nothing_that_was_written_is_lost(page: Page, upstream: FakeUpstream) -> None:
    upstream.models["chat"].reply = lambda _asked: refused(400, "messages are too long")
    choose(page, "chat")
    page.get_by_label("Your message").fill("long")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("alert")).to_contain_text("messages are too long")
    expect(page.get_by_label("Your message")).to_have_value("long")
    expect(page.locator(".turn")).to_have_count(0)
    upstream.models["chat"].reply = None


def test_a_sound_has_its_wave_and_can_be_played(page: Page) -> None:
    choose(page, "digits")
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_role("img", name="Waveform")).to_be_visible()
    audio = page.locator("[x-ref=audio]")
    eventually(lambda: audio.evaluate("(one) => one.duration > 0.09"), 30, "the sound has no length")
    assert page.locator("[x-ref=wave] canvas").count() > 0
    page.get_by_text("More settings").click()
    page.get_by_label("format").select_option("pcm")
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_text("This browser cannot play this format")).to_be_visible()


def test_a_sound_is_heard_while_it_comes_and_is_whole_at_the_end(page: Page, upstream: FakeUpstream) -> None:
    page.evaluate(
        """() => {
          const begin = AudioBufferSourceNode.prototype.start;
          window.begun = 0;
          AudioBufferSourceNode.prototype.start = function (...at) { window.begun += 1; return begin.apply(this, at); };
        }"""
    )
    choose(page, "digits")
    page.get_by_label("seed", exact=True).fill("7")
    upstream.hold()
    try:
        page.get_by_role("button", name="Generate").click()
        eventually(lambda: page.evaluate("window.begun") == 1, 30, "nothing is heard of the first piece")
        expect(page.get_by_role("img", name="Waveform so far")).to_be_visible()
        drawn = "(one) => one.getContext('2d').getImageData(0, 0, one.width, one.height).data.some((byte) => byte > 0)"
        assert page.locator("[x-ref=coming]").evaluate(drawn)
    finally:
        upstream.release()
    expect(page.get_by_role("status").first).to_have_text("Done.")
    expect(page.get_by_role("img", name="Waveform so far")).to_be_hidden()
    sent = asked(upstream, "digits")[-1].params
    assert sent["stream"] is True
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download").last.click()
    with wave.open(str(saved.value.path())) as file:
        assert file.getnframes() > 500, "its header has its length"


def test_a_chosen_image_is_shown_before_it_is_sent(page: Page) -> None:
    choose(page, "altered")
    mine = FilePayload(name="a.png", mimeType="image/png", buffer=picture().getvalue())
    page.locator("#field-image").set_input_files(mine)
    shown = page.get_by_role("img", name="The chosen image")
    eventually(lambda: shown.evaluate("(one) => one.naturalWidth") > 0, 30, "it is not shown")


def test_the_keyboard_is_enough(page: Page, upstream: FakeUpstream) -> None:
    choose(page, "drawn")
    count = len(asked(upstream, "drawn"))
    page.locator("#model").focus()
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.type") == "submit":
            break
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("Done.")
    assert len(asked(upstream, "drawn")) == count + 1


def test_every_model_has_a_form_in_chinese_too(browser: Browser, door: Gateway) -> None:
    page = browser.new_page(locale="zh-CN")
    page.goto(door.url)
    expect(page.get_by_role("button", name="生成")).to_be_visible()
    for name in documents():
        page.locator("#model").select_option(name)
        expect(page.get_by_text(re.compile(f"^{name} 是"))).to_be_visible()
    page.get_by_role("link", name="English").click()
    expect(page.get_by_role("heading", name="Result")).to_be_visible()
    page.close()


def test_with_a_key_the_models_are_shown(browser: Browser, upstream: FakeUpstream, tmp_path: Path) -> None:
    store = store_at(tmp_path / "gateway.db")
    text, _ = store.create("reader")
    store.engine.dispose()
    with running(settings_for(upstream, tmp_path, keys="required")) as gateway:
        page = browser.new_page(locale="en-US")
        page.goto(gateway.url)
        page.get_by_label("API key").fill("atl_wrong")
        page.get_by_role("button", name="Show models").click()
        expect(page.get_by_role("alert")).to_contain_text("key")
        expect(page.locator("#model")).to_be_hidden()
        page.get_by_label("API key").fill(text)
        page.get_by_label("API key").press("Enter")
        choose(page, "drawn")
        page.get_by_role("button", name="Generate").click()
        expect(page.get_by_role("status")).to_have_text("Done.")
        expect(page.locator("pre.command")).to_contain_text("Bearer atl_...")
        assert text not in page.content()
        page.close()
