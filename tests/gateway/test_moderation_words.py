"""What word lists find in texts, and what they leave alone."""

# ruff: noqa: RUF001, RUF003  # what looks alike is what is tested

from __future__ import annotations

import pytest

from gateway.moderation.files import TRIAL, Pattern, Word, read_folder
from gateway.moderation.lists import Lists
from gateway.moderation.normal import SPACE, normal
from gateway.moderation.patterns import compiled

WORDS = (
    *("bomb", "recipe", "bomb recipe", "build a bomb", "ass", "sex", "kill", "the rapist", "420", "don't"),
    *("炸弹", "制造炸弹", "폭탄", "вор", "naïve", "straße", "आतंक", "ระเบิด"),
)


def lists(*words: str) -> Lists:
    made = []
    for text in words:
        form = normal(text)
        breaks = tuple(i for i in range(1, len(form.letters)) if form.gaps[i] >= SPACE)
        made.append(Word(text, "illicit", form.letters, breaks))
    return Lists(made, [])


ALL = lists(*WORDS)


def found(text: str, **options: bool) -> dict[str, str]:
    """By word: the characters of the text that it was found in."""
    return {hit.rule: text[hit.start : hit.end] for hit in ALL.hits(text, **options)}


@pytest.mark.parametrize(
    ("text", "word", "where"),
    [
        ("a bomb", "bomb", "bomb"),
        ("BOMB!", "bomb", "BOMB"),
        ("b0mb", "bomb", "b0mb"),
        ("6om8", "bomb", "6om8"),
        ("bоmb", "bomb", "bоmb"),  # a Cyrillic о
        ("ВОМВ", "bomb", "ВОМВ"),  # Cyrillic throughout
        ("rеcipе", "recipe", "rеcipе"),
        ("βομβ", "bomb", "βομβ"),  # Greek
        ("ｂｏｍｂ", "bomb", "ｂｏｍｂ"),  # full width
        ("𝐛𝕠𝓶𝖇", "bomb", "𝐛𝕠𝓶𝖇"),
        ("ⓑⓞⓜⓑ", "bomb", "ⓑⓞⓜⓑ"),
        ("🅑🅞🅜🅑", "bomb", "🅑🅞🅜🅑"),
        ("ʙᴏᴍʙ", "bomb", "ʙᴏᴍʙ"),
        ("bömb", "bomb", "bömb"),
        ("b\u0301o\u0327m\u0336b", "bomb", "b\u0301o\u0327m\u0336b"),
        ("bo\u200bm\u200d\u00adb", "bomb", "bo\u200bm\u200d\u00adb"),
        ("bo\u202emb", "bomb", "bo\u202emb"),
        ("bo\x00mb", "bomb", "bo\x00mb"),
        ("bo\ud800mb", "bomb", "bo\ud800mb"),  # half of a surrogate pair
        ("r-e-c-i-p-e", "recipe", "r-e-c-i-p-e"),
        ("r.e.c.i.p.e", "recipe", "r.e.c.i.p.e"),
        ("r e c i p e", "recipe", "r e c i p e"),
        ("re_ci*pe", "recipe", "re_ci*pe"),
        ("b 0 m b", "bomb", "b 0 m b"),
        ("b-0-m-b", "bomb", "b-0-m-b"),
        ("user@bomb.com", "bomb", "bomb"),
        ("bomb2", "bomb", "bomb"),
        ("b0mb-kit", "bomb", "b0mb"),
        ("k1ll", "kill", "k1ll"),
        ("ki|l", "kill", "ki|l"),
        ("ki11", "kill", "ki11"),
        ("a$$", "ass", "a$$"),
        ("5ex", "sex", "5ex"),
        ("build  A\tb0mb", "build a bomb", "build  A\tb0mb"),
        ("build-a-bomb", "build a bomb", "build-a-bomb"),
        ("b u i l d a b o m b", "build a bomb", "b u i l d a b o m b"),
        ("bomb, recipe", "bomb recipe", "bomb, recipe"),
        ("请制造炸弹吧", "制造炸弹", "制造炸弹"),
        ("制 造 炸 弹", "制造炸弹", "制 造 炸 弹"),
        ("制造-炸弹", "制造炸弹", "制造-炸弹"),
        ("制。造。炸。弹", "制造炸弹", "制。造。炸。弹"),
        ("폭탄을", "폭탄", "폭탄"),
        ("420", "420", "420"),
        ("Вор", "вор", "Вор"),
        ("NAIVE", "naïve", "NAIVE"),
        ("dont", "don't", "dont"),
        ("STRASSE", "straße", "STRASSE"),
        ("यह आतंक है", "आतंक", "आतंक"),
        ("นี่ระเบิดนะ", "ระเบิด", "ระเบิด"),
    ],
)
def test_disguises_are_found(text: str, word: str, where: str) -> None:
    assert found(text).get(word) == where


@pytest.mark.parametrize(
    "text",
    [
        "Scunthorpe, Penistone and Essex",
        "assassin class pass assess",
        "bombastic bombay",
        "a recipes book",  # whole words alone; a list has the forms it wants
        "skill",
        "therapist",
        "as soon as s he",
        "as s",
        "no. as. s",
        "1420",
        "4200",
        "it costs $455",
        "炸。弹药",
        "爆炸物。弹",
        "h264 and mp3 in 3d",
        "",
        "\ud800",
        "\u200b\u0301",
        "!!! ??? ...",
    ],
)
def test_other_words_are_left_alone(text: str) -> None:
    assert found(text) == {}


def test_a_word_within_a_long_text_is_found_where_it_is() -> None:
    before = "Lorem ipsum dolor sit amet, consectetur. " * 2000
    assert [(hit.start, hit.end) for hit in ALL.hits(f"{before}b-o-m-b {before}")] == [(len(before), len(before) + 7)]


def test_what_goes_on_is_no_border() -> None:
    assert found("bomb", begun=True) == {}  # it may be an "aerobomb"
    assert found(" bomb", begun=True) == {"bomb": "bomb"}
    assert found("bomb", open_end=True) == {}  # it may become "bombastic"
    assert found("bomb ", open_end=True) == {"bomb": "bomb"}
    assert found("炸弹", open_end=True) == {"炸弹": "炸弹"}
    assert found("폭탄", open_end=True) == {}  # a consonant may follow that makes it another syllable


def test_patterns_see_plain_words() -> None:
    pattern = Pattern("p", "illicit", compiled(r"\bkill (?:the )?(?:king|queen)\b"))
    made = Lists([], [pattern])
    text = "You  K1LL-the queen of hearts"
    ((hit,), other) = made.hits("please kìll \u200bthe QUEEN now"), made.hits(text)
    assert (hit.start, hit.end) == (7, 22)
    assert other == []  # a hyphen joins words: killthe
    assert made.hits("kill the queens") == []
    assert made.hits("kill the queen", open_end=True) == []


def test_the_lists_for_trials_have_every_category_and_leave_plain_texts_alone() -> None:
    words, patterns = read_folder(TRIAL)
    made = Lists(words, patterns)
    assert {rule.category for rule in words} >= {rule.category for rule in patterns}
    assert len({rule.category for rule in words}) == 13
    assert {hit.category for hit in made.hits("How do I build a b0mb?")} == {"illicit/violent"}
    plain = "A watercolour of a harbour at dawn, the assembled boats glow; he assembles a clock. 一只猫在月光下。"
    assert made.hits(plain) == []
