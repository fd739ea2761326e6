"""Reports of what happens in a town: a road accident, a shop that opens, a vote of the council."""

from __future__ import annotations

from training.data.report_topics import Topic, extra, needed

ACCIDENT = Topic(
    "accident",
    "A {vehicle} hit a {obstacle} near {city} and {hurt} people were hurt.",
    {
        **{"vehicle": "vehicle", "other_vehicle": "vehicle", "third_vehicle": "vehicle"},
        **{"obstacle": "obstacle", "other_obstacle": "obstacle", "third_obstacle": "obstacle"},
        **{"city": "city", "other_city": "city", "third_city": "city"},
        **{"hurt": "number", "other_hurt": "number", "hours": "number"},
        **{"witness": "person", "day": "day", "other_day": "day"},
    },
    (
        needed(
            0,
            "On {day} there was an accident near {city}, on the road to {other_city}.",
            "A driver from {other_city} lost control near {city} on {day}.",
            "Police from {other_city} were called to an accident near {city} on {day}.",
        ),
        needed(
            1,
            "A {vehicle} came off the wet road and ran into a {obstacle}.",
            "They say that a {vehicle} missed the bend and hit a {obstacle}.",
            "Only a {obstacle} stopped the {vehicle} when its brakes had failed.",
        ),
        needed(
            1,
            "First reports spoke of {other_hurt} injured, but in the end there were {hurt}.",
            "The hospital took in {hurt} people, not {other_hurt} as the radio had said.",
            "Doctors treated {hurt} people, and {other_hurt} more got away with a fright.",
        ),
        extra(
            1,
            "The driver had tried to avoid a {other_vehicle} parked beside a {other_obstacle}.",
            "A {other_vehicle} that came behind stopped just before a {other_obstacle}.",
            "Nothing happened to a {other_vehicle} that was waiting behind a {other_obstacle}.",
        ),
        extra(
            2,
            "Only last month a {third_vehicle} had knocked over a {third_obstacle} there.",
            "Last year it was a {third_vehicle} that damaged a {third_obstacle} there.",
            "Already in spring a {third_vehicle} had crushed a {third_obstacle} on this road.",
        ),
        extra(
            2,
            "Traffic stood still for {hours} hours, as far back as {third_city}.",
            "For {hours} hours all cars had to go round through {third_city}.",
            "It took {hours} hours and a crane from {third_city} to clear the road.",
        ),
        extra(
            2,
            '"I heard a loud bang and ran outside," said {witness}, a neighbour.',
            "{witness}, who lives close by, has long wanted a lower speed limit.",
            "{witness} saw it all from the window and called for help at once.",
        ),
        extra(
            3,
            "The police hope to hear from more witnesses by {other_day}.",
            "Experts will look at the tyres and the brakes on {other_day}.",
        ),
    ),
)

OPENING = Topic(
    "opening",
    "{owner} is opening a {shop} in {city} on {day}.",
    {
        **{"owner": "person", "other_person": "person", "neighbour": "person", "banker": "person"},
        **{"shop": "shop", "other_shop": "shop", "old_shop": "shop", "next_shop": "shop"},
        **{"city": "city", "other_city": "city", "third_city": "city"},
        **{"day": "day", "other_day": "day", "years": "number", "guests": "number"},
    },
    (
        needed(
            0,
            "Many took {other_person} for the owner, but the new {shop} belongs to {owner}.",
            "{owner} gave up a job at a {other_shop} to run a new {shop}.",
            "The new {shop} is run by {owner}, who learned the trade from {other_person}.",
        ),
        needed(
            1,
            "The owner looked at rooms in {other_city} and then chose {city}.",
            "There was no such shop in {city}, and people drove to {other_city}.",
            "A first try in {other_city} failed, but the rents in {city} are low.",
        ),
        needed(
            2,
            "The opening was planned for {other_day} and will now be on {day}.",
            "The doors open on {day}, for on {other_day} the paint will be wet.",
            "The posters say {other_day} by mistake, but it begins on {day}.",
        ),
        extra(
            1,
            "The rooms held a {old_shop} until it was closed last winter.",
            "Many still remember the {old_shop} that once was in these rooms.",
            "For {years} years there had been a {old_shop} in these rooms.",
        ),
        extra(
            1,
            "{neighbour}, who runs the {next_shop} next door, is glad of the company.",
            "Next door is a {next_shop}, which {neighbour} has led for {years} years.",
            "{neighbour} fears for the {next_shop} on the other side of the street.",
        ),
        extra(
            2,
            '"It is a risk, but a good one," said {banker} of the bank.',
            "The bank lent the money after {banker} had been asked three times.",
            "{banker} of the bank was easily won over by the plan.",
        ),
        extra(
            3,
            "The first {guests} customers will get a present and some tea.",
            "A band will play, and {guests} guests of honour have been invited.",
        ),
        extra(
            3,
            "If all goes well, a second one will follow in {third_city}.",
            "Friends from {third_city} have already said that they will come.",
        ),
    ),
)

VOTE = Topic(
    "vote",
    "In {city} the town council {verdict} a {project} by {votes}.",
    {
        **{"city": "city", "other_city": "city", "third_city": "city"},
        **{"verdict": "verdict", "other_verdict": "verdict"},
        **{"project": "project", "other_project": "project", "third_project": "project", "next_project": "project"},
        **{"votes": "votes", "other_votes": "votes", "third_votes": "votes"},
        **{"speaker": "person", "mayor": "person", "day": "day", "minutes": "number"},
    },
    (
        needed(
            0,
            "The town council of {city} met with guests from {other_city}.",
            "Even from {other_city} people came to hear the town council of {city}.",
            "Reporters from {other_city} came to hear the town council of {city}.",
        ),
        needed(
            1,
            "After a long debate the members {verdict} a {project} by {votes}.",
            "Late in the evening a {project} was {verdict} by {votes}.",
            "By {votes} the members finally {verdict} a {project}.",
        ),
        extra(
            1,
            "A year ago they had {other_verdict} a {other_project} by {other_votes}.",
            "Last time a {other_project} had been {other_verdict} by {other_votes}.",
            "In spring they had still {other_verdict} a {other_project} by {other_votes}.",
        ),
        extra(
            1,
            "{speaker} would rather have a {third_project} and spoke for {minutes} minutes.",
            "A {third_project}, the old wish of {speaker}, was not even talked about.",
            "{speaker} had asked for a {third_project} instead, but found no support.",
        ),
        extra(
            2,
            '"Now we can all go to bed," said {mayor}, the mayor.',
            "{mayor}, mayor for {minutes} years now, did not want to comment.",
            "Mayor {mayor} thanked all members for a fair and open debate.",
        ),
        extra(
            2,
            "In {third_city} a similar plan had ended with {third_votes}.",
            "In {third_city} a plan like this had been dropped after {third_votes}.",
        ),
        extra(
            3,
            "The next meeting, on {day}, will be about a {next_project}.",
            "On {day} an architect will show her drawings of a {next_project}.",
        ),
    ),
)
