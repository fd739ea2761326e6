"""Numbers and addresses of people are taken out of texts; seeds, hashes and plain numbers stay."""

from __future__ import annotations

import random
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stdnum import luhn
from stdnum.cn import ric

from gateway import personal
from gateway.personal import removed

TAKEN = [  # made up, or from standards and issuers' own examples
    ("call 13812345678 now", "call [phone] now"),
    ("打我电话13812345678。", "打我电话[phone]。"),
    ("电话：１３８１２３４５６７８！", "电话：[phone]！"),
    ("138-1234-5678 或 139 1234 5678", "[phone] 或 [phone]"),
    ("138\u200b1234\u200b5678", "[phone]"),
    ("١٣٨١٢٣٤٥٦٧٨", "[phone]"),
    ("13812345678,13912345678/13712345678", "[phone],[phone]/[phone]"),
    ("+86 138 1234 5678", "[phone]"),
    ("008613812345678", "[phone]"),
    ("86-13812345678", "[phone]"),
    ("512 images for 13812345678", "512 images for [phone]"),
    ("座机010-62551234", "座机[phone]"),
    ("(0755) 8255 1234", "[phone]"),
    ("客服400-820-8820", "客服[phone]"),
    ("+1 415-555-2671 is mine", "[phone] is mine"),
    ("(415) 555-2671", "[phone]"),
    ("415-555-2671, 415.555.2671", "[phone], [phone]"),
    ("my phone number is 4155552671", "my phone number is [phone]"),
    ("+44 20 7946 0958", "[phone]"),
    ("020 7946 0958", "[phone]"),
    ("07911 123456", "[phone]"),
    ("＋４９ ３０ ９０１８２０", "[phone]"),
    ("+852 9123 4567", "[phone]"),
    ("id 11010519491231002X", "id [id]"),
    ("身份证11010519491231002x，谢谢", "身份证[id]，谢谢"),
    ("110105 19491231 002X", "[id]"),
    ("１１０１０５１９４９１２３１００２Ｘ", "[id]"),
    ("4111 1111 1111 1111", "[card]"),
    ("4111-1111-1111-1111 12/27", "[card] 12/27"),
    ("pay with 5555555555554444.", "pay with [card]."),
    ("378282246310005 and 3782 822463 10005", "[card] and [card]"),
    ("卡号6222021234567890128", "卡号[card]"),
    ("4111 1111 1111 1111 123", "[card] 123"),
    ("IBAN DE89370400440532013000", "IBAN [iban]"),
    ("DE89 3704 0044 0532 0130 00 BIC COBADEFFXXX", "[iban] BIC COBADEFFXXX"),
    ("账号GB29NWBK60161331926819。", "账号[iban]。"),
    ("de89370400440532013000", "[iban]"),
    ("write to ann.lee+art@mail.example.com, please", "write to [email], please"),
    ("邮箱是ann@example.cn的那位", "邮箱是[email]的那位"),
    ("<ann@example.com>;bob@example.org", "<[email]>;[email]"),
    ("ａｎｎ＠ｅｘａｍｐｌｅ．ｃｏｍ", "[email]"),
    ("ann@xn--fiqs8s.xn--fiqs8s", "[email]"),
]
LEFT = [
    "seed 12345678",
    "seed 4155552671",
    "seed=4111111111111111",
    "种子：13812345678",
    '{"seed": 13812345678, "n": 4}',
    "seeds 9007199254740991 and 18446744073709551615",
    "sha256 3f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "commit 2b13812345678",
    "550e8400-e29b-41d4-a716-446655440000",
    "2026-11-28 16:58:03, 20261128165803, 1795885083, 1795885083123, 1795885083123456789",
    "192.168.100.200:8080, 10.0.0.1",
    "0.13812345678, 3.13812345678, 13812345678.25, 3.14159265358979",
    "512x512, 1024 x 768, 4096*4096, 16:9",
    "1,000,000,000 and 1 000 000 000 and 10000000000",
    "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20",
    "4 8 15 16 23 42 108 4815162342",
    "00000042 0000000000 000000000000000000",
    "4111111111111112",  # its check digit is wrong
    "110105194912310021",
    "DE88370400440532013000",
    "a cat @home, @ann, 3 @ 5, x@y",
    "ISBN 978-3-16-148410-0",
    "Route 66, 1984, 95588, 110, 12306",
    "一只猫在月光下，第3只，2026年11月28日",
    "key atl_0123456789",
    "a face at 555-0123-x",
    "",
]


@pytest.mark.parametrize(("text", "wanted"), TAKEN)
def test_what_is_somebodys_is_taken_out(text: str, wanted: str) -> None:
    assert removed(text) == wanted
    assert removed(wanted) == wanted


@pytest.mark.parametrize("text", LEFT)
def test_other_numbers_stay(text: str) -> None:
    assert removed(text) == text


WORDS = st.text(st.sampled_from("abc xyz,.。，猫狗电\n"), max_size=12)


def around(numbers: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[str, str, str]]:
    """A number between two texts that do not run into it."""
    return st.tuples(WORDS.map(lambda text: f"{text} "), numbers, WORDS.map(lambda text: f" {text}"))


def wide(text: str, chosen: random.Random) -> str:
    """Some of its characters in full width."""
    return "".join(chr(ord(one) + 0xFEE0) if one.isdigit() and chosen.random() < 0.5 else one for one in text)


MOBILES = st.from_regex(r"1(?:3[0-9]|5[0-35-9]|8[0-9])[0-9]{8}", fullmatch=True)
CARDS = st.from_regex(r"(?:4[0-9]{14}|5[1-5][0-9]{13}|62[0-9]{13}|62[0-9]{16})", fullmatch=True).map(
    lambda digits: digits + luhn.calc_check_digit(digits)
)
RESIDENTS = st.tuples(st.sampled_from(["110105", "310104", "440106", "510107"]), st.dates(), st.integers(0, 999)).map(
    lambda parts: resident(parts[0], f"{parts[1]:%Y%m%d}".zfill(8), parts[2])
)


def resident(place: str, day: str, number: int) -> str:
    digits = f"{place}{day}{number:03}"
    return digits + ric.calc_check_digit(f"{digits}0")


@given(around(MOBILES | CARDS), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_numbers_in_any_surroundings_are_taken_and_the_rest_stays(
    parts: tuple[str, str, str], chosen: random.Random
) -> None:
    before, number, after = parts
    assert removed(before + wide(number, chosen) + after) in (f"{before}[phone]{after}", f"{before}[card]{after}")


@given(around(st.emails()))
@settings(deadline=None)
def test_addresses_are_taken(parts: tuple[str, str, str]) -> None:
    before, address, after = parts
    assert removed(f"{before}{address}{after}") == f"{before}[email]{after}"


@given(around(RESIDENTS.filter(ric.is_valid)))
@settings(deadline=None)
def test_ids_of_residents_are_taken(parts: tuple[str, str, str]) -> None:
    before, number, after = parts
    assert removed(f"{before}{number}{after}") == f"{before}[id]{after}"


@given(st.text())
@settings(deadline=None)
def test_any_text_is_taken_twice_as_once(text: str) -> None:
    once = removed(text)
    assert removed(once) == once
    if "@" not in unicodedata.normalize("NFKC", text) and sum(one.isdecimal() for one in text) < 7:
        assert once == text


@given(st.integers(0, 2**32 - 1) | st.integers(0, 2**64 - 1).map(lambda number: f"seed {number}"))
@settings(deadline=None)
def test_seeds_stay(seed: int | str) -> None:
    assert removed(f"a cat, {seed}, n 4") == f"a cat, {seed}, n 4"


@given(st.binary(min_size=16, max_size=32))
@settings(deadline=None)
def test_hashes_stay(digest: bytes) -> None:
    text = digest.hex() if not digest.hex().isdigit() else "f" + digest.hex()
    assert removed(f"sha {text} of it") == f"sha {text} of it"


@pytest.mark.slow
def test_a_text_of_many_numbers_is_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the number of wrong tries at which the library stops by itself."""
    monkeypatch.setattr(personal, "REGIONS", ("US",))
    text = "1234567, " * (2**16 + 1)
    assert removed(f"{text}call +1 415-555-2671") == f"{text}call [phone]"
