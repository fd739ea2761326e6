"""Files of word lists and patterns: what is read, what is refused, and with which words."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from gateway.moderation.files import ListError, read_folder
from gateway.moderation.lists import Lists
from gateway.moderation.patterns import MAX_WAYS, PatternError, compiled, first_match


def written(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_toml", ".toml").replace("_txt", ".txt").replace("0", "-")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def test_plain_lists_are_named_by_their_category(tmp_path: Path) -> None:
    plain = "# a comment\n\nbad word\n 炸弹 \n"
    folder = written(tmp_path, harassment__threatening_txt=plain, self0harm_txt="cut")
    (tmp_path / "README.md").write_text("no list")
    words, patterns = read_folder(folder)
    assert sorted((word.category, word.letters, word.breaks) for word in words) == [
        ("harassment/threatening", "badword", (3,)),
        ("harassment/threatening", "炸弹", ()),
        ("self-harm", "cut", ()),
    ]
    assert patterns == []


def test_rules_keep_their_names_wherever_they_stand(tmp_path: Path) -> None:
    first = read_folder(written(tmp_path / "a", hate_txt="one\ntwo"))[0]
    other = read_folder(written(tmp_path / "b", x_toml='[hate]\nwords = ["two", "three", "one"]'))[0]
    assert {word.rule for word in first} < {word.rule for word in other}
    assert all(re.fullmatch(r"hate#[0-9a-f]{8}", word.rule) for word in first)


def test_toml_has_words_and_patterns(tmp_path: Path) -> None:
    text = '["self-harm/intent"]\nwords = ["a b"]\npatterns = [\'\\bend (?:it|me) all\\b\']\n'
    made = Lists.read(written(tmp_path, mine_toml=text))
    assert made.size == 2
    assert [hit.category for hit in made.hits("I will End Ít all")] == ["self-harm/intent"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds no word and no pattern"),
        ({"rude_txt": "a"}, r"rude\.txt names the category 'rude', wanted one of harassment, "),
        ({"x_toml": "[rude]\nwords = []"}, "table 'rude' names the category 'rude'"),
        ({"x_toml": "[hate"}, r"x\.toml is no TOML: "),
        ({"x_toml": 'hate = "a"'}, "table 'hate': wanted words and patterns"),
        ({"x_toml": "[hate]\nword = []"}, "table 'hate': wanted words and patterns, lists of texts, and nothing else"),
        ({"x_toml": "[hate]\nwords = [1]"}, "words is no list of texts"),
        ({"hate_txt": "ok\n---"}, r"hate\.txt, line 2: '---' has 0 letters, wanted 1 to 100"),
        ({"hate_txt": "a" * 101}, "has 101 letters"),
        ({"x_toml": "[hate]\npatterns = ['(a+)+b']"}, r"patterns 1: '\(a\+\)\+b': it repeats without end"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(tmp_path: Path, files: dict[str, str], message: str) -> None:
    with pytest.raises(ListError, match=message):
        read_folder(written(tmp_path, **files))


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ListError, match=r"none is no folder; wanted CATEGORY\.txt"):
        read_folder(tmp_path / "none")


def test_a_list_that_is_no_utf8_is_told(tmp_path: Path) -> None:
    (tmp_path / "hate.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(ListError, match=r"hate\.txt is no UTF-8"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("a*b", r"repeats without end .*\{0,30\}"),
        ("(?:a|a)+", "repeats without end"),
        ("a{2,}", "repeats without end"),
        ("(?:a|a){0,30}b", "can match in 1000000000 ways at one place, wanted at most 1000"),
        ("(?:a{0,9}){0,9}b", "ways at one place"),
        (".{0,50}a.{0,50}b", "can match in 2601 ways"),
        ("a{0,150}b{100}", "can match 250 characters, wanted at most 200"),
        (r"(a)\1", "it has groupref, which is not taken"),
        ("(?=a)b", "it has assert, which is not taken"),
        ("(?!a)b", "it has assert not, which is not taken"),
        ("(?>a)b", "it has atomic group, which is not taken"),
        ("a{0,3}", "matches the empty text"),
        ("(a", "is no regular expression: missing"),
        ("a" * 1001, "has 1001 characters"),
    ],
)
def test_patterns_that_could_take_long_are_refused(pattern: str, message: str) -> None:
    with pytest.raises(PatternError, match=message):
        compiled(pattern)


@pytest.mark.parametrize("pattern", [r"\bmake .{0,30}\bbombs?\b", "(?:a|b|c){2}d", "[a-z]{3,9} gun", "x{1,200}"])
def test_bounded_patterns_are_taken(pattern: str) -> None:
    assert compiled(pattern).pattern == pattern


def test_a_text_in_pieces_has_the_matches_of_the_whole() -> None:
    expressions = [compiled(pattern) for pattern in (r"\bab{1,3}a\b", r"b.{0,99}c", r"\bcab", "a{200}")]
    drawn = random.Random(3)
    for size in (1, 1_999, 2_000, 2_001, 2_200, 2_201, 6_500):
        for words in ("a  b", "abc ", "aaaa b", " " * 60 + "cab"):
            text = "".join(drawn.choices(words, k=size))
            for expression in expressions:
                whole, pieces = expression.search(text), first_match(expression, text)
                assert (whole and whole.span()) == (pieces and pieces.span())
    assert first_match(expressions[3], "b" * 1_999 + "a" * 201) is not None


def test_the_ways_that_are_counted_bound_the_ways_that_are_tried() -> None:
    """The worst pattern that is taken, on a text that it never matches: as many tries as it has ways, no more."""
    tried = 0

    def ways(depth: int, text: str, at: int) -> None:
        nonlocal tried
        if depth == 0:
            tried += 1
            return
        for n in range(10):
            ways(depth - 1, text, at + n)

    ways(3, "a" * 100, 0)
    assert tried == MAX_WAYS
    assert compiled("a{0,9}a{0,9}a{0,9}b").search("a" * 5_000 + "c") is None
