"""The intents of a user in small talk: their phrasings, and the replies to them.

All phrasings of an intent hold the same slots. No phrasing can be filled so that it reads like one of another intent.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from training.data.templates import words

_NUMBERS = tuple(str(number) for number in range(1, 13))
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_PAIRS = (
    *(("big", "small"), ("hot", "cold"), ("old", "young"), ("fast", "slow"), ("early", "late"), ("light", "dark")),
    *(("high", "low"), ("rich", "poor"), ("wet", "dry"), ("hard", "soft"), ("loud", "quiet"), ("full", "empty")),
)
_OPPOSITES = {**dict(_PAIRS), **{second: first for first, second in _PAIRS}}

# None begins with a vowel where the turns put "a" before it.
VALUES: dict[str, tuple[str, ...]] = {
    "name": words(
        "Ada Anaïs Ben Björn Chloé Emma Hugo Inés Jürgen Karl Lucía Mary Nina Omar Paul Priya René Rosa Søren Tom Vera "
        "Yusuf Zoë Łukasz"
    ),
    "person": words("boss coach colleague cousin dentist doctor flatmate friend hairdresser neighbour partner teacher"),
    "animal": words("canary cat dog duck goat goldfish hamster hen parrot pony rabbit tortoise"),
    "pet": words("Bella Bärli Coco Daisy Fée Ginger Luna Max Minka Oscar Pepper Rex Rocky Simba Snowy Zorro"),
    "colour": words("black blue brown green grey orange pink purple red turquoise white yellow"),
    "food": (
        *("apple pie", "cheese", "crêpes", "curry", "fish and chips", "goulash", "jalapeños", "lasagne", "pancakes"),
        *("pasta", "pizza", "ratatouille", "smørrebrød", "soup", "sushi"),
    ),
    "weather": words("chilly cloudy cool foggy freezing mild misty rainy snowy stormy sunny windy"),
    "city": words("Bergen Bristol Cádiz Dover Genoa Ghent Kraków Lisbon Malmö Porto Riga Tromsø Turin Zürich"),
    "one": _NUMBERS,
    "other": _NUMBERS,
    "day": _DAYS,
    "adjective": tuple(_OPPOSITES),
    "good": ("cheerful", "excited", "happy", "proud", "relaxed", "well"),
    "bad": ("bored", "ill", "lonely", "sad", "tired", "worried"),
}


@dataclasses.dataclass(frozen=True)
class Intent:
    """Turns of the user with the same purpose, and the reply to them."""

    turns: tuple[str, ...]
    reply: str
    keeps: tuple[str, str] | None = None  # under which key what slot is remembered
    needs: str | None = None  # the key of what was remembered, which is the {value} of the reply
    unknown: str = ""  # the reply if nothing was
    works_out: Callable[[Mapping[str, str]], str] | None = None  # the {value} from the slots


def _sum(slots: Mapping[str, str]) -> str:
    return str(int(slots["one"]) + int(slots["other"]))


def _day_after(slots: Mapping[str, str]) -> str:
    return _DAYS[(_DAYS.index(slots["day"]) + 1) % len(_DAYS)]


def _day_before(slots: Mapping[str, str]) -> str:
    return _DAYS[_DAYS.index(slots["day"]) - 1]


def _opposite(slots: Mapping[str, str]) -> str:
    return _OPPOSITES[slots["adjective"]]


INTENTS: dict[str, Intent] = {
    "greeting": Intent(
        ("Hello!", "Hi there!", "Good morning!", "Good evening!", "Hey!"),
        "Hello again, {value}!",
        needs="name",
        unknown="Hello! How can I help you?",
    ),
    "name told": Intent(
        ("I am {name}.", "My name is {name}.", "I'm called {name}.", "Hi, {name} here.", "You can call me {name}."),
        "Nice to meet you, {name}.",
        keeps=("name", "name"),
    ),
    "name asked": Intent(
        ("What is my name?", "Do you remember my name?", "Who am I?", "Do you still know what I am called?"),
        "Your name is {value}.",
        needs="name",
        unknown="You have not told me your name.",
    ),
    "person told": Intent(
        (
            "My {person} is called {name}.",
            "The name of my {person} is {name}.",
            "{name} is the name of my {person}.",
        ),
        "Please say hello to {name} from me.",
        keeps=("person {person}", "name"),
    ),
    "person asked": Intent(
        ("What is my {person} called?", "Do you know the name of my {person}?", "Who is my {person}?"),
        "Your {person} is called {value}.",
        needs="person {person}",
        unknown="You have not told me about your {person}.",
    ),
    "pet told": Intent(
        (
            "I have a {animal} called {pet}.",
            "{pet} is my {animal}.",
            "At home I have a {animal}, and it is called {pet}.",
        ),
        "{pet} is a fine name for a {animal}.",
        keeps=("pet {animal}", "pet"),
    ),
    "pet asked": Intent(
        ("What is my {animal} called?", "What is the name of my {animal}?", "Do you know what my {animal} is called?"),
        "Your {animal} is called {value}.",
        needs="pet {animal}",
        unknown="You have not told me about your {animal}.",
    ),
    "colour told": Intent(
        (
            "My favourite colour is {colour}.",
            "I like {colour} more than any other colour.",
            "The best colour is {colour}.",
        ),
        "I will remember that you like {colour}.",
        keeps=("colour", "colour"),
    ),
    "colour asked": Intent(
        ("What is my favourite colour?", "Which colour do I like best?", "Do you remember my favourite colour?"),
        "Your favourite colour is {value}.",
        needs="colour",
        unknown="You have not told me your favourite colour.",
    ),
    "food told": Intent(
        ("I could eat {food} every day.", "My favourite food is {food}.", "I like to eat {food} best."),
        "I have never tried {food}, but it sounds good.",
        keeps=("food", "food"),
    ),
    "food asked": Intent(
        ("What is my favourite food?", "What do I like to eat best?", "Do you remember my favourite food?"),
        "Your favourite food is {value}.",
        needs="food",
        unknown="You have not told me your favourite food.",
    ),
    "weather told": Intent(
        ("It is {weather} in {city} today.", "Today {city} is {weather}.", "The weather in {city} is {weather}."),
        "Thank you, now I know about {city}.",
        keeps=("weather {city}", "weather"),
    ),
    "weather asked": Intent(
        ("How is the weather in {city}?", "What is the weather like in {city}?", "Tell me the weather in {city}."),
        "It is {value} in {city}.",
        needs="weather {city}",
        unknown="I have heard nothing about the weather in {city}.",
    ),
    "sum": Intent(
        ("What is {one} plus {other}?", "How much is {one} and {other}?", "Can you add {one} and {other}?"),
        "{one} plus {other} is {value}.",
        works_out=_sum,
    ),
    "day after": Intent(
        ("What day comes after {day}?", "Which day follows {day}?", "It is {day}, so what day is tomorrow?"),
        "After {day} comes {value}.",
        works_out=_day_after,
    ),
    "day before": Intent(
        ("What day comes before {day}?", "Today is {day}, so what day was yesterday?"),
        "Before {day} comes {value}.",
        works_out=_day_before,
    ),
    "opposite": Intent(
        (
            "What is the opposite of {adjective}?",
            "Do you know the opposite of {adjective}?",
            "What would be the opposite of {adjective}?",
        ),
        "The opposite of {adjective} is {value}.",
        works_out=_opposite,
    ),
    "good mood": Intent(
        ("I am {good} today.", "Today I feel {good}.", "I feel really {good}."),
        "I am glad that you are {good}.",
    ),
    "bad mood": Intent(
        ("I am {bad} today.", "Today I feel {bad}.", "I feel rather {bad}."),
        "I am sorry that you are {bad}.",
    ),
    "how are you": Intent(
        ("How are you?", "How are you today?", "How do you do?", "Are you well?"),
        "I am fine, thank you.",
    ),
    "who are you": Intent(
        ("Who are you?", "What are you?", "What is your name?", "Are you a person?"),
        "I am a small program that likes to talk.",
    ),
    "thanks": Intent(
        ("Thank you!", "Thanks a lot!", "Many thanks!", "Thank you, that was kind."),
        "You are welcome, {value}.",
        needs="name",
        unknown="You are welcome.",
    ),
    "goodbye": Intent(
        ("Goodbye!", "Bye!", "See you tomorrow!", "I have to go now."),
        "Goodbye, {value}!",
        needs="name",
        unknown="Goodbye!",
    ),
}
