from __future__ import annotations

from pathlib import Path

import pytest

from gateway.settings import SettingsError, load


def test_a_file_and_the_environment_over_it(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('port = 9000\nbody_seconds = 5\n[aliases]\ngpt-image-1 = "drawn"\n[limits]\nconcurrent = 4\n')
    given = {"ATELIER_GATEWAY_PORT": "9001", "ATELIER_GATEWAY_ORIGINS": '["http://a.example"]', "OTHER": "1"}
    settings = load(file, given)
    assert (settings.port, settings.body_seconds, settings.host) == (9001, 5, "127.0.0.1")
    assert settings.aliases == {"gpt-image-1": "drawn"}
    assert settings.limits.concurrent == 4
    assert settings.origins == ("http://a.example",)
    assert settings.keyless


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("prot = 1", "setting prot is unknown; known: host, port, run_dir"),
        ("port = 70000", "setting port is '70000', wanted: less than or equal to 65535"),
        ('keys = "some"', "setting keys is 'some', wanted: 'required' or 'none'"),
        ('system = { chat = "drop" }', "setting system.chat is 'drop', wanted: 'refuse' or 'prepend'"),
        ("limits = { concurrent = -1 }", "setting limits.concurrent is '-1', wanted: greater than or equal to 0"),
        ('upstream = "http://h:1"\nmodels = ["m"]', "setting upstream is 'http://h:1', wanted: unix:/PATH"),
        ("limits = { images = 5 }", "setting limits.images is unknown; known: requests_a_minute, concurrent, images_a"),
        ("limits = 5", "setting limits is '5', wanted: a table, such as { concurrent = 4 }"),
        ("[voices]\nminor = 5", "setting voices.minor is '5', wanted: a table"),
        ("port = 80.5", "setting port is '80.5', wanted: a whole number"),
        ('body_seconds = "long"', "setting body_seconds is 'long', wanted: a number"),
        ('aliases = ["a"]', """setting aliases is "['a']", wanted: a table, such as { gpt-image-1 = "faces" }"""),
        ('origins = "http://a"', "setting origins is 'http://a', wanted: a list of pages"),
        ('public_url = "example.org"', "setting public_url is 'example.org', wanted: http://HOST or https://HOST"),
        ('upstream = "unix:/s"', "upstream and models go together: set both, or neither and run_dir"),
        ('tls_key = "k"', "tls_certificate and tls_key go together"),
        ('keys = "none"\nhost = "0.0.0.0"', "keys is none and host is 0.0.0.0, which others can reach: set keys"),
        ("port = ", "is no TOML: "),
    ],
)
def test_what_is_wrong_is_named_with_what_is_wanted(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load(file, {})
    assert told in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.toml cannot be read: No such file or directory"):
        load(tmp_path / "none.toml", {})


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("ATELIER_GATEWAY_PORT", "many", "setting port is 'many', wanted: a whole number"),
        ("ATELIER_GATEWAY_ORIGINS", "[1", "ATELIER_GATEWAY_ORIGINS is no JSON"),
        ("ATELIER_GATEWAY_COLOUR", "red", "setting colour is unknown"),
    ],
)
def test_the_environment_is_held_to_the_same(name: str, value: str, told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(None, {name: value})
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("host", "keyless"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False)]
)
def test_without_a_word_about_keys_loopback_alone_has_none(host: str, keyless: bool) -> None:
    assert load(None, {"ATELIER_GATEWAY_HOST": host}).keyless is keyless


def test_keys_may_be_required_on_loopback() -> None:
    assert not load(None, {"ATELIER_GATEWAY_KEYS": "required"}).keyless
