"""Signing in as a browser without scripts does it: forms, cookies, and what is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode

import pytest

from gateway.accounts.passwords import FAILURES, Passwords
from gateway.accounts.people import Users
from tests.gateway.conftest import Gateway, Reply, running, settings_for
from tests.support.accounts import store_at
from tests.support.fake_upstream import FakeUpstream, fake_upstream

GOOD = "correct horse battery"
FORM = "application/x-www-form-urlencoded"


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeUpstream]:
    with fake_upstream(tmp_path_factory.mktemp("up")) as fake:
        yield fake


@pytest.fixture(scope="module")
def door(upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """With `alice`, a user, and `root`, who looks after it."""
    folder = tmp_path_factory.mktemp("gw")
    users, known = Users(store_at(folder / "gateway.db").engine), Passwords()
    users.create("alice", "user", known.hash(GOOD, "alice"))
    users.create("root", "admin", known.hash(GOOD, "root"))
    with running(settings_for(upstream, folder, keys="required")) as made:
        yield made


class Visit:
    """A browser: it keeps the cookie and the word of the last page."""

    def __init__(self, door: Gateway) -> None:
        self.door, self.cookie, self.word = door, "", ""

    def get(self, path: str) -> Reply:
        return self._seen(self.door.get(path, headers={"Cookie": self.cookie}))

    def post(self, path: str, fields: dict[str, str] | None = None, **more: str) -> Reply:
        body = urlencode({"csrf": self.word, **(fields or {})}).encode()
        headers = {"Cookie": self.cookie, "Content-Type": FORM, "Sec-Fetch-Site": "same-origin"}
        headers |= {name.replace("_", "-"): value for name, value in more.items()}
        return self._seen(self.door.ask("POST", path, body=body, headers=headers))

    def sign_in(self, name: str = "alice", password: str = GOOD, **more: str) -> Reply:
        return self.post("/web/login", {"name": name, "password": password}, **more)

    def _seen(self, reply: Reply) -> Reply:
        if (cookie := reply.headers.get("set-cookie")) is not None:
            self.cookie = cookie.partition(";")[0]
        if found := re.search(r'name="csrf" value="([0-9a-f]+)"', reply.body.decode(errors="replace")):
            self.word = found[1]
        return reply


@pytest.fixture
def visit(door: Gateway) -> Visit:
    return Visit(door)


def test_whoever_is_not_signed_in_is_sent_to_do_so(visit: Visit) -> None:
    assert 'href="/web/login"' in visit.get("/").body.decode()
    for path in ("/web/account", "/web/admin"):
        reply = visit.get(path)
        assert (reply.status, reply.headers["location"]) == (303, "/web/login"), path
    page = visit.get("/web/login")
    assert page.status == 200
    assert "form-action 'self'" in page.headers["content-security-policy"]
    assert "script-src" not in page.headers["content-security-policy"], "no script runs here at all"
    assert "<script" not in page.body.decode()
    assert json.loads(visit.get("/web/session").body) == {"user": None, "csrf": None, "keyless": False}


def test_signing_in_begins_a_session_that_works_everywhere_and_ends(visit: Visit) -> None:
    reply = visit.sign_in()
    assert (reply.status, reply.headers["location"]) == (303, "/")
    cookie = reply.headers["set-cookie"]
    assert re.fullmatch(r"atelier=[\w-]{43}; Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax", cookie)
    assert 'data-keys="session"' in visit.get("/").body.decode()
    told = json.loads(visit.get("/web/session").body)
    assert told["user"] == {"name": "alice", "role": "user"}
    assert visit.get("/v1/models").status == 200
    asked = {"model": "drawn", "prompt": ""}
    by_script = {"Cookie": visit.cookie, "X-CSRF-Token": told["csrf"], "Sec-Fetch-Site": "same-origin"}
    assert visit.door.post("/v1/images/generations", asked, headers=by_script).status == 200
    forged = visit.door.post("/v1/images/generations", asked, headers={"Cookie": visit.cookie})
    assert forged.status == 403
    assert json.loads(forged.body)["error"]["code"] == "csrf"
    visit.get("/web/account")
    kept, out = visit.cookie, visit.post("/web/logout")
    assert out.headers["location"] == "/web/login"
    assert "Max-Age=0" in out.headers["set-cookie"]
    visit.cookie = kept
    assert visit.get("/web/account").status == 303, "the cookie opens nothing any more"


@pytest.mark.parametrize(("name", "password"), [("alice", "wrong password"), ("nobody", GOOD), ("", ""), ("alice", "")])
def test_wrong_names_and_passwords_are_told_alike(visit: Visit, name: str, password: str) -> None:
    reply = visit.sign_in(name, password, X_Forwarded_For="1.1.1.1")
    assert reply.status == 403
    assert "Name and password do not fit." in reply.body.decode()
    assert "set-cookie" not in reply.headers


def test_a_name_is_shown_again_as_text_alone(visit: Visit) -> None:
    page = visit.sign_in('"><script>alert(1)</script>', "x").body.decode()
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_a_form_of_another_page_signs_nobody_in(visit: Visit) -> None:
    reply = visit.sign_in(Sec_Fetch_Site="cross-site")
    assert reply.status == 403
    assert "set-cookie" not in reply.headers


def test_a_session_that_was_there_before_is_not_taken_over(visit: Visit) -> None:
    visit.sign_in()
    first = visit.cookie
    visit.sign_in("root")
    assert visit.cookie != first
    assert visit.door.get("/web/account", headers={"Cookie": first}).status == 303, "the one before ended"
    visit.cookie = "atelier=chosen-by-somebody-else"
    visit.sign_in()
    assert "chosen" not in visit.cookie


def test_keys_are_made_shown_once_used_and_revoked(visit: Visit) -> None:
    visit.sign_in()
    visit.get("/web/account")
    page = visit.post("/web/account/keys", {"name": "laptop <b>", "scope": "image:generate", "days": "30"})
    (key,) = re.findall(r'value="(atl_\w+)"', page.body.decode())
    assert "laptop &lt;b&gt;" in page.body.decode()
    assert key not in visit.get("/web/account").body.decode(), "it is shown once"
    bearer = {"Authorization": f"Bearer {key}"}
    assert visit.door.get("/v1/models", headers=bearer).status == 200
    (identity,) = set(re.findall(r"/web/account/keys/(key_\w+)/revoke", visit.get("/web/account").body.decode()))
    other = Visit(visit.door)
    other.sign_in("root")
    other.get("/web/account")
    assert other.post(f"/web/account/keys/{identity}/revoke").status == 404, "it is not his"
    assert visit.post(f"/web/account/keys/{identity}/revoke").status == 303
    assert "ended" in visit.get("/web/account").body.decode()


@pytest.mark.parametrize(
    "fields", [{"name": ""}, {"name": "x" * 101}, {"name": "x", "scope": "all"}, {"name": "x", "days": "7"}]
)
def test_keys_of_another_kind_are_not_made(visit: Visit, fields: dict[str, str]) -> None:
    visit.sign_in()
    visit.get("/web/account")
    reply = visit.post("/web/account/keys", fields)
    assert reply.status == 400
    assert "A key needs a name" in reply.body.decode()


@pytest.mark.parametrize("path", ["/web/logout", "/web/account/keys", "/web/account/password", "/web/admin/users"])
def test_forms_without_our_word_change_nothing(visit: Visit, path: str) -> None:
    visit.sign_in("root")
    visit.word = "0" * 64
    reply = visit.post(path, {"name": "made by a forger", "days": "30"})
    assert reply.status == 403
    assert "does not come from a page of ours" in reply.body.decode()
    assert "forger" not in visit.get("/web/admin").body.decode()


def test_administration_is_for_administrators(visit: Visit) -> None:
    visit.sign_in()
    visit.get("/web/account")
    assert visit.get("/web/admin").status == 403
    assert visit.post("/web/admin/users", {"name": "eve", "role": "admin"}).status == 403


def test_an_administrator_makes_disables_and_deletes_users(visit: Visit) -> None:
    visit.sign_in("root")
    visit.get("/web/admin")
    page = visit.post("/web/admin/users", {"name": "carol", "role": "user"}).body.decode()
    found = re.search(r'id="made" readonly value="([\w-]+)"', page)
    assert found is not None
    carol = Visit(visit.door)
    assert carol.sign_in("carol", found[1]).status == 303
    assert visit.post("/web/admin/users", {"name": "CAROL", "role": "user"}).status == 409
    assert visit.post("/web/admin/users", {"name": "x", "role": "king"}).status == 400
    (row,) = re.findall(r"<td>carol</td>.*?</tr>", visit.get("/web/admin").body.decode(), re.DOTALL)
    (identity,) = set(re.findall(r"usr_\w+", row))
    assert visit.post(f"/web/admin/users/{identity}/disable").status == 303
    assert carol.get("/web/account").status == 303, "signed out"
    assert carol.sign_in("carol", found[1]).status == 403
    assert visit.post(f"/web/admin/users/{identity}/delete").status == 303
    assert visit.post(f"/web/admin/users/{identity}/delete").status == 404
    assert visit.post(f"/web/admin/users/{identity}/crown").status == 400


def test_a_password_is_changed_and_other_browsers_are_out(visit: Visit, door: Gateway) -> None:
    users, known = Users(store_at(Path(str(door.settings.database).removeprefix("sqlite:///"))).engine), Passwords()
    users.create("dave", "user", known.hash(GOOD, "dave"))
    other = Visit(door)
    for one in (visit, other):
        one.sign_in("dave")
    visit.get("/web/account")
    assert "not your present password" in visit.post("/web/account/password", {"old": "x", "new": GOOD}).body.decode()
    assert "Wanted: 10 to 200" in visit.post("/web/account/password", {"old": GOOD, "new": "short"}).body.decode()
    assert visit.post("/web/account/password", {"old": GOOD, "new": "another horse 7"}).status == 303
    assert visit.get("/web/account").status == 200
    assert other.get("/web/account").status == 303
    assert Visit(door).sign_in("dave").status == 403
    assert Visit(door).sign_in("dave", "another horse 7").status == 303


def test_who_guesses_is_told_when_to_come_again(visit: Visit, door: Gateway) -> None:
    for _ in range(FAILURES["name and address"]):
        assert visit.sign_in("mallory", "guess guess").status == 403
    reply = visit.sign_in("mallory", "guess guess")
    assert reply.status == 429
    assert 0 < int(reply.headers["retry-after"]) <= 901


@pytest.fixture
def crowded(upstream: FakeUpstream, tmp_path: Path) -> Iterator[Gateway]:
    """One of its own: so many wrong passwords are remembered of an address."""
    with running(settings_for(upstream, tmp_path, keys="required")) as made:
        yield made


@pytest.mark.slow
def test_a_thousand_logins_at_once_leave_it_answering(crowded: Gateway) -> None:
    door = crowded

    def one(number: int) -> int:
        return Visit(door).sign_in(f"user {number}", "guess guess").status

    with ThreadPoolExecutor(64) as pool:
        answers = [pool.submit(one, number) for number in range(1000)]
        while not all(answer.done() for answer in answers):
            assert door.get("/healthz").status == 200
            assert door.get("/web/static/page.css").status == 200
        statuses = {answer.result() for answer in answers}
    assert statuses <= {403, 429, 503}
    assert 503 in statuses, "so many did not fit at once"
    assert Visit(door).get("/web/login").status == 200


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_word_is_there_in_both_languages(visit: Visit, language: str) -> None:
    visit.sign_in("root")
    for path in ("/web/account", "/web/admin"):
        page = visit.get(f"{path}?lang={language}").body.decode()
        assert f'<html lang="{language}">' in page
        assert "Undefined" not in page
        assert "built-in" not in page
        assert not re.search(r"<(h2|th|label|button|legend)[^>]*>\s*</", page), "a word is missing"
    assert ("登录" in visit.door.get(f"/web/login?lang={language}").body.decode()) == (language == "zh")


def test_where_no_keys_are_wanted_nobody_signs_in(upstream: FakeUpstream, tmp_path: Path) -> None:
    with running(settings_for(upstream, tmp_path)) as free:
        assert free.get("/").status == 200
        assert free.get("/web/login").status == 303
        assert json.loads(free.get("/web/session").body) == {"user": None, "csrf": None, "keyless": True}
        assert free.get("/web/account").headers["location"] == "/web/login"


def test_over_tls_the_cookie_is_held_to_this_host(upstream: FakeUpstream, tmp_path: Path) -> None:
    Users(store_at(tmp_path / "gateway.db").engine).create("alice", "user", Passwords().hash(GOOD, "alice"))
    with running(settings_for(upstream, tmp_path, keys="required", public_url="https://a.example")) as made:
        cookie = Visit(made).sign_in().headers["set-cookie"]
        assert cookie.startswith("__Host-atelier=")
        assert cookie.endswith("; HttpOnly; SameSite=Lax; Secure")
