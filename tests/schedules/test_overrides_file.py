"""Overrides in a TOML file."""

import tomllib
from datetime import date, time

import pytest

from session_lifecycle import Closure, ExchangeSchedule, OverrideRefused, SpecialHours
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
    ],
)
def test_a_file_that_is_not_understood_is_refused(tmp_path, text, why):
    path = tmp_path / "hours.toml"
    path.write_text(text)
    with pytest.raises(OverrideRefused) as caught:
        ExchangeSchedule.from_file(path)
    assert why in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_file_that_is_no_toml_or_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        ExchangeSchedule.from_file(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("calendar = ")
    with pytest.raises(tomllib.TOMLDecodeError):
        ExchangeSchedule.from_file(tmp_path / "bad.toml")
