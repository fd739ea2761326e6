"""`python -m gateway keys`: what an operator sees."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sqlite3
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from gateway.accounts import commands, keys
from gateway.accounts.commands import add_commands, run
from gateway.accounts.database import open_database
from gateway.accounts.migrate import HEAD
from tests.support.accounts import STEPS, rows, url_of


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m gateway")
    add_commands(made.add_subparsers(dest="command", required=True))
    return made


@pytest.fixture
def url(tmp_path: Path) -> str:
    return url_of(tmp_path / "a.db")


def keys_command(parser: argparse.ArgumentParser, url: str, line: str) -> int:
    return run(parser.parse_args(["keys", *shlex.split(line), "--database", url]))


def test_a_key_is_shown_once_and_alone(
    parser: argparse.ArgumentParser, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "create --name 'alice b' --scope text:generate --scope image:generate --images-a-day 5 --expires 90d"
    assert keys_command(parser, url, line) == 0
    said = capsys.readouterr()
    key = said.out.strip()
    assert said.out == f"{key}\n"
    assert keys.fault(key) is None
    assert "alice b: image:generate text:generate, expires 20" in said.err
    assert "It is not shown again" in said.err
    assert key not in said.err
    ((identity, expires),) = rows(tmp_path / "a.db", "select id, expires from api_keys")
    assert expires == pytest.approx(time.time() + 90 * 86_400, abs=3600)
    assert keys_command(parser, url, "list") == 0
    shown = capsys.readouterr().out
    assert re.search(
        rf"{identity} +{key[:10]} +valid +20.* alice b, image:generate text:generate, images_a_day=5", shown
    )
    assert key[10:] not in shown
    assert keys_command(parser, url, f"revoke {identity}") == 0
    assert capsys.readouterr().out.startswith(f"{identity} (alice b) was revoked 20")
    ended = rows(tmp_path / "a.db", "select revoked from api_keys")
    assert keys_command(parser, url, f"revoke {identity}") == 0, "once more changes nothing"
    assert rows(tmp_path / "a.db", "select revoked from api_keys") == ended
    capsys.readouterr()
    assert keys_command(parser, url, "list --json") == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert listed["revoked"] == ended[0][0]
    assert "hash" not in listed


def test_up_and_down(parser: argparse.ArgumentParser, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    for line, said in (
        ("migrate", f"ran {', '.join(STEPS)}"),
        ("migrate", f"it is at {HEAD} already"),
        ("migrate --to 0001", f"ran {', '.join(STEPS[:0:-1])}"),
    ):
        assert keys_command(parser, url, line) == 0
        assert capsys.readouterr().out == f"{said}\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("list", "the database cannot be used: unable to open database file; `python -m gateway keys create` makes"),
        ("migrate --to 9", "there is no revision 9; wanted one of base, 0001"),
    ],
)
def test_what_fails_is_one_message(
    parser: argparse.ArgumentParser, url: str, line: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert keys_command(parser, url, line) == 1
    assert f"error: {'' if 'revision' not in said else 'database: '}{said}" in capsys.readouterr().err


def test_a_database_that_another_process_holds_is_one_message(
    parser: argparse.ArgumentParser,
    url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(commands, "open_database", partial(open_database, wait=0.05))
    assert keys_command(parser, url, "create --name a") == 0
    with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert keys_command(parser, url, "create --name b") == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == "error: the database cannot be used: database is locked"


def test_revoking_what_there_is_not(
    parser: argparse.ArgumentParser, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert keys_command(parser, url, "create --name a") == 0
    assert keys_command(parser, url, "revoke key_none") == 1
    assert "error: no key has the id 'key_none'; python -m gateway keys list shows them" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--name ''", "wanted 1 to 100 printable characters, found ''"),
        ("--name 'a\x1b[31m'", "wanted 1 to 100 printable characters"),
        ("--name a --scope img:generate", "invalid choice: 'img:generate' (choose from 'image:generate'"),
        ("--name a --expires soon", "wanted days like 90d or a date like 2027-06-30, found 'soon'"),
        ("--name a --expires 2020-01-01", "2020-01-01 is over; wanted a day that is not"),
        ("--name a --expires 0d", "wanted days like 90d"),
        ("--name a --images-a-day -1", "wanted a whole number from 0 to 2147483647, found '-1'"),
        ("", "required: --name"),
    ],
)
def test_values_that_are_not_taken(
    parser: argparse.ArgumentParser, url: str, options: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        keys_command(parser, url, f"create {options}")
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


def test_the_last_day_of_a_date_is_whole(parser: argparse.ArgumentParser, url: str, tmp_path: Path) -> None:
    assert keys_command(parser, url, "create --name a --expires 2040-02-29") == 0
    assert rows(tmp_path / "a.db", "select expires from api_keys") == [(2_214_172_800.0,)]  # 2040-03-01 00:00 UTC


@pytest.mark.parametrize("name", ["create", "list", "revoke", "migrate", None])
def test_every_help_has_an_example_that_parses(
    parser: argparse.ArgumentParser,
    name: str | None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    with pytest.raises(SystemExit):
        parser.parse_args(["keys", *([name] if name else []), "--help"])
    found = re.search(r"^example: python -m gateway (keys .*)$", capsys.readouterr().out, re.MULTILINE)
    assert found
    options = parser.parse_args(shlex.split(found[1]))
    assert options.keys_command == (name or "create")
