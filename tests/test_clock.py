"""Times as people write and read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsapp import clock
from tests.support import Cli

NOW = datetime(2026, 11, 29, 17, 30, tzinfo=UTC)
"""A Sunday."""


@pytest.mark.parametrize(
    ("value", "since", "until", "ending"),
    [
        ("now", "11-29 17:30:00", "11-29 17:30:00", "11-29 17:30:00"),
        ("2h", "11-29 15:30:00", "11-29 15:30:00", "11-29 19:30:00"),
        ("in 2h", "11-29 19:30:00", "11-29 19:30:00", "11-29 19:30:00"),
        ("2h ago", "11-29 15:30:00", "11-29 15:30:00", "11-29 15:30:00"),
        ("18:00", "11-28 18:00:00", "11-28 18:00:00", "11-29 18:00:00"),
        ("9:00", "11-29 09:00:00", "11-29 09:00:00", "11-30 09:00:00"),
        ("18:00+02:00", "11-29 16:00:00", "11-29 16:00:00", "11-30 16:00:00"),
        ("friday", "11-27 00:00:00", "11-27 23:59:59", "12-04 23:59:59"),
        ("Sunday", "11-29 00:00:00", "11-29 23:59:59", "11-29 23:59:59"),
        ("sun 18:00", "11-22 18:00:00", "11-22 18:00:00", "11-29 18:00:00"),
        ("monday 9:00", "11-23 09:00:00", "11-23 09:00:00", "11-30 09:00:00"),
        ("yesterday", "11-28 00:00:00", "11-28 23:59:59", "11-28 23:59:59"),
        ("tomorrow 08:00", "11-30 08:00:00", "11-30 08:00:00", "11-30 08:00:00"),
        ("2026-12-31", "12-31 00:00:00", "12-31 23:59:59", "12-31 23:59:59"),
        ("2026-12-31 9:00", "12-31 09:00:00", "12-31 09:00:00", "12-31 09:00:00"),
        ("2026-12-31T18:00+02:00", "12-31 16:00:00", "12-31 16:00:00", "12-31 16:00:00"),
    ],
)
def test_time_is_the_last_one_or_the_next(value: str, since: str, until: str, ending: str) -> None:
    read = (
        clock.parse_time(value, NOW),
        clock.parse_time(value, NOW, end=True),
        clock.parse_time(value, NOW, end=True, ahead=True),
    )
    assert tuple(f"{moment:%m-%d %H:%M:%S}" for moment in read) == (since, until, ending)


@given(st.text(), st.booleans(), st.booleans())
def test_text_of_no_form_is_refused(value: str, ahead: bool, end: bool) -> None:
    try:
        moment = clock.parse_time(value, NOW, ahead=ahead, end=end)
    except (ValueError, OverflowError):
        return
    assert moment.utcoffset() == timedelta(0)


def test_error_says_what_is_understood(cli: Cli, ada: str) -> None:
    for command in (["audit", "list", "--since"], ["roles", "grant", "admin", "ada", "--until"]):
        found = cli(*command, "someday")
        assert (found.exit_code, found.stdout) == (2, "")
        assert found.stderr.endswith(
            f"Error: Invalid value for '{command[-1]}': 'someday' is not a time such as"
            f" {clock.FORMS}\n"
        )


@pytest.mark.parametrize(
    ("seconds", "relative", "brief"),
    [
        (0, "just now", "17:30Z"),
        (5, "in 5 s", "17:30Z"),
        (-59.6, "1 min ago", "17:29Z"),
        (3599, "in 1 h", "18:29Z"),
        (86400 * -3, "3 d ago", "Thu 17:30Z"),
        (86400 * 364, "in 364 d", "2027-11-28 17:30Z"),
        (86400 * -800, "2.2 y ago", "2024-09-20 17:30Z"),
    ],
)
def test_time_is_told_by_its_distance(seconds: float, relative: str, brief: str) -> None:
    moment = NOW + timedelta(seconds=seconds)
    assert (clock.relative(moment, NOW), clock.brief(moment, NOW)) == (relative, brief)
