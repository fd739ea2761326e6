"""Bytes of text files as UTF-8: what a mark at the beginning or `--encoding` says they are, else UTF-8 itself."""

from __future__ import annotations

import codecs
import re

from training.data import DataError

_MARKS = (  # longest first: the mark of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LOOKED_AT = 65_536  # bytes


def as_utf8(raw: bytes, encoding: str | None, name: str) -> bytes:
    """`raw` in UTF-8 without a byte order mark; what is not UTF-8 and of no known encoding is left as it is.

    Raises `DataError` if it is not of its encoding, or looks like UTF-16 and has no mark.
    """
    marked = next((known for mark, known in _MARKS if raw.startswith(mark)), None)
    wanted = marked or encoding
    if wanted is not None and codecs.lookup(wanted).name != "utf-8":
        try:
            return raw.decode(wanted).removeprefix("\ufeff").encode()
        except (UnicodeError, ValueError) as error:
            raise DataError(f"{name} is not {wanted}: {error}; pass the name of its encoding with --encoding") from None
    found = _unmarked_utf16(raw[:_LOOKED_AT])
    if found is not None:
        raise DataError(f"{name} looks like UTF-16 without a byte order mark; pass --encoding {found}")
    return raw.removeprefix(codecs.BOM_UTF8)


def hint(raw: bytes) -> str:
    """What bytes that are not UTF-8 may be, and the option that says so."""
    first = next((match.start() for match in re.finditer(rb"[\x80-\xff]", raw)), 0)
    begin = raw.rfind(b"\n", 0, first) + 1
    part = raw[begin : begin + _LOOKED_AT]
    part = part[: part.rfind(b"\n") + 1] or part  # a line's end is no middle of a character
    runs = re.findall(rb"[\x80-\xff]+", part)
    high = b"".join(runs)
    if len(high) < 2 * len(runs) and _reads(part, "cp1252"):  # letters with accents stand alone between others
        return "it looks like Windows-1252; pass --encoding cp1252"
    if sum(byte >= 0xC0 for byte in high) > 0.9 * len(high) and _reads(part, "cp1251"):
        return "it looks like Windows-1251 (Cyrillic); pass --encoding cp1251"
    for known, told in (("shift_jis", "Shift JIS"), ("gb18030", "GB18030 (Chinese)"), ("euc_kr", "EUC-KR")):
        if _reads(part, known) and (known != "shift_jis" or re.search(rb"\x82[\x9f-\xf1]|\x83[\x40-\x96]", part)):
            return f"it looks like {told}; pass --encoding {known}"
    return "pass the name of its encoding with --encoding, for example cp1252 (Western European Windows)"


def _reads(part: bytes, encoding: str) -> bool:
    try:
        part.decode(encoding)
    except UnicodeError:
        return False
    return True


def _unmarked_utf16(part: bytes) -> str | None:
    """Every second byte of European text in UTF-16 is 0; no text of another encoding holds one."""
    half = len(part) // 2
    if half and part[1::2].count(0) > 0.4 * half and not part[::2].count(0):
        return "utf-16-le"
    if half and part[::2].count(0) > 0.4 * half and not part[1::2].count(0):
        return "utf-16-be"
    return None
