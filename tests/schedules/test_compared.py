"""The audit of the calendars: what it is held against, what was judged, and that it finds an error."""

from datetime import date, time

import pytest

from session_lifecycle import Closure, ExchangeSchedule, SpecialHours
from session_lifecycle._schedules import other_sources
from tests import compared
from tests.helpers.builders import utc
from tests.labs.simulation.hours import NAMES

NEAR = utc(2026, 7, 1)
FIRST, LAST = date(2026, 11, 2), date(2026, 12, 31)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_every_difference_is_fixed_or_judged(capsys: pytest.CaptureFixture[str]) -> None:
    """All calendars, from 2024 to the last day that is published, against three other sources."""
    status = compared.main([])
    assert status == 0, capsys.readouterr().out


def test_every_calendar_is_held_against_something_or_says_why_not() -> None:
    """The 71 calendars of exchange_calendars, each with the sources that there are for it."""
    table = other_sources.calendars()
    assert sorted(table) == sorted(NAMES)
    for name, sources in table.items():
        assert set(sources) <= {*other_sources.SOURCES} or set(sources) == {"not_compared"}, name
        assert all(sources.values())
    assert sum("not_compared" in sources for sources in table.values()) == 3
    assert sum(len(sources) > 1 for sources in table.values()) > 40


def test_every_judgement_names_days_or_words_a_reason_and_a_source() -> None:
    """A row cannot hide a difference of another kind: it is about single days, or about what the other source says."""
    for row in other_sources.judged():
        assert row.calendars <= {*NAMES}
        assert row.against <= {*other_sources.SOURCES}
        assert row.ours in ("open", "closed", "other hours")
        assert row.days or row.theirs
        assert row.why.endswith(".")
        assert row.source
        assert all(each.startswith("http") for each in row.source)
        for day in row.days:
            date.fromisoformat(day if len(day) > 5 else f"2024-{day}")


@pytest.mark.parametrize(
    ("source", "other"), [("markets", "NYSE"), ("quantlib", "UnitedStates.NYSE"), ("holidays", "XNYS")]
)
def test_each_source_finds_a_day_that_is_missing_and_one_too_many(source: str, other: str) -> None:
    """A day without the session that it has, and a session on Thanksgiving; without them nothing differs."""
    read = other_sources.READERS[source]
    assert list(read(ExchangeSchedule("XNYS", near=NEAR), other, FIRST, LAST)) == []
    wrong = ExchangeSchedule(
        "XNYS",
        overrides=[
            Closure(date(2026, 11, 24)),
            SpecialHours(date(2026, 11, 26), open=time(9, 30), close=time(16)),
        ],
        near=NEAR,
    )
    found = [(day, ours) for day, ours, _ in read(wrong, other, FIRST, LAST)]
    assert found == [(date(2026, 11, 24), "closed"), (date(2026, 11, 26), "open")]


def test_other_hours_are_found_where_the_source_has_hours() -> None:
    """A half day that is a whole day, told with both sides."""
    wrong = ExchangeSchedule("XNYS", overrides=[SpecialHours(date(2026, 11, 27), close=time(16))], near=NEAR)
    [(day, ours, theirs)] = other_sources.against_market(wrong, "NYSE", FIRST, LAST)
    assert (day, ours) == (date(2026, 11, 27), "other hours")
    assert theirs == "2026-11-27: close 16:00 EST / 13:00 EST (close)"


def test_half_days_are_found_where_the_source_has_some() -> None:
    """A half day that is a whole day, and the reverse, in the order of the days, among those without a session."""
    wrong = ExchangeSchedule(
        "XNYS",
        overrides=[
            SpecialHours(date(2026, 11, 24), close=time(13)),
            SpecialHours(date(2026, 11, 25), close=time(15, 30)),  # some minutes make no half day
            SpecialHours(date(2026, 11, 27), close=time(16)),
            Closure(date(2026, 12, 1)),
            Closure(date(2026, 12, 24)),
        ],
        near=NEAR,
    )
    assert [each[2:] for each in other_sources.differences(wrong, "holidays", FIRST, LAST)] == [
        (date(2026, 11, 24), "other hours", "a whole day"),
        (date(2026, 11, 27), "other hours", "a half day: Day after Thanksgiving Day (markets close at 1:00pm)"),
        (date(2026, 12, 1), "closed", "open"),
        (date(2026, 12, 24), "closed", "open"),
    ]


def test_half_days_of_offices_are_not_compared() -> None:
    """Working hours end early in Estonia before holidays, and trading does not."""
    days = date(2026, 6, 1), date(2026, 6, 30)
    assert list(other_sources.against_holidays(ExchangeSchedule("XTAL", near=NEAR), "country EE", *days)) == []


def test_half_days_of_johannesburg_are_found_and_fixed() -> None:
    """The calendar as it is released has whole days, and ours has none."""
    raw = [each for each in compared.differences("XJSE", ["holidays"], corrections=False) if each.ours == "other hours"]
    assert [f"{each.date:%m-%d}" for each in raw] == ["12-24", "12-31"] * 3
    assert str(raw[0]) == (
        "XJSE 2024-12-24 Tue: ours other hours; holidays: a half day: Christmas Eve (markets close at 12:00 p.m. SAST)"
    )
    assert not [each for each in compared.differences("XJSE", ["holidays"]) if each.ours == "other hours"]


def test_christmas_day_in_tallinn_is_found_and_fixed() -> None:
    """The calendar as it is released has a session on Christmas Day, and ours has none."""
    raw = {each.date: each for each in compared.differences("XTAL", corrections=False) if each.ours == "open"}
    assert {date(2024, 12, 25), date(2025, 12, 25), date(2026, 12, 25)} <= raw.keys()
    assert str(raw[date(2026, 12, 25)]) == "XTAL 2026-12-25 Fri: ours open; holidays: Christmas Day"
    assert not [each for each in compared.differences("XTAL") if each.ours == "open"]


def test_the_last_day_is_the_last_that_is_published() -> None:
    """What is vouched for counts, then the published year, and never more than is known."""
    assert compared.last_day(ExchangeSchedule("XNYS", near=NEAR)) == date(2028, 12, 31)
    assert compared.last_day(ExchangeSchedule("XPAR", near=NEAR)) == compared.PUBLISHED
    assert compared.last_day(ExchangeSchedule("XSHG", near=NEAR)) <= date(2026, 12, 31)


def test_the_exit_status_tells_whether_all_was_judged(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every calendar has a line, and what nobody has judged is printed."""
    assert compared.main(["XPAR", "24/7"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("0 differences, and 6 that were judged")
    assert lines[1:] == ["24/7: not compared, since it has no holidays", "0 differences are neither fixed nor judged"]
    monkeypatch.setattr(other_sources, "judged", tuple)
    assert compared.main(["XPAR"]) == 1
    assert "    XPAR 2024-12-24 Tue: ours open; quantlib: a holiday" in capsys.readouterr().out


def test_a_judgement_that_is_no_longer_needed_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not fail: another release of the other source may need it."""
    row = other_sources.judged()[0]
    monkeypatch.setattr(other_sources, "calendars", lambda: {"XNYS": {"quantlib": "UnitedStates.NYSE"}})
    monkeypatch.setattr(other_sources, "judged", lambda: [row])
    assert compared.main([]) == 0
    assert f"no such difference any more: {', '.join(sorted(row.calendars))}: {row.why}" in capsys.readouterr().out
