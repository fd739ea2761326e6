"""The written reports are always the same, their distractors are real, and their judge finds every wrong fact."""

from __future__ import annotations

import hashlib
import re

import pytest

from training.data import Pair, reports
from training.data.report_topics import VALUES
from training.data.reports import TOPICS, Judgement, check, facts, report
from training.data.templates import slots

PAIRS = [report(7, index) for index in range(2000)]
BY_TOPIC = {reports._read(pair.source[0])[0].name: pair for pair in PAIRS}
MATCH = (
    "The game was first planned for Dover, but it took place in Genoa. Last season the Sharks had gone home with a 2-1 "
    "victory. It ended 4-3 for the Dragons, while the Sharks sat down on the grass. In Bergen the Foxes had an easier "
    "day and won 3-0."
)
TRUE = "The Dragons won 4-3 against the Sharks in Genoa."


def sentences(document: str) -> list[str]:
    return re.split(r"(?<=[.?!]) ", document)


def words_in(text: str, value: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text) is not None


def test_a_report_does_not_depend_on_its_neighbours() -> None:
    document = (
        "The town council of Gdańsk met with guests from Dover. Last time a swimming pool had been approved by 16 "
        "votes to 8. By 13 votes to 5 the members finally rejected a market square. In Lisbon a similar plan had ended "
        "with 12 votes to 5. The next meeting, on Tuesday, will be about a fountain."
    )
    summary = "In Gdańsk the town council rejected a market square by 13 votes to 5."
    assert report(0, 2) == Pair((document,), summary)
    assert PAIRS[5] == report(7, 5) != report(8, 5)
    everything = "\n".join(f"{pair.source[0]}\n{pair.target}" for pair in PAIRS)
    assert hashlib.sha256(everything.encode()).hexdigest()[:16] == "d525ef9b1ce079c3"


def test_every_summary_is_true_and_everything_is_as_long_as_it_should_be() -> None:
    for pair in PAIRS:
        (document,) = pair.source
        assert check(document, pair.target) == Judgement(4, 4, None), pair
        assert len(facts(document)) == 4
        assert 4 <= len(sentences(document)) <= 7
        assert 40 <= len(document.split()) <= 92
        assert 8 <= len(pair.target.split()) <= 16
        assert document == " ".join(document.split())
    assert len(set(PAIRS)) == len(PAIRS)
    assert set(BY_TOPIC) == {topic.name for topic in TOPICS}
    beyond = [pair for pair in PAIRS if not pair.target.isascii()]
    assert 0.2 < len(beyond) / len(PAIRS) < 0.8


def test_every_sentence_can_be_read_in_one_way_only() -> None:
    for pair in PAIRS:
        for sentence in sentences(pair.source[0]):
            assert sum(form.fullmatch(sentence) is not None for _, _, form in reports._forms()) == 1, sentence


def test_every_phrasing_comes() -> None:
    seen = {
        form.pattern
        for pair in PAIRS
        for sentence in sentences(pair.source[0])
        for _, _, form in reports._forms()
        if form.fullmatch(sentence)
    }
    assert seen == {form.pattern for _, _, form in reports._forms()}
    assert all(len(part.phrasings) >= 2 for topic in TOPICS for part in topic.parts)


def test_a_needed_sentence_states_each_fact_and_an_extra_one_states_none() -> None:
    for topic in TOPICS:
        true = set(slots(topic.summary))
        assert set(topic.slots) == {slot for part in topic.parts for text in part.phrasings for slot in slots(text)}
        for part in topic.parts:
            stated = [true & set(slots(phrasing)) for phrasing in part.phrasings]
            if part.needed:
                assert stated[0] and stated.count(stated[0]) == len(stated), part.phrasings
            else:  # who plays is said more than once, but not who wins
                assert set().union(*stated) <= {"winner", "loser"}, part.phrasings


def test_every_report_holds_wrong_values_of_the_sorts_that_are_asked_for() -> None:
    first = 0
    for pair in PAIRS:
        (document,) = pair.source
        topic, values = reports._read(document)
        true = facts(document)
        sorts = {topic.slots[slot] for slot in true}
        wrong = [value for slot, value in values.items() if slot not in true and topic.slots[slot] in sorts]
        assert len(wrong) >= 2, document
        assert not any(words_in(pair.target, value) for value in wrong)
        for slot, value in true.items():
            others = [other for other in VALUES[topic.slots[slot]] if words_in(document, other)]
            first += min(others, key=document.index) == value
    assert first < 0.75 * 4 * len(PAIRS)  # the first value of its sort is often the wrong one


def test_the_values_of_a_topic_cannot_be_taken_for_one_another() -> None:
    for topic in TOPICS:
        values = [value for name in sorted(set(topic.slots.values())) for value in VALUES[name]]
        assert len(set(values)) == len(values)
        for value in values:
            assert not any(other != value and words_in(other, value) for other in values), value
            assert not re.search(r"[.?!{}]", value)
    assert all(12 <= len(values) <= 30 for name, values in VALUES.items() if name not in ("day", "verdict"))


def test_no_value_after_a_begins_with_a_vowel() -> None:
    for pair in PAIRS:
        assert not re.search(r"\b[Aa] [aeiouAEIOU]", f"{pair.source[0]} {pair.target}"), pair


def test_a_changed_fact_is_found_and_named() -> None:
    """Every fact of a summary of every topic in turn becomes every other value of its list, and one of no list."""
    for name, pair in BY_TOPIC.items():
        (document,) = pair.source
        topic = next(topic for topic in TOPICS if topic.name == name)
        for slot, value in facts(document).items():
            for other in (*VALUES[topic.slots[slot]], "Björm"):
                if other != value:
                    verdict = check(document, topic.summary.format_map({**facts(document), slot: other}))
                    problem = f"the {slot} is {other!r} in the summary and {value!r} in the report"
                    assert verdict == Judgement(4, 3, problem)


def test_swapped_facts_are_two_wrong_ones() -> None:
    verdict = check(MATCH, "The Sharks won 4-3 against the Dragons in Genoa.")
    assert verdict == Judgement(4, 2, "the winner is 'Sharks' in the summary and 'Dragons' in the report")


@pytest.mark.parametrize(
    ("summary", "right", "like"),
    [
        ("", 0, "none"),
        (TRUE[:-1], 4, "none"),
        (f" {TRUE}", 4, "none"),
        (f"{TRUE}\n", 4, "none"),
        ("Dragons beat Sharks 14-3 in Genoa", 3, "none"),
        ("The Sharksons won.", 0, "none"),
        ("A bus hit a wall near Genoa and two people were hurt.", 1, "that of accident"),
    ],
)
def test_what_follows_no_template_is_counted_by_its_words(summary: str, right: int, like: str) -> None:
    problem = f"the template of the summary is {like}, wanted that of match: {TRUE!r}"
    assert check(MATCH, summary) == Judgement(4, right, problem)


def test_a_summary_that_goes_on_is_found() -> None:
    verdict = check(MATCH, f"{TRUE} {TRUE}")
    assert verdict == Judgement(4, 3, f"the city is {'Genoa. ' + TRUE[:-1]!r} in the summary and 'Genoa' in the report")


def test_facts_are_those_of_the_match() -> None:
    assert facts(MATCH) == {"winner": "Dragons", "score": "4-3", "loser": "Sharks", "city": "Genoa"}
    assert check(MATCH, TRUE) == Judgement(4, 4, None)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("", "no report: '' is no sentence of one"),
        (
            MATCH.replace("Genoa", "Paris"),
            "'The game was first planned for Dover, but it took place in Paris.' is no sentence",
        ),
        (MATCH + " The end.", "no report: 'The end.' is no sentence of one"),
        (MATCH.replace("Last season the Sharks", "Last season the Wolves"), "the loser is 'Wolves' and then 'Sharks'"),
        (MATCH.replace("Dover", "Genoa"), "the other_city and the city are both 'Genoa'"),
        (
            MATCH.replace("It ended 4-3 for the Dragons, while the Sharks sat down on the grass. ", ""),
            "it has 0 sentences, wanted 1",
        ),
        (MATCH + " In Bergen the Foxes had an easier day and won 3-0.", "it has 2 sentences, wanted 1"),
        (" ".join(sentences(MATCH)[:3]), "it has 3 sentences, wanted 4 to 7"),
        (
            MATCH + " Captain Zoë Brandt was glad to be in port after a rough night.",
            "of several topics, match and ship",
        ),
    ],
)
def test_what_is_no_report_is_refused_with_the_reason(document: str, message: str) -> None:
    for judge in (facts, lambda text: check(text, TRUE)):
        with pytest.raises(ValueError, match=re.escape(message)) as error:
            judge(document)
        assert str(error.value).startswith("no report: ")
