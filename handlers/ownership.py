"""Who may change a file before it is used: its owner and mode, and those of every folder above it, as ssh looks."""

from __future__ import annotations

import contextlib
import functools
import grp
import os
import pwd
import stat
from pathlib import Path

_OVERFLOW = Path("/proc/sys/kernel/overflowuid")  # who owns what lies outside a user namespace
CODE = Path(__file__)


class OwnershipError(ValueError):
    """Somebody else may change a file that would be used; the message names the path, and how to mend it."""


def check_owner(path: Path, found: os.stat_result) -> None:
    """Raise `OwnershipError` unless `path` (its status is `found`) is ours or root's, and nobody else may write to it.

    Ours is also what belongs to the owner of this code, which runs already: a checkout mounted into a container. The
    group may write where nobody else is in it: many systems give every user such a group and its files that mode.
    """
    if found.st_uid not in _trusted():
        raise OwnershipError(
            f"{path} belongs to user {found.st_uid}, wanted this one ({os.geteuid()}), root or the owner of this code "
            f"({CODE.stat().st_uid}): whoever owns it can change what is served; make a copy of your own, or "
            f"`chown {os.geteuid()}` it"
        )
    if _others_may_write(found):
        raise OwnershipError(
            f"others may write to {path} (mode {stat.S_IMODE(found.st_mode):04o}), wanted its owner alone: "
            f"chmod go-w '{path}'"
        )


def check_place(folder: Path) -> None:
    """Raise `OwnershipError` unless we or root alone can change a folder and all above it, where its links lead.

    Above it, others may write where names are safe from them: in folders like /tmp (the sticky bit). Raises `OSError`
    for a folder that is not there.
    """
    real = folder.resolve(strict=True)
    check_owner(real, real.stat())
    trusted = _trusted() | {_outside()}
    for above in real.parents:
        found = above.stat()
        if found.st_uid not in trusted:
            raise OwnershipError(
                f"{above} belongs to user {found.st_uid}, who could put another folder in the place of {real}: "
                f"move it below a folder of this user ({os.geteuid()}) or of root"
            )
        if _others_may_write(found) and not found.st_mode & stat.S_ISVTX:
            raise OwnershipError(
                f"others may write to {above} (mode {stat.S_IMODE(found.st_mode):04o}), and so put another folder in "
                f"the place of {real}: chmod go-w '{above}'"
            )


def _trusted() -> set[int]:
    code = CODE.stat().st_uid
    return {0, os.geteuid(), code if code != _outside() else 0}


def _others_may_write(found: os.stat_result) -> bool:
    return bool(found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and not _ours_alone(found.st_gid)))


@functools.cache
def _ours_alone(group: int) -> bool:
    """Whether a group is that of this user, or root's, and has no other member."""
    if group not in (0, os.getegid()):
        return False
    names = {"root"}
    with contextlib.suppress(KeyError):  # a user without an entry, as in many containers
        names.add(pwd.getpwuid(os.geteuid()).pw_name)
    try:
        entry = grp.getgrgid(group)
    except KeyError:
        return False
    return entry.gr_name in names and set(entry.gr_mem) <= names


@functools.cache
def _outside() -> int:
    """The user that stands for all users outside of this user namespace; root where there is none outside."""
    try:
        everybody = Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]
        return 0 if everybody else int(_OVERFLOW.read_text())
    except (OSError, ValueError):
        return 0
