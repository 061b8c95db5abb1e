"""Faults that are made on purpose: kills, failing calls, races, lost servers, hostile input.

Each trial drives real commands on a real database. An independent reader then judges
the database without any code of the project. ``make test`` runs a part of about a minute;
``make faults`` runs the long form and writes docs/reliability.md from its counts.

- ``amounts``: how often each fault is tried
- ``reader``: the judge of a database
- ``tracing``: system calls that kill or fail, by strace
- ``commands``: the commands that are disturbed
- ``judging``: what they may leave
- ``racers``: processes that make many changes at once
- ``traffic``: changes that go on during an outage
- ``servers``, ``lines``: servers that go away, and connections that break
- ``properties``, ``fuzz``: readers of hostile input
- ``tally``: the counts
- ``page``: docs/reliability.md
"""
