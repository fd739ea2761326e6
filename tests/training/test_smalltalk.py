"""The written small talk is the same everywhere and always, and exactly one reply to every history is right."""

from __future__ import annotations

import hashlib
import re
from collections import Counter

import pytest

from training.data import Pair, smalltalk
from training.data.smalltalk import conversation, intent, is_right, reply
from training.data.smalltalk_intents import INTENTS, VALUES
from training.data.templates import slots

PAIRS = [conversation(7, index) for index in range(2000)]


def replied(*turns: str) -> str:
    """The last reply if the user says these turns and every reply is right."""
    history: list[str] = []
    for turn in turns:
        history.append(turn)
        history.append(reply(history))
    return history[-1]


def test_a_conversation_does_not_depend_on_its_neighbours() -> None:
    turns = ("I am Anaïs.", "Nice to meet you, Anaïs.", "My favourite food is pancakes.")
    more = ("I have never tried pancakes, but it sounds good.", "What do I like to eat best?")
    assert conversation(0, 3) == Pair((*turns, *more), "Your favourite food is pancakes.")
    assert PAIRS[5] == conversation(7, 5) != conversation(8, 5)
    everything = "\n".join("\n".join((*pair.source, pair.target)) for pair in PAIRS)
    assert hashlib.sha256(everything.encode()).hexdigest()[:16] == "f7d8a9d87da519e6"


@pytest.mark.slow
def test_every_reply_of_every_conversation_is_right_and_no_other_one() -> None:
    targets = sorted({pair.target for pair in PAIRS})
    for pair in PAIRS:
        turns = (*pair.source, pair.target)
        assert len(turns) in (2, 4, 6, 8)
        for at in range(1, len(turns), 2):
            assert is_right(turns[:at], turns[at]), turns
        assert sum(is_right(pair.source, target) for target in targets) == 1
        assert all(turn == " ".join(turn.split()) for turn in turns)


def test_every_turn_can_be_understood_in_one_way_only() -> None:
    for pair in PAIRS:
        for turn in pair.source[::2]:
            assert sum(form.fullmatch(turn) is not None for _, form in smalltalk._forms()) == 1, turn


def test_all_intents_phrasings_and_lengths_come() -> None:
    turns = {turn for pair in PAIRS for turn in pair.source[::2]}
    unseen = [form.pattern for _, form in smalltalk._forms() if not any(form.fullmatch(turn) for turn in turns)]
    assert not unseen
    answered = Counter(intent(pair.source[-1]) for pair in PAIRS)
    assert set(answered) == set(INTENTS)
    assert min(answered.values()) > 20
    lengths = Counter(len(pair.source) for pair in PAIRS)
    assert min(lengths[length] for length in (1, 3, 5, 7)) > 200
    beyond = sum(not "".join((*pair.source, pair.target)).isascii() for pair in PAIRS)
    assert 0.2 < beyond / len(PAIRS) < 0.8


def test_what_was_said_is_asked_for_turns_later_and_sometimes_was_never_said() -> None:
    distances: Counter[int] = Counter()
    unknown = distracted = 0
    for pair in PAIRS:
        needs = INTENTS[intent(pair.source[-1]) or ""].needs
        if needs and pair.target.startswith(("You have not told", "I have heard nothing")):
            unknown += 1
        elif needs and intent(pair.source[-1]) not in ("greeting", "thanks", "goodbye"):
            value = re.findall(r"[\w ]+", pair.target.split(" is ")[-1].removeprefix("called "))[0].split(" in ")[0]
            told = max(at for at, turn in enumerate(pair.source[:-1:2]) if value in turn)
            distances[len(pair.source[::2]) - 1 - told] += 1
            kept = [turn for turn in pair.source[:-1:2] if INTENTS[intent(turn) or ""].keeps]
            distracted += len(kept) > 1
    assert min(distances[distance] for distance in (1, 2, 3)) > 50
    assert unknown > 150
    assert distracted > 150  # something else was told too


def test_the_phrasings_of_an_intent_hold_the_same_slots() -> None:
    for name, meant in INTENTS.items():
        held = set(slots(meant.turns[0]))
        assert held <= set(VALUES)
        assert all(set(slots(turn)) == held for turn in meant.turns), name
        assert len(set(meant.turns)) == len(meant.turns) >= 2
        assert set(slots(meant.reply)) - {"value"} <= held
        assert ("value" in slots(meant.reply)) == bool(meant.needs or meant.works_out)
        assert bool(meant.needs) == bool(meant.unknown)


def test_no_value_is_followed_by_a_wrong_article() -> None:
    for pair in PAIRS:
        assert not re.search(r"\b[Aa] [aeiouAEIOU]", " ".join((*pair.source, pair.target))), pair


@pytest.mark.parametrize(
    ("turns", "answer"),
    [
        (("What is my name?",), "You have not told me your name."),
        (("I am Zoë.", "What is my name?"), "Your name is Zoë."),
        (("I am Zoë.", "My boss is called Ada.", "Who am I?"), "Your name is Zoë."),
        (("I am Zoë.", "My boss is called Ada.", "Who is my boss?"), "Your boss is called Ada."),
        (("I am Zoë.", "Who is my boss?"), "You have not told me about your boss."),
        (("My name is Ben.", "You can call me René.", "Bye!"), "Goodbye, René!"),
        (("Goodbye!",), "Goodbye!"),
        (("I'm called Łukasz.", "Hello!"), "Hello again, Łukasz!"),
        (("Hello!",), "Hello! How can I help you?"),
        (("Many thanks!",), "You are welcome."),
        (("Hi, Ada here.", "Thank you!"), "You are welcome, Ada."),
        (("I have a cat called Fée.", "Rex is my dog.", "What is my cat called?"), "Your cat is called Fée."),
        (("I have a cat called Fée.", "What is my dog called?"), "You have not told me about your dog."),
        (
            ("The best colour is red.", "I like to eat soup best.", "Which colour do I like best?"),
            "Your favourite colour is red.",
        ),
        (("I could eat crêpes every day.", "What is my favourite food?"), "Your favourite food is crêpes."),
        (
            ("It is windy in Riga today.", "Today Porto is mild.", "Tell me the weather in Riga."),
            "It is windy in Riga.",
        ),
        (("Today Porto is mild.", "Tell me the weather in Riga."), "I have heard nothing about the weather in Riga."),
        (("How much is 12 and 9?",), "12 plus 9 is 21."),
        (("What day comes after Sunday?",), "After Sunday comes Monday."),
        (("What day comes before Monday?",), "Before Monday comes Sunday."),
        (("What is the opposite of cold?",), "The opposite of cold is hot."),
        (("What is the opposite of hot?",), "The opposite of hot is cold."),
        (("I feel rather tired.",), "I am sorry that you are tired."),
        (("How are you?",), "I am fine, thank you."),
        (("What is your name?",), "I am a small program that likes to talk."),
    ],
)
def test_the_right_reply(turns: tuple[str, ...], answer: str) -> None:
    assert replied(*turns) == answer


def test_wrong_replies_are_found() -> None:
    history = ["I am Zoë.", "Nice to meet you, Zoë.", "What is my name?"]
    assert is_right(history, "Your name is Zoë.")
    for wrong in ("", "Your name is Zoë", "your name is Zoë.", "Your name is Ada.", "You have not told me your name."):
        assert not is_right(history, wrong)


def test_earlier_turns_without_an_intent_and_wrong_replies_are_passed_over() -> None:
    assert reply(["I am Zoë.", "Go away!", "Sing a song!", "La la.", "Who am I?"]) == "Your name is Zoë."
    assert reply(["I am Zoë.", "My name is Ada.", "Who am I?"]) == "Your name is Zoë."


def test_an_intent_is_known_by_the_whole_turn() -> None:
    assert intent("What is my name?") == "name asked"
    assert intent("What is my cat called?") == "pet asked"
    assert intent("What is my boss called?") == "person asked"
    for turn in (
        "",
        "What is my name",
        " What is my name?",
        "What is my name?\n",
        "What is my elephant called?",
        "I am Zoe.",
    ):
        assert intent(turn) is None


@pytest.mark.parametrize(
    ("history", "message"),
    [
        ([], "the history has 0 turns, wanted an odd number: the user says the first and the last"),
        (["Hello!", "Hello! How can I help you?"], "the history has 2 turns, wanted an odd number"),
        (["Sing!"], "the last turn 'Sing!' has no intent, wanted one of greeting, name told, name asked,"),
        (["Hello!", "Hello! How can I help you?", "Sing!"], "the last turn 'Sing!' has no intent"),
    ],
)
def test_a_history_that_cannot_be_answered_is_refused(history: list[str], message: str) -> None:
    for judge in (reply, lambda turns: is_right(turns, "Hello!")):
        with pytest.raises(ValueError, match=re.escape(message)):
            judge(history)
