"""`python -m gateway users ...`: what an operator does with people."""

from __future__ import annotations

import argparse
import io
import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.accounts.passwords import Passwords
from gateway.accounts.people import Users
from gateway.accounts.sessions import Sessions
from gateway.accounts.users_commands import add_commands, run
from tests.support.accounts import store_at, url_of

GOOD = "correct horse battery"
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gateway.db"


@pytest.fixture
def command(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs one; the code, and what it wrote to standard output and error."""
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers(dest="command", required=True))

    def made(line: str, said: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(said))
        code = run(parser.parse_args(["users", *shlex.split(line), "--database", url_of(path)]))
        written = capsys.readouterr()
        return code, written.out, written.err

    return made


def test_a_user_is_made_with_a_password_from_standard_input(command: Command, path: Path) -> None:
    code, out, _ = command("create Alice --role admin", f"{GOOD}\n")
    assert code == 0
    assert out.endswith("(Alice) was made, role admin\n")
    assert GOOD not in out
    user = Users(store_at(path).engine).named("alice")
    assert user is not None
    assert Passwords().fits(user.password, GOOD, "alice", "")
    (listed,) = json.loads(command("list --json")[1])
    assert (listed["name"], listed["role"], "password" in listed) == ("Alice", "admin", False)
    assert "Alice" in command("list")[1]


@pytest.mark.parametrize(
    ("line", "said", "told"),
    [
        ("create alice", "short\n", "a password has 10 to 200 printable characters"),
        ("create ''", GOOD, "a name has 1 to 100 printable characters, found ''"),
        ("create alice --issuer https://a.example", "", "--issuer and --subject go together"),
        ("disable nobody", "", "no user has the name 'nobody'; python -m gateway users list shows them"),
        ("delete nobody", "", "no user has the name 'nobody'"),
    ],
)
def test_what_cannot_be_is_one_message(command: Command, line: str, said: str, told: str) -> None:
    code, out, err = command(line, said)
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert told in err


def test_one_of_a_provider_has_no_password(command: Command, path: Path) -> None:
    assert command("create bob --issuer https://a.example --subject 17")[0] == 0
    user = Users(store_at(path).engine).known_as("https://a.example", "17")
    assert user is not None
    assert (user.name, user.password) == ("bob", None)


def test_a_user_is_disabled_enabled_given_a_password_and_deleted(command: Command, path: Path) -> None:
    command("create alice", GOOD)
    assert "is taken, or one that reads the same" in command("create ALICE", GOOD)[2]
    store = store_at(path)
    users, sessions = Users(store.engine), Sessions(store.engine, 30, 7)
    user = users.named("alice")
    assert user is not None
    sessions.begin(user, "")
    assert command("password alice", "another horse 7")[0] == 0
    assert sessions.of(user) == [], "every session ended"
    for word, disabled in (("disable", True), ("enable", False)):
        code, out, _ = command(f"{word} alice")
        assert (code, out) == (0, f"{user.id} (alice) was {word}d\n")
        now = users.get(user.id)
        assert now is not None
        assert (now.disabled is not None) == disabled
    assert command("delete alice")[0] == 0
    assert command("list")[1] == "there are no users; python -m gateway users create NAME makes one\n"
