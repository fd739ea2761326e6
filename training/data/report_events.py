"""Reports of events: a match, a warning of bad weather, a ship that comes in."""

from __future__ import annotations

from training.data.report_topics import Topic, extra, needed

MATCH = Topic(
    "match",
    "The {winner} won {score} against the {loser} in {city}.",
    {
        **{"winner": "team", "loser": "team", "other_team": "team", "next_team": "team"},
        **{"score": "score", "other_score": "score", "old_score": "score", "third_score": "score"},
        **{"city": "city", "other_city": "city", "third_city": "city"},
        **{"expert": "person", "trainer": "person", "day": "day"},
    },
    (
        needed(
            0,
            "The match had been moved from {other_city} to {city} because of rain.",
            "The game was first planned for {other_city}, but it took place in {city}.",
            "The stadium in {city} was full, and {other_city} watched the game on television.",
        ),
        needed(
            1,
            "In the end the {winner} beat the {loser} {score}, and everybody sang.",
            "The {loser} lost {score} to the {winner} and left the field without a word.",
            "It ended {score} for the {winner}, while the {loser} sat down on the grass.",
            "A late goal made it {score} for the {winner}, and the {loser} had no answer.",
        ),
        extra(
            0,
            "In the morning paper {expert} had expected the {loser} to win {other_score}.",
            "Before the match {expert} had put much money on a {other_score} for the {loser}.",
            "Most fans, {expert} among them, had hoped for a {other_score} of the {loser}.",
        ),
        extra(
            1,
            "A year ago it was the {loser} who had won this match {old_score}.",
            "Last season the {loser} had gone home with a {old_score} victory.",
            "Nobody had forgotten the {old_score} of the {loser} from last season.",
        ),
        extra(
            2,
            '"We were the better team," said {trainer}, who coaches the {loser}.',
            "{trainer}, the coach of the {loser}, spoke of nothing but bad luck.",
            "The {loser} need a new coach, for {trainer} resigned at once.",
        ),
        extra(
            2,
            "On the same day the {other_team} won their game in {third_city} {third_score}.",
            "In {third_city} the {other_team} had an easier day and won {third_score}.",
            "The {other_team} stay first in the table after a {third_score} in {third_city}.",
        ),
        extra(
            3,
            "The {next_team} will be the next to play against them, on {day}.",
            "Next {day} the {winner} travel to the north to meet the {next_team}.",
        ),
    ),
)

WEATHER = Topic(
    "weather",
    "Forecasters warn of {hazard} in {city} from {hour} on {day}.",
    {
        **{"hazard": "hazard", "other_hazard": "hazard", "old_hazard": "hazard", "mild_hazard": "hazard"},
        **{"city": "city", "other_city": "city", "third_city": "city", "fourth_city": "city"},
        **{"hour": "hour", "other_hour": "hour", "third_hour": "hour"},
        **{"day": "day", "other_day": "day", "third_day": "day"},
        **{"helper": "person", "farmer": "person", "days": "number"},
    },
    (
        needed(
            0,
            "People in {city} must get ready for {hazard}, the forecast says.",
            "The weather service has issued a warning of {hazard} for {city}.",
            "For {city} the forecast now speaks of {hazard}, after a quiet week.",
        ),
        needed(
            1,
            "It was expected on {other_day}, but will come on {day} from {hour}.",
            "On {day} it should begin at {hour}, while {other_day} will be calm.",
            "The worst will come on {day} from {hour}, and not on {other_day}.",
        ),
        extra(
            1,
            "An older warning of {other_hazard} for {other_city} was lifted at {other_hour}.",
            "At {other_hour} a warning of {other_hazard} for {other_city} was taken back.",
            "In {other_city} the danger of {other_hazard} has been over since {other_hour}.",
        ),
        extra(
            1,
            "Last winter {old_hazard} had cut off {third_city} for {days} days.",
            "Many remember the {old_hazard} that closed the port of {third_city}.",
            "It may be as bad as the {old_hazard} in {third_city} a year ago.",
        ),
        extra(
            2,
            '"Please leave your car at home," said {helper} of the fire brigade.',
            "{helper} of the fire brigade has called {days} more people to the station.",
            "The fire brigade, says {helper}, is ready for everything.",
        ),
        extra(
            2,
            "{farmer}, a farmer, does not believe it and expects {mild_hazard}.",
            '"There will be {mild_hazard} and nothing more," said {farmer}, a farmer.',
        ),
        extra(
            3,
            "The next ferry to {fourth_city} leaves at {third_hour} on {third_day}.",
            "Ferries to {fourth_city} stay in port until {third_hour} on {third_day}.",
        ),
    ),
)

SHIP = Topic(
    "ship",
    "The {ship} brought {tonnes} tonnes of {goods} to {city}.",
    {
        **{"ship": "ship", "other_ship": "ship", "third_ship": "ship"},
        **{"tonnes": "tonnes", "other_tonnes": "tonnes", "back_tonnes": "tonnes", "third_tonnes": "tonnes"},
        **{"goods": "goods", "other_goods": "goods", "back_goods": "goods", "third_goods": "goods"},
        **{"city": "city", "other_city": "city", "third_city": "city", "fourth_city": "city"},
        **{"captain": "person", "buyer": "person", "day": "day", "days": "number"},
    },
    (
        needed(
            0,
            "The {ship} reached {city} this morning, {days} days after leaving {other_city}.",
            "Coming from {other_city}, the {ship} made fast in {city} at high tide.",
            "The {ship} was bound for {other_city}, but a storm drove it to {city}.",
        ),
        needed(
            1,
            "Cranes unloaded {tonnes} tonnes of {goods}, although the papers said {other_tonnes}.",
            "Instead of {other_goods} there were {tonnes} tonnes of {goods} on board.",
            "The cargo was {goods}, and it weighed {tonnes} tonnes, not {other_tonnes} as announced.",
        ),
        extra(
            1,
            "Its sister ship, the {other_ship}, is still waiting outside {third_city}.",
            "The {other_ship}, which left on the same day, is still in {third_city}.",
            "In the next berth lies the {other_ship}, which came from {third_city} last night.",
        ),
        extra(
            2,
            "Captain {captain} was glad to be in port after a rough night.",
            '"The sea was as high as a house," said {captain}, the captain.',
            "{captain}, the captain, praised the crew and went straight to bed.",
        ),
        extra(
            2,
            "{buyer} had come to the quay for {third_goods} and went home with nothing.",
            "At the market {buyer} had hoped for {third_goods}, but in vain.",
        ),
        extra(
            2,
            "Last week it was the {third_ship} that unloaded there, {third_tonnes} tonnes in all.",
            "The ship before it was the {third_ship}, which had carried {third_tonnes} tonnes.",
        ),
        extra(
            3,
            "On {day} it will sail again, with {back_tonnes} tonnes of {back_goods} for {fourth_city}.",
            "For the way back to {fourth_city} it will load {back_tonnes} tonnes of {back_goods}.",
        ),
    ),
)
