"""Sign-in by an OpenID provider: what is taken, and everything that is not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.accounts.oidc import Client, Identity, OpenId, SignInError
from tests.support.oidc_provider import CLIENT, SECRET, Provider, new_key, oidc_provider

BACK = "http://127.0.0.1:8080/web/oidc/back"
BROWSER = "what its cookie holds"


@pytest.fixture
def provider() -> Iterator[Provider]:
    with oidc_provider() as made:
        yield made


def ours(provider: Provider, secret: str | None = SECRET) -> OpenId:
    return OpenId(Client(provider.issuer, CLIENT, BACK, secret))


def signed_in(provider: Provider, known: OpenId | None = None, **claims: Any) -> Identity:
    known = known or ours(provider)
    return known.finish(BROWSER, provider.approve(known.begin(BROWSER), **claims))


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_who_signs_in_is_known_by_issuer_and_subject(provider: Provider, algorithm: str) -> None:
    provider.algorithm = algorithm
    assert signed_in(provider) == Identity(provider.issuer, "0815", "alice")


def test_a_person_without_names_is_called_by_the_subject(provider: Provider) -> None:
    assert signed_in(provider, preferred_username=" ", name=7).name == "0815"


@pytest.mark.parametrize("methods", [["client_secret_basic"], ["client_secret_post"]])
def test_the_secret_goes_the_way_that_the_provider_takes(provider: Provider, methods: list[str]) -> None:
    provider.metadata["token_endpoint_auth_methods_supported"] = methods
    assert signed_in(provider).subject == "0815"


def test_a_public_client_has_no_secret(provider: Provider) -> None:
    provider.secret = None
    assert signed_in(provider, ours(provider, None)).subject == "0815"


def test_a_wrong_secret_is_told_to_the_operator(provider: Provider) -> None:
    with pytest.raises(SignInError, match=r"/token answered 401 \(invalid_client\)"):
        signed_in(provider, ours(provider, "another"))


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ({"nonce": "another"}, "not for this sign-in.*nonce"),
        ({"nonce": None}, "not for this sign-in.*nonce"),
        ({"aud": "another"}, "not for this sign-in.*aud"),
        ({"aud": [CLIENT, "another"]}, "not for this sign-in.*azp"),
        ({"aud": None}, "not for this sign-in.*aud"),
        ({"iss": "https://evil.example"}, "not for this sign-in.*iss"),
        ({"exp": int(time.time()) - 3600}, "has expired; are the clocks"),
        ({"exp": None}, "not for this sign-in.*exp"),
        ({"iat": int(time.time()) + 360_000, "exp": int(time.time()) + 370_000}, "not for this sign-in.*future"),
        ({"at_hash": "another"}, "not for this sign-in.*at_hash"),
        ({"sub": "x" * 201}, "no text of 1 to 200 characters"),
        ({"sub": None}, "not for this sign-in.*sub"),
    ],
)
def test_a_token_that_is_not_for_this_sign_in_is_refused(
    provider: Provider, claims: dict[str, Any], message: str
) -> None:
    provider.claims = claims
    with pytest.raises(SignInError, match=message):
        signed_in(provider)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_a_signature_of_another_key_is_refused(provider: Provider, algorithm: str) -> None:
    provider.algorithm, provider.stranger = algorithm, True
    with pytest.raises(SignInError, match="cannot be trusted: BadSignatureError"):
        signed_in(provider)


def test_a_token_that_is_not_signed_is_refused(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    unsigned = "eyJhbGciOiJub25lIn0.eyJzdWIiOiIwODE1In0."  # {"alg":"none"}
    monkeypatch.setattr(provider, "sign", lambda claims: unsigned)
    with pytest.raises(SignInError, match="cannot be trusted"):
        signed_in(provider)


def test_a_sign_in_is_finished_once(provider: Provider) -> None:
    known = ours(provider)
    back = provider.approve(known.begin(BROWSER))
    assert known.finish(BROWSER, back).subject == "0815"
    with pytest.raises(SignInError, match="was finished already"):
        known.finish(BROWSER, back)
    assert provider.asked.count("/token") == 1, "a replayed state asks nobody anything"


def test_a_state_that_nobody_was_given_is_refused(provider: Provider) -> None:
    with pytest.raises(SignInError, match="was finished already, or begun"):
        ours(provider).finish(BROWSER, {"code": "x", "state": "made up"})


@pytest.mark.parametrize("browser", [None, "another"])
def test_another_browser_cannot_finish_it_nor_spoil_it(provider: Provider, browser: str | None) -> None:
    known = ours(provider)
    back = provider.approve(known.begin(BROWSER))
    with pytest.raises(SignInError, match="begun by another browser"):
        known.finish(browser, back)
    assert known.finish(BROWSER, back).subject == "0815"


def test_a_code_of_another_sign_in_does_not_fit(provider: Provider) -> None:
    known = ours(provider)
    foreign, own = provider.approve(known.begin("evil")), provider.approve(known.begin(BROWSER))
    with pytest.raises(SignInError, match=r"answered 400 \(invalid_grant\)"):
        known.finish(BROWSER, {**own, "code": foreign["code"]})


def test_what_the_provider_refuses_is_told(provider: Provider) -> None:
    known = ours(provider)
    state = provider.approve(known.begin(BROWSER))["state"]
    with pytest.raises(SignInError, match="the provider refused: 'access_denied'"):
        known.finish(BROWSER, {"state": state, "error": "access_denied"})


def test_an_answer_of_another_provider_is_refused(provider: Provider) -> None:
    known = ours(provider)
    with pytest.raises(SignInError, match=r"is of 'https://evil.example', wanted"):
        known.finish(BROWSER, {**provider.approve(known.begin(BROWSER)), "iss": "https://evil.example"})
    provider.metadata["authorization_response_iss_parameter_supported"] = True
    known = ours(provider)
    back = provider.approve(known.begin(BROWSER))
    del back["iss"]
    with pytest.raises(SignInError, match="does not say whose it is"):
        known.finish(BROWSER, back)


def test_keys_that_change_are_asked_for_again(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    known = ours(provider)
    signed_in(provider, known)
    signed_in(provider, known)
    assert provider.asked.count("/keys") == 1
    provider.keys["RS256"] = new_key("RS256")
    with pytest.raises(SignInError, match="by a key that the provider does not publish"):
        signed_in(provider, known)  # no token makes us ask more often than that
    monkeypatch.setattr("gateway.accounts.oidc_tokens.AGAIN_SECONDS", 0.0)
    assert signed_in(provider, known).subject == "0815"
    assert provider.asked.count("/keys") == 2


def test_sign_ins_under_way_are_bounded(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.accounts.oidc.UNDER_WAY", 3)
    known = ours(provider)
    begun = [provider.approve(known.begin(BROWSER)) for _ in range(4)]
    with pytest.raises(SignInError, match="was finished already, or begun"):
        known.finish(BROWSER, begun[0])
    assert known.finish(BROWSER, begun[1]).subject == "0815"


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"issuer": "https://evil.example"}, "is of 'https://evil.example', wanted 'http://127.0.0.1"),
        ({"token_endpoint": None}, "names no token_endpoint"),
        ({"token_endpoint": "http://elsewhere.example/token"}, "neither https nor of this machine"),
        ({"jwks_uri": "file:///etc/passwd"}, "neither https nor of this machine"),
        ({"padding": "x" * (256 << 10)}, "has more than 262144 bytes"),
    ],
)
def test_a_provider_that_describes_itself_wrongly_is_not_trusted(
    provider: Provider, metadata: dict[str, Any], message: str
) -> None:
    provider.metadata = metadata
    with pytest.raises(SignInError, match=message):
        ours(provider).begin(BROWSER)


def test_a_provider_that_is_down_is_told_and_asked_again() -> None:
    with oidc_provider() as provider:
        known = ours(provider)
        back = provider.approve(known.begin(BROWSER))
    with pytest.raises(SignInError, match=r"/token does not answer: .*refused"):
        known.finish(BROWSER, back)
    with pytest.raises(SignInError, match=r"openid-configuration does not answer: .*refused"):
        ours(provider).begin(BROWSER)


def test_secrets_are_in_no_text_of_a_client(provider: Provider) -> None:
    assert SECRET not in repr(ours(provider).client)
