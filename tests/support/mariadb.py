"""A real MariaDB in a folder of its own, on a unix socket: never the machine's own, and gone when the tests are."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pymysql
import pytest

from benchmarks.server import eventually

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
START_SECONDS = 120
# Small, and as safe as its defaults: every commit is on disk before it is answered.
OPTIONS = ("--innodb-buffer-pool-size=32M", "--innodb-log-file-size=8M", "--skip-networking", "--skip-name-resolve")
USER = ("--user=root",) if os.geteuid() == 0 else ()


class MariaDB:
    """A server that can be killed and started again with what it kept."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.socket = folder, folder / "s"
        self._process: subprocess.Popen[bytes] | None = None
        self._made: dict[str, str] = {}
        command = [program("mariadb-install-db"), "--no-defaults", f"--datadir={folder}/data", *USER, *OPTIONS[:2]]
        command += ["--auth-root-authentication-method=normal", "--skip-test-db"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=START_SECONDS, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        """Start it and wait until it answers."""
        paths = [f"--datadir={self.folder}/data", f"--socket={self.socket}", f"--pid-file={self.folder}/pid"]
        with (self.folder / "log").open("ab") as log:
            command = [program("mariadbd"), "--no-defaults", *paths, *USER, *OPTIONS]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        process = self._process
        eventually(lambda: process.poll() is not None or self._answers(), START_SECONDS, "MariaDB does not answer")
        assert process.poll() is None, (self.folder / "log").read_text()[-4000:]

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ask it to stop, or kill it, and wait until it has ended."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(number)
            self._process.wait(60)
            self._process = None

    def stop(self) -> None:
        """Have it hang as it is; `end` and `go_on` wake it."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Wake it."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def url(self, of: object) -> str:
        """A database for whatever is named by `of` (its own file, in SQLite): an empty one at first."""
        name = f"d{hashlib.sha256(str(of).encode()).hexdigest()[:16]}"
        if name not in self._made:
            with self.connected() as connection:
                connection.cursor().execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
            self._made[name] = f"mysql+pymysql://root@localhost/{name}?unix_socket={self.socket}"
        return self._made[name]

    @contextmanager
    def connected(self, of: object = None) -> Iterator[Any]:
        """A connection that has nothing to do with the code under test."""
        name = None if of is None else self.url(of).partition("localhost/")[2].partition("?")[0]
        connection = pymysql.connect(unix_socket=str(self.socket), user="root", database=name, autocommit=True)
        with contextlib.closing(connection):
            yield connection

    def _answers(self) -> bool:
        # PyMySQL leaves a unix socket open that it could not connect, so it is not asked before somebody listens.
        with socket.socket(socket.AF_UNIX) as listening:
            if listening.connect_ex(str(self.socket)) != 0:
                return False
        with self.connected():
            return True


def program(name: str) -> str:
    """Where a program of MariaDB is; a test that needs it skips by name where it is not."""
    found = shutil.which(name, path=PATH)
    if found is None:
        pytest.skip(f"{name} is not here: apt-get install mariadb-server-core")
    return found


@contextmanager
def mariadb() -> Iterator[MariaDB]:
    """A server that runs; its folder's name is short, because that of a socket has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="maria-") as folder:
        made = MariaDB(Path(folder))
        made.start()
        try:
            yield made
        finally:
            made.end(signal.SIGKILL)
