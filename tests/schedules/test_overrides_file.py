"""Overrides in a TOML file."""

import tomllib
from datetime import date, time

import pytest

from session_lifecycle import (
    CalendarUnavailable,
    Closure,
    ConfigurationError,
    ExchangeSchedule,
    LifecycleError,
    OverrideRefused,
    SpecialHours,
)
from tests.helpers.builders import utc

FILE = """
calendar = "XNAS"
extended_hours = true
corrections = false

[[closure]]
date = 2024-11-26
reason = "a storm"

[[special_hours]]
date = 2024-11-27
close = 14:00:00
breaks = [[11:00:00, 11:30:00]]

[[special_hours]]
date = 2024-11-30
open = 2024-11-30T10:00:00-05:00
close = 12:00:00
"""


def test_a_file_describes_a_schedule(tmp_path):
    path = tmp_path / "hours.toml"
    path.write_text(FILE)
    schedule = ExchangeSchedule.from_file(path, near=utc(2024, 11, 25))
    assert schedule.name == "XNYS"
    assert schedule.session_on(date(2024, 11, 25)).pre_market_start == utc(2024, 11, 25, 9)
    assert schedule.overrides == (
        Closure(date(2024, 11, 26), "a storm"),
        SpecialHours(date(2024, 11, 27), close=time(14), breaks=((time(11), time(11, 30)),)),
        SpecialHours(date(2024, 11, 30), open=utc(2024, 11, 30, 15), close=time(12)),
    )
    assert schedule.next_session(date(2024, 11, 25)).breaks == ((utc(2024, 11, 27, 16), utc(2024, 11, 27, 16, 30)),)
    assert schedule.session_on(date(2024, 11, 30)).close == utc(2024, 11, 30, 17)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "must name its calendar"),
        ("calendar = 5", "must name its calendar"),
        ('calendar = "XNYS"\nextended_hours = "yes"', "extended_hours must be true or false, not 'yes'"),
        ('calendar = "XNYS"\n[closure]\ndate = 2024-11-26', "'closure' is not understood"),
        ('calendar = "XNYS"\n[[holiday]]\ndate = 2024-11-26', "'holiday' is not understood"),
        ('calendar = "XNYS"\nclosure = [3]', "3 needs `date`"),
        ('calendar = "XNYS"\n[[closure]]\nreason = "x"', "needs `date`"),
        ('calendar = "XNYS"\n[[closure]]\ndate = 2024-11-26\nday = 3', "can have date, reason"),
        ('calendar = "XNYS"\n[[closure]]\ndate = "Tuesday"', "must be a datetime.date"),
        ('calendar = "XNYS"\n[[special_hours]]\ndate = 2024-11-26\nclose = "14:00"', "must be a time"),
        ('calendar = "XNYS"\n[[special_hours]]\ndate = 2024-11-26\nclose = 2024-11-26T14:00:00', "no time zone"),
        ('calendar = "XNYS"\n[[special_hours]]\ndate = 2024-11-26\nbreaks = [3]', "breaks"),
        ('calendar = "XNYS"\n[[closure]]\ndate = 2024-11-26\nreason = 3', "`reason` must be a text"),
    ],
)
def test_a_file_that_is_not_understood_is_refused(tmp_path, text, why):
    path = tmp_path / "hours.toml"
    path.write_text(text)
    with pytest.raises(OverrideRefused) as caught:
        ExchangeSchedule.from_file(path)
    assert why in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "entry",
    [
        '[[special_hours]]\nfrom = 2024-11-25\nuntil = 2024-12-06\nweekdays = ["Freitag"]\nclose = 14:00:00',
        "[[special_hours]]\ndate = 2024-11-26",
    ],
)
def test_what_an_override_itself_refuses_is_said_once(tmp_path, entry):
    """The message has the file, the table and why, and the date as a field; its own frame is not in it twice."""
    path = tmp_path / "hours.toml"
    path.write_text(f'calendar = "XNYS"\n{entry}')
    with pytest.raises(OverrideRefused) as caught:
        ExchangeSchedule.from_file(path)
    text = str(caught.value)
    assert text.startswith(f"the override for {caught.value.date} is refused: {path}: [[special_hours]]")
    assert (text.count("refused"), text.count("Nothing was changed")) == (1, 1)


@pytest.mark.parametrize(
    ("content", "why", "cause"),
    [
        (None, "No such file or directory", FileNotFoundError),
        (b"calendar = ", "it is not TOML", tomllib.TOMLDecodeError),
        (b"calendar = '\xff'", "it is not TOML", UnicodeDecodeError),
        (b'calendar = "XNYZ"', "no calendar is called 'XNYZ'", CalendarUnavailable),
        (b'calendar = "XHKG"\nextended_hours = true', "none are on record for XHKG", ConfigurationError),
        (b'calendar = "XNYS"\n[[closure]]\ndate = 2024-11-28', "no session", OverrideRefused),
        (b'calendar = "XNYS"\n[[closure]]\ndate = 1900-11-28', "knows sessions from 1970", LifecycleError),
        (b'calendar = "XNYS"' + 2 * b"\n[[closure]]\ndate = 2024-11-26", "contradict each other", OverrideRefused),
    ],
)
def test_whatever_is_wrong_with_a_file_the_error_names_it(tmp_path, content, why, cause):
    path = tmp_path / "hours.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(OverrideRefused) as caught:
        ExchangeSchedule.from_file(path)
    assert str(path) in str(caught.value)
    assert why in str(caught.value)
    assert isinstance(caught.value.__cause__, cause)
