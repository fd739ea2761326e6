"""Numbers and addresses of people, taken out of a text before it is stored: [phone], [id], [card], [iban], [email].

Looked for in Chinese and English text, also in full width and with characters between that nobody sees. A bare number
counts only where its check digit, its shape or the word before it says what it is, so seeds, sizes and hashes stay.
What is written another way (in words, in a picture) is not found: this catches slips and makes no text anonymous.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable, Iterator

from phonenumbers import Leniency, PhoneNumberMatch, PhoneNumberMatcher
from stdnum import iban, luhn
from stdnum.cn import ric

REGIONS = ("CN", "US", "GB", "AU")  # whose numbers are known without + and country code
TAKEN = "\0"  # stands for what was found, so that nothing is found in it again
BEFORE = 32  # characters before a number in which a word is looked for

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]"
_EMAIL = re.compile(rf"(?<!{_ATOM}){_ATOM}{{1,64}}@(?:[A-Za-z0-9-]{{1,63}}\.)+[A-Za-z][A-Za-z0-9-]{{0,61}}[A-Za-z0-9]")
_START, _END = r"(?<![A-Za-z0-9])(?<!\d\.)", r"(?![A-Za-z0-9])(?!\.\d)"  # of a number, and of no part of another one
_RESIDENT = re.compile(rf"{_START}\d{{6}}([ -]?)\d{{8}}\1\d{{3}}[0-9Xx]{_END}")
_IBAN = re.compile(rf"{_START}(?:[A-Z]{{2}}|[a-z]{{2}})\d\d(?=[ -]?[A-Za-z0-9])")
_BBAN, _WHOLE = re.compile(r"(?:[ -]?[A-Za-z0-9]){11,30}"), re.compile(r"(?<![ -])(?![A-Za-z0-9])")
_CARD = re.compile(  # in one piece, or in the groups that are printed on it
    rf"{_START}(?:(?P<card>\d{{4}}([ -])\d{{4}}\2\d{{4}}\2\d{{4}})(?:\2\d{{3}}{_END})?|\d{{4}}([ -])\d{{6}}\3\d{{4,5}}"
    rf"|\d{{6}}[ -]\d{{13}}|\d{{13,19}}){_END}"
)
# Who issues cards, by their first digits (ISO/IEC 7812), and how many digits these have.
_ISSUERS = tuple(
    (re.compile(prefix), lengths)
    for prefix, lengths in (
        ("4", (13, 16, 19)),  # Visa
        ("5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720", (16,)),  # Mastercard
        ("3[47]", (15,)),  # American Express
        ("30[0-5]|3[689]", (14, 16)),  # Diners Club
        ("6011|64[4-9]|65|35", (16, 19)),  # Discover, JCB
        ("62|81|9558", (16, 17, 18, 19)),  # UnionPay
        ("220[0-4]|9792", (16, 19)),  # Mir, Troy
    )
)
_MOBILE = re.compile(  # in China
    rf"(?<!\+){_START}(?:(?:(?<![0-9])(?:\+|00))?86[ -]?)?1[3-9]\d(?:\d{{8}}|([-. ])(?:\d{{4}}\1\d{{4}}|\d{{8}})){_END}"
)
_SERVICE = re.compile(r"[48]00[ -]\d{3,4}[ -]?\d{3,4}")  # in China
_GROUPED = re.compile(r"(?:1[-. ])?(?:\(\d{3}\) ?|\d{3}[-.])\d{3}[-.]\d{4}")  # in the United States
_LONG = re.compile(r"(?:\d[^\dA-Za-z]{0,5}){6}\d")  # without which there is no number of a telephone
_FRACTION = re.compile(r"\d*\.\d+")
_CALLED = re.compile(  # what says of digits in a row that they are a telephone's
    r"(?:tele?phone|tel|phone|mobile|cell|fax|call|text|whatsapp|dial|reach|电话|手机|联系|致电|拨打|传真)\W*"
    r"(?:(?:me|us|him|her|them|at|on|is|no|number|号码|号|方式|是|为)\W*){0,4}\Z",
    re.IGNORECASE,
)
_SEED = re.compile(r"(?:seeds?|种子)[\"']?(?: is|为|是)?[ :=]*\Z", re.IGNORECASE)


def removed(text: str) -> str:
    """The text with a word in place of each; every other character stays. Takes time in proportion to its length."""
    folded, origin = _folded(text)
    found: list[tuple[int, int, str]] = []
    for word, find in FINDERS:
        spans = list(find(folded))
        found += [(start, end, word) for start, end in spans]
        folded = _with(folded, [(start, end, TAKEN * (end - start)) for start, end in spans])
    return _with(text, sorted((origin[start], origin[end - 1] + 1, f"[{word}]") for start, end, word in found))


def _with(text: str, parts: list[tuple[int, int, str]]) -> str:
    pieces, at = [], 0
    for start, end, new in parts:
        pieces += [text[at:start], new]
        at = end
    return "".join([*pieces, text[at:]])


def _folded(text: str) -> tuple[str, range | list[int]]:
    """A plain form in which digits are digits, and for each of its characters where it comes from."""
    if text.isascii():
        return text, range(len(text))
    pieces, origin = [], []
    for at, character in enumerate(text):
        piece = character if character.isascii() else "".join(map(_plain, unicodedata.normalize("NFKC", character)))
        pieces.append(piece)
        origin += [at] * len(piece)
    return "".join(pieces), origin


def _plain(character: str) -> str:
    kind = unicodedata.category(character)
    if kind == "Nd":
        return str(unicodedata.decimal(character))
    if kind == "Pd" or character == "\N{MINUS SIGN}":
        return "-"
    return {"Zs": " ", "Cf": "", "Mn": ""}.get(kind, character)


def _emails(text: str) -> Iterator[tuple[int, int]]:
    return (found.span() for found in _EMAIL.finditer(text))


def _ibans(text: str) -> Iterator[tuple[int, int]]:
    """From a country and two digits on, the longest end at which the check digits are right."""
    last = 0
    for found in _IBAN.finditer(text):
        rest = _BBAN.match(text, found.end())
        if found.start() < last or rest is None:
            continue
        for end in range(rest.end(), found.end(), -1):
            whole = text[found.start() : end]
            if _WHOLE.match(text, end) and iban.is_valid(whole, check_country=False):
                last = end
                yield found.start(), end
                break


def _residents(text: str) -> Iterator[tuple[int, int]]:
    for found in _RESIDENT.finditer(text):
        if ric.is_valid(_digits(found[0])) and not _SEED.search(_before(text, found.start())):
            yield found.span()


def _cards(text: str) -> Iterator[tuple[int, int]]:
    for found in _CARD.finditer(text):
        if _SEED.search(_before(text, found.start())):
            continue
        for written in (found[0], found["card"]):  # without the three digits of its back, which may follow
            if written and _issued(_digits(written)):
                yield found.start(), found.start() + len(written)
                break


def _issued(digits: str) -> bool:
    known = any(len(digits) in lengths and prefix.match(digits) for prefix, lengths in _ISSUERS)
    return known and luhn.is_valid(digits)


def _phones(text: str) -> Iterator[tuple[int, int]]:
    spans = [found.span() for found in _MOBILE.finditer(text) if not _SEED.search(_before(text, found.start()))]
    text = _with(text, [(start, end, TAKEN * (end - start)) for start, end in spans])
    for region in REGIONS if _LONG.search(text) else ():
        matches = PhoneNumberMatcher(text, region, leniency=Leniency.VALID, max_tries=sys.maxsize)
        more = [(match.start, match.end) for match in matches if _is_phone(text, match, region)]
        text = _with(text, [(start, end, TAKEN * (end - start)) for start, end in more])
        spans += more
    return iter(sorted(spans))


def _is_phone(text: str, match: PhoneNumberMatch, region: str) -> bool:
    """Whether a number that may be one of this region's telephones is written as one."""
    written, before = match.raw_string, _before(text, match.start)
    if _SEED.search(before) or _FRACTION.fullmatch(written):
        return False
    if written.lstrip("(").startswith(("+", "0")) or _CALLED.search(before):
        return True
    shape = {"CN": _SERVICE, "US": _GROUPED}.get(region)
    return shape is not None and shape.fullmatch(written) is not None


def _before(text: str, at: int) -> str:
    return text[max(0, at - BEFORE) : at]


def _digits(text: str) -> str:
    return text.replace(" ", "").replace("-", "")


# In this order: what holds digits of another sort comes first.
FINDERS: tuple[tuple[str, Callable[[str], Iterator[tuple[int, int]]]], ...] = (
    ("email", _emails),
    ("iban", _ibans),
    ("id", _residents),
    ("card", _cards),
    ("phone", _phones),
)
