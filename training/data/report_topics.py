"""The topics of the written reports: their sentences, their slots, and the values that fill these.

A slot of a topic is drawn from one of `VALUES`, and two slots of the same list never have the same value. Facts that
the summary states stand in a needed sentence; all other slots hold what is to be left out. The value that is true is
told right beside the other: "moved from Bergen to Dover", "two, not three as the radio had said".
"""

from __future__ import annotations

import dataclasses

from training.data.templates import words

# In no topic a value is a word of another one, and none begins with a vowel where the sentences put "a" before it.
VALUES: dict[str, tuple[str, ...]] = {
    "city": words(
        "Aarhus Bergen Bristol Cádiz Calais Cork Dover Gdańsk Genoa Hull Lisbon Málaga Malmö Nantes Narvik Porto Riga "
        "Trieste Tromsø Venice"
    ),
    "day": words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday"),
    "person": (
        *("Ada Young", "Anaïs Petit", "Ben Carter", "Björn Lund", "Chloé Martin", "Emma Stone", "Hugo Weiss"),
        *("Inés Romero", "Jürgen Vogel", "Karl Winter", "Lucía Prado", "Mary Quinn", "Nina Falk", "Omar Haddad"),
        *("Paul Green", "Priya Nair", "Rosa Bianchi", "Søren Holm", "Tom Baker", "Zoë Brandt"),
    ),
    "number": words("two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"),
    "team": words(
        "Badgers Bears Dragons Eagles Falcons Foxes Hawks Herons Otters Panthers Pirates Rangers Ravens Rovers Sharks "
        "Wolves"
    ),
    "score": words("1-0 2-0 2-1 3-0 3-1 3-2 4-0 4-1 4-2 4-3 5-0 5-1 5-2 5-3"),
    "vehicle": words("bus camper car coach lorry minibus motorbike pickup scooter taxi tractor truck van"),
    "obstacle": words("barn bench fence garage gate greenhouse hedge kiosk lamppost shed signpost statue tree wall"),
    "shop": (
        *("bakery", "barbershop", "bicycle shop", "bookshop", "brewery", "butchery", "café", "cheese shop"),
        *("flower shop", "hat shop", "launderette", "pharmacy", "pizzeria", "pottery", "record shop", "toy shop"),
    ),
    "hazard": (
        *("black ice", "blizzards", "dense fog", "flash floods", "freezing rain", "hail", "heavy showers"),
        *("heavy snow", "high waves", "landslides", "severe frost", "strong gales", "thunderstorms"),
    ),
    "hour": tuple(f"{hour} {half}" for half in ("am", "pm") for hour in (3, 4, 5, 6, 7, 8, 9, 10)),
    "verdict": ("approved", "rejected"),
    "project": (
        *("bridge", "campsite", "car park", "concert hall", "fountain", "library", "market square", "museum"),
        *("playground", "racecourse", "school", "skate park", "swimming pool", "theatre", "tram line", "youth club"),
    ),
    "votes": tuple(f"{most} votes to {least}" for most in (12, 13, 14, 15, 16) for least in (3, 5, 8, 10)),
    "ship": words(
        "Albatross Aurora Dolphin Étoile Gannet Heron Kestrel Mermaid Neptune Odyssey Pelican Seagull Swan Zephyr"
    ),
    "goods": words(
        "apples bananas cement cloth coal cocoa coffee cotton flour glass oil paper rice salt steel sugar tea timber"
    ),
    "tonnes": tuple(str(tonnes) for tonnes in (80, 90, *range(110, 200, 20), *range(250, 1000, 50))),
}


@dataclasses.dataclass(frozen=True)
class Part:
    """One sentence of a report, in several phrasings."""

    place: int  # sentences of a lower place come first, those of one place in any order
    phrasings: tuple[str, ...]
    needed: bool


@dataclasses.dataclass(frozen=True)
class Topic:
    """Reports of one sort of event; the slots of the summary are the facts."""

    name: str
    summary: str
    slots: dict[str, str]  # slot -> its list of VALUES
    parts: tuple[Part, ...]


def needed(place: int, *phrasings: str) -> Part:
    """A sentence that every report of a topic has."""
    return Part(place, phrasings, needed=True)


def extra(place: int, *phrasings: str) -> Part:
    """A sentence that a report may have; all it says is to be left out of the summary."""
    return Part(place, phrasings, needed=False)
