"""The members of a zip file from a stranger: counts, sizes, names and places are bounded before a byte is unpacked."""

from __future__ import annotations

import os
import re
import stat
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

MAX_MEMBERS = 4096
MAX_DIRECTORY_BYTES = 1 << 20  # of the list at the end of the file, before the library reads it into objects
MAX_BYTES = 16 << 30  # of all members, unpacked
MAX_RATIO = 200  # unpacked to packed, of the whole file; weights shrink by less than two
MAX_DEPTH = 8
PIECE = 1 << 20
_PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_END, _END64, _LOCATOR64 = b"PK\5\6", b"PK\6\6", b"PK\6\7"
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_LOCAL_HEADER = 30  # bytes, before name and extra field


class ZipError(ValueError):
    """A zip file that is damaged, or outside of the bounds; the message says what was found and what was wanted."""


class ZipMembers:
    """The members of an open zip file by name. Raises `ZipError`, or what the library raises for a damaged one."""

    def __init__(self, file: BinaryIO) -> None:
        size = os.fstat(file.fileno()).st_size
        _check_end(file, size)
        self._zip = zipfile.ZipFile(file)
        self._infos: dict[str, zipfile.ZipInfo] = {}
        for info in self._zip.infolist():
            _check(info)
            if info.filename in self._infos:
                raise ZipError(f"it has two members called {info.filename}, wanted one of each name")
            self._infos[info.filename] = info
        for name in self._infos:
            if above := {str(parent) for parent in Path(name).parents} & self._infos.keys():
                raise ZipError(f"its member {above.pop()} is a file and the folder of {name}")
        _check_places(list(self._infos.values()))
        self.bytes = sum(info.file_size for info in self._infos.values())
        if self.bytes > min(MAX_BYTES, MAX_RATIO * size):
            raise ZipError(
                f"it unpacks to {self.bytes} bytes, wanted at most {MAX_BYTES} and {MAX_RATIO} times its own {size}"
            )

    @property
    def names(self) -> list[str]:
        """The names of all members, in order."""
        return sorted(self._infos)

    def pieces(self, name: str) -> Iterator[bytes]:
        """The bytes of a member, at most `PIECE` at once; their checksum is compared at the end."""
        with self._zip.open(self._infos[name]) as member:
            while piece := member.read(PIECE):
                yield piece

    def read(self, name: str, limit: int) -> bytes:
        """The whole of a small member. Raises `ZipError` if there is none, or for one of more than `limit` bytes."""
        info = self._infos.get(name)
        if info is None:
            raise ZipError(f"it has no member {name}")
        if info.file_size > limit:
            raise ZipError(f"its member {name} has {info.file_size} bytes, wanted at most {limit}")
        return b"".join(self.pieces(name))


def _check_end(file: BinaryIO, size: int) -> None:
    """Refuse what does not end with the list of its members, has too long a list, or anything in front of the file."""
    file.seek(max(0, size - 98))
    end = file.read(98)
    record = end[-22:]
    if len(record) < 22 or not record.startswith(_END) or record[20:] != b"\0\0":
        raise ZipError("it does not end as a zip file does: it was cut, or something was added")
    count, length, begin = struct.unpack("<HII", record[10:20])
    behind = 22
    if end[-42:-38] == _LOCATOR64 and end[:4] == _END64:  # a file over 4 GB
        count, length, begin = struct.unpack("<QQQ", end[32:56])
        behind = 98
    if count > MAX_MEMBERS or length > MAX_DIRECTORY_BYTES:
        raise ZipError(
            f"it lists {count} members in {length} bytes, wanted at most {MAX_MEMBERS} in {MAX_DIRECTORY_BYTES}"
        )
    if begin + length + behind != size:
        raise ZipError(
            f"its list of members should end at byte {begin + length + behind} and ends at {size}: "
            "another file was put in front of it, or it was cut"
        )
    file.seek(0)


def _check(info: zipfile.ZipInfo) -> None:
    parts = info.orig_filename.split("/")
    if len(parts) > MAX_DEPTH or not all(_PART.fullmatch(part) for part in parts):
        raise ZipError(
            f"its member {info.orig_filename[:200]!r} has no name of {MAX_DEPTH} parts at most, each of letters, "
            "digits, dots, dashes and underscores"
        )
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise ZipError(f"its member {info.filename} is no plain file (mode {mode:o}), links and devices are not taken")
    if info.flag_bits & 0x41:
        raise ZipError(f"its member {info.filename} is encrypted, wanted it as it is")
    if info.compress_type not in _METHODS:
        raise ZipError(f"its member {info.filename} is packed by method {info.compress_type}, wanted 0 or 8 (deflate)")


def _check_places(infos: list[zipfile.ZipInfo]) -> None:
    """Members follow one another from the first byte on: none lies in another, nothing lies in front of all."""
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end or (end == 0 and info.header_offset != 0):
            raise ZipError(
                f"its member {info.filename} begins at byte {info.header_offset}, wanted {'0' if not end else 'more'}: "
                "members lie in one another, or something lies in front of them"
            )
        end = info.header_offset + _LOCAL_HEADER + len(info.filename) + info.compress_size
