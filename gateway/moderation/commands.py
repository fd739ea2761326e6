"""`python -m gateway moderation check|block|unblock|list|decisions`: try the rules, and keep the list of images."""

from __future__ import annotations

import argparse
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from gateway.accounts.database import DEFAULT_DATABASE, DatabaseError, open_database, reason
from gateway.moderation.blocked import MAX_REASON, BlockedError, BlockList, blocked
from gateway.moderation.categories import CATEGORIES
from gateway.moderation.decided import decided
from gateway.moderation.files import TRIAL, ListError
from gateway.moderation.lists import Lists
from gateway.moderation.settings import ModerationSettings
from gateway.phash import MAX_PIXELS, picture_hash, structured
from gateway.pictures import NotAPicture
from gateway.sealed import SealError, read_ring
from gateway.settings import Settings, SettingsError, load

MAX_FILE = 64 << 20  # bytes of a file that is read
MAX_LAST = 1_000  # decisions that are shown
MET = 3  # exit code of `check` where a rule is met
CHECK = f"Show which rules a text meets; exit code 0: none, {MET}: some, 1: an error. The classifier is not asked."
BLOCK = "Put an image on the list: what models make is refused where it looks like it. The image itself is not kept."
UNBLOCK = "Take an image off the list."
LIST = "Show the list of blocked images."
EXAMPLE = "example: python -m gateway moderation check pipe-b0mb"
DECISIONS = "Show what was decided last, and of texts that are kept sealed what they say, where their key is there."


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `moderation` and its commands to those of `python -m gateway`."""
    parser = commands.add_parser(
        "moderation", help="try its rules, and keep the list of images", description=__doc__, epilog=EXAMPLE
    )
    below = parser.add_subparsers(dest="moderation_command", required=True)
    check = _add(below, "check", CHECK, "pipe-b0mb")
    what = check.add_mutually_exclusive_group(required=True)
    what.add_argument("text", nargs="?", metavar="TEXT")
    what.add_argument("--file", type=Path, help="a text file in UTF-8, or an image (PNG, JPEG, WebP)")
    block = _add(below, "block", BLOCK, "picture.png --reason ordered --category violence")
    block.add_argument("image", type=Path)
    block.add_argument("--reason", required=True, type=_reason, help="why; nobody but readers of the list sees it")
    block.add_argument("--category", choices=CATEGORIES, default="illicit", help="default: illicit")
    _add(below, "unblock", UNBLOCK, "0f1e2d3c4b5a6978").add_argument("id", help="the id that `moderation list` shows")
    _add(below, "list", LIST, "")
    last = _add(below, "decisions", DECISIONS, "--last 100")
    last.add_argument("--last", type=_few, default=20, metavar="N", help=f"1 to {MAX_LAST}; default: 20")
    last.add_argument("--database", metavar="URL", help="default: the settings")


def run(options: argparse.Namespace) -> int:
    """Run one of the commands; a foreseeable failure is one message and exit code 1."""
    try:
        all_settings = load(options.settings, os.environ)
        settings = all_settings.moderation or ModerationSettings()
        images = BlockList(settings.blocked)
        if options.moderation_command == "check":
            return _check(options, settings, images)
        if options.moderation_command == "block":
            _block(options, images)
        elif options.moderation_command == "unblock":
            gone = images.remove(options.id)
            print(f"{gone.id} is no longer blocked (it was: {gone.reason})")
        elif options.moderation_command == "list":
            found = images.images()
            for image in found:
                print(f"{image.id} {_day(image.added)} {image.category}: {image.reason}")
            if not found:
                print(f"{images.path}: no image is blocked")
        else:
            _decisions(options, all_settings)
    except (BlockedError, DatabaseError, ListError, NotAPicture, SealError, SettingsError, _FileError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except SQLAlchemyError as error:
        print(f"error: the database cannot be used: {reason(error)}", file=sys.stderr)
        return 1
    return 0


class _FileError(Exception):
    """Error: a file of the command line cannot be read."""


def _check(options: argparse.Namespace, settings: ModerationSettings, images: BlockList) -> int:
    content = _content(options.file) if options.file else options.text.encode("utf-8", "surrogateescape")
    try:
        text = content.decode("utf-8", "surrogateescape" if not options.file else "strict")
    except UnicodeDecodeError:
        return _check_image(content, settings, images)
    if len(text) > settings.characters:
        raise _FileError(f"the text has {len(text)} characters, moderation looks at {settings.characters} at most")
    hits = Lists.read(settings.folder or TRIAL).hits(text)
    for hit in sorted(hits, key=lambda hit: hit.start):
        action = settings.actions.get(hit.category, "refuse")
        found = text[hit.start : hit.end]
        print(f"{action} {hit.category} (rule {hit.rule}): characters {hit.start + 1} to {hit.end}: {found!r}")
    return MET if hits else 0


def _check_image(content: bytes, settings: ModerationSettings, images: BlockList) -> int:
    near = images.nearest(picture_hash(content), settings.distance)
    if near is None:
        return 0
    why = f"{near.image.category}: {near.image.reason}"
    print(f"like the blocked image {near.image.id} ({why}), {near.distance} of 128 bits differ")
    return MET


def _block(options: argparse.Namespace, images: BlockList) -> None:
    found = picture_hash(_content(options.image))
    if not structured(found):
        raise NotAPicture(f"{options.image} is nearly flat, and so like every flat picture: it cannot be blocked")
    image = blocked(found, options.reason, options.category)
    added = images.add(image)
    print(f"{image.id} is blocked" if added else f"{image.id} was blocked already")


def _decisions(options: argparse.Namespace, all_settings: Settings) -> None:
    ring = read_ring(all_settings.encryption_keys) if all_settings.encryption_keys else None
    engine = open_database(options.database or all_settings.database or DEFAULT_DATABASE)
    try:
        for row in decided(engine, options.last, ring):
            when = datetime.fromtimestamp(row["created"], UTC).isoformat(timespec="seconds")
            text = "" if row["text"] is None else f": {row['text']!r}"
            who = f"{row['owner']} {row['route']} request {row['request_id']}"
            print(f"{when} {row['action']} {row['stage']} {row['category']} (rule {row['rule']}) {who}{text}")
    finally:
        engine.dispose()


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            found = file.read(MAX_FILE + 1)
    except OSError as error:
        raise _FileError(f"{path} cannot be read: {error.strerror}") from None
    if len(found) > MAX_FILE:
        raise _FileError(f"{path} has over {MAX_FILE} bytes; wanted less, and images of at most {MAX_PIXELS} pixels")
    return found


def _few(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= MAX_LAST:
        raise argparse.ArgumentTypeError(f"wanted a whole number from 1 to {MAX_LAST}, found {text[:30]!r}")
    return int(text)


def _reason(text: str) -> str:
    if not text.strip() or len(text) > MAX_REASON or not text.isprintable():
        raise argparse.ArgumentTypeError(f"wanted 1 to {MAX_REASON} printable characters, found {text[:60]!r}")
    return text.strip()


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).date().isoformat()


def _add(
    below: argparse._SubParsersAction[argparse.ArgumentParser], name: str, what: str, example: str
) -> argparse.ArgumentParser:
    shown = f"example: python -m gateway moderation {name} {example}".rstrip()
    parser = below.add_parser(name, help=what, description=what, epilog=shown)
    parser.add_argument("--settings", type=Path, metavar="FILE", help="settings of the gateway (TOML)")
    return parser
