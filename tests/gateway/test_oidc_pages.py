"""Signing in by an OpenID provider through the gateway's own pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from pydantic import ValidationError

from gateway.accounts.people import Users
from gateway.settings import OidcSettings, Settings, SettingsError, load
from gateway.web.oidc_pages import BACK
from tests.gateway.conftest import Gateway, Reply, running, settings_for
from tests.support.accounts import store_at
from tests.support.fake_upstream import FakeUpstream
from tests.support.oidc_provider import CLIENT, SECRET, Provider, oidc_provider

PUBLIC = "http://127.0.0.1:8080"


@pytest.fixture
def provider() -> Iterator[Provider]:
    with oidc_provider() as made:
        yield made


def set_for(provider: Provider, fake: FakeUpstream, folder: Path, **changes: Any) -> Settings:
    secret = folder / "secret"
    secret.write_text(f"{SECRET}\n")
    given = {"make_users": True, **changes}
    oidc = OidcSettings(issuer=provider.issuer, client_id=CLIENT, client_secret_file=secret, name="Example", **given)
    return settings_for(fake, folder, keys="required", public_url=PUBLIC, oidc=oidc)


def cookies(reply: Reply) -> str:
    """What a browser sends from then on; of a reply that sets one."""
    return reply.headers["set-cookie"].partition(";")[0]


def come_back(door: Gateway, provider: Provider, **claims: Any) -> Reply:
    """A browser goes there, somebody signs in, and it comes back."""
    sent = door.get("/web/oidc")
    assert sent.status == 303, sent.body
    back = provider.approve(sent.headers["location"], **claims)
    return door.get(f"{BACK}?{urlencode(back)}", headers={"Cookie": cookies(sent)})


def users_of(door: Gateway, path: Path) -> list[str]:
    return [user.name for user in Users(store_at(path / "gateway.db").engine).all()]


def test_who_comes_from_the_provider_is_signed_in_and_stays_one_user(
    provider: Provider, fake: FakeUpstream, tmp_path: Path
) -> None:
    with running(set_for(provider, fake, tmp_path)) as door:
        assert b"Sign in with Example" in door.get("/web/login").body
        sent = door.get("/web/oidc")
        assert "HttpOnly; SameSite=Lax" in sent.headers["set-cookie"]
        for _ in range(2):
            found = come_back(door, provider)
            assert (found.status, found.headers["location"]) == (303, "/")
        assert users_of(door, tmp_path) == ["alice"]


def test_a_name_that_is_taken_makes_nobody_its_owner(provider: Provider, fake: FakeUpstream, tmp_path: Path) -> None:
    users = Users(store_at(tmp_path / "gateway.db").engine)
    users.create("alice", "admin")
    with running(set_for(provider, fake, tmp_path)) as door:
        assert come_back(door, provider).status == 303
    made = users.known_as(provider.issuer, "0815")
    assert made is not None
    assert made.role == "user"
    assert made.name.startswith("alice ")


def test_a_disabled_user_does_not_come_back(provider: Provider, fake: FakeUpstream, tmp_path: Path) -> None:
    users = Users(store_at(tmp_path / "gateway.db").engine)
    users.disable(users.create("alice", "user", oidc=(provider.issuer, "0815")).id)
    with running(set_for(provider, fake, tmp_path)) as door:
        found = come_back(door, provider)
        assert found.status == 403
        assert b"could not sign you in" in found.body
        assert come_back(door, provider, sub="4711").status == 303


def test_nobody_new_where_no_users_are_made(provider: Provider, fake: FakeUpstream, tmp_path: Path) -> None:
    with running(set_for(provider, fake, tmp_path, make_users=False)) as door:
        assert come_back(door, provider).status == 403
        assert users_of(door, tmp_path) == []


def test_a_replayed_or_foreign_return_signs_nobody_in(provider: Provider, fake: FakeUpstream, tmp_path: Path) -> None:
    with running(set_for(provider, fake, tmp_path)) as door:
        sent = door.get("/web/oidc")
        path = f"{BACK}?{urlencode(provider.approve(sent.headers['location']))}"
        assert door.get(path).status == 403
        assert door.get(path, headers={"Cookie": cookies(sent)}).status == 303
        again = door.get(path, headers={"Cookie": cookies(sent)})
        assert (again.status, "set-cookie" in again.headers) == (403, False)


def test_a_provider_that_is_down_leaves_the_form(fake: FakeUpstream, tmp_path: Path) -> None:
    with oidc_provider() as provider:
        settings = set_for(provider, fake, tmp_path)
    with running(settings) as door:
        found = door.get("/web/oidc")
        assert found.status == 403
        assert b"could not sign you in" in found.body
        assert b'name="password"' in found.body


def test_settings_that_cannot_be_used_say_so(provider: Provider, fake: FakeUpstream, tmp_path: Path) -> None:
    oidc = OidcSettings(issuer=provider.issuer, client_id=CLIENT)
    with pytest.raises(ValidationError, match="oidc needs public_url, where its provider sends browsers back to"):
        Settings(keys="required", oidc=oidc)
    made = set_for(provider, fake, tmp_path)
    (tmp_path / "secret").write_text("\n")
    with pytest.raises(SettingsError, match=r"oidc.client_secret_file: .* is empty, wanted the secret"), running(made):
        pass


def test_an_unknown_setting_of_the_provider_is_named(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('[oidc]\nissuer = "https://a.example"\nclient_id = "a"\nsecret = "b"\n')
    with pytest.raises(SettingsError, match=r"setting oidc.secret is unknown; known: issuer, client_id, client_sec"):
        load(file, {})
    file.write_text('[oidc]\nissuer = "a.example"\nclient_id = "a"\n')
    with pytest.raises(SettingsError, match=r"setting oidc.issuer is 'a.example', wanted: https://HOST, as the prov"):
        load(file, {})
