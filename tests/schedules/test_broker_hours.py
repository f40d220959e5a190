"""The example that reads a broker's hours: both formats, and what it makes of strings that are wrong."""

import importlib.util
import sys
from datetime import date
from pathlib import Path
from types import ModuleType
from zoneinfo import ZoneInfo

import pytest

from session_lifecycle import FixedSchedule, InvalidSession, NotASession, ScheduleExhausted, Session
from tests.helpers.builders import DAY, utc

EXAMPLE = Path(__file__).parents[2] / "examples" / "broker_hours.py"
MONDAY, TUESDAY, FRIDAY = date(2024, 12, 2), date(2024, 12, 3), date(2024, 11, 29)
NEW_YORK, CHICAGO, HONG_KONG = "America/New_York", "America/Chicago", "Asia/Hong_Kong"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    """The example as a module, though `examples` is no package."""
    spec = importlib.util.spec_from_file_location("broker_hours", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "broker_hours", module)
        spec.loader.exec_module(module)
    return module


def everything(schedule: FixedSchedule) -> tuple[Session, ...]:
    """Return all sessions of a schedule."""
    return schedule.sessions(date.min, date.max)


@pytest.mark.parametrize(
    "hours",
    [
        "20241129:0930-1300;20241202:0930-1600",
        "20241129:0930-20241129:1300;20241202:0930-20241202:1600",
        "20241129:0930-20241129:1300;20241130:CLOSED;20241201:CLOSED;20241202:0930-1600",
        ";20241129:0930-20241129:1300;;20241202:0930-20241202:1600;",
        "20241202:0930-20241202:1600;20241129:0930-20241129:1300",
    ],
    ids=["old", "new", "mixed and closed", "empty entries", "unsorted"],
)
def test_both_formats_say_the_same(example: ModuleType, hours: str) -> None:
    """A day and its hours, with one date or two; days that are closed or empty have no session."""
    schedule = example.schedule_of(hours, NEW_YORK)
    assert everything(schedule) == (
        Session(FRIDAY, utc(2024, 11, 29, 14, 30), utc(2024, 11, 29, 18)),
        Session(MONDAY, utc(2024, 12, 2, 14, 30), utc(2024, 12, 2, 21)),
    )
    assert (schedule.name, schedule.timezone) == ("broker", ZoneInfo(NEW_YORK))


@pytest.mark.parametrize(
    "hours",
    [
        "20241202:0930-1200,1300-1600",
        "20241202:0930-20241202:1200,20241202:1300-20241202:1600",
        "20241202:0930-20241202:1200;20241202:1300-20241202:1600",
        "20241202:1300-20241202:1600;20241202:0930-20241202:1200",
    ],
)
def test_several_ranges_of_a_day_are_one_session_with_breaks(example: ModuleType, hours: str) -> None:
    """However they are separated, and in whatever order they come."""
    (only,) = everything(example.schedule_of(hours, HONG_KONG))
    lunch = (utc(2024, 12, 2, 4), utc(2024, 12, 2, 5))
    assert only == Session(MONDAY, utc(2024, 12, 2, 1, 30), utc(2024, 12, 2, 8), (lunch,))


def test_ranges_that_touch_have_no_break_between_them(example: ModuleType) -> None:
    """The broker's own example of the older format."""
    schedule = example.schedule_of("20090507:0700-1830,1830-2330;20090508:CLOSED", NEW_YORK)
    assert everything(schedule) == (Session(date(2009, 5, 7), utc(2009, 5, 7, 11), utc(2009, 5, 8, 3, 30)),)


def test_a_session_over_midnight_has_the_date_of_its_close(example: ModuleType) -> None:
    """A future opens on the evening before, pauses in the afternoon, and is closed on Saturdays."""
    hours = (
        "20241201:1700-20241202:1515;20241202:1530-20241202:1600;"
        "20241202:1700-20241203:1515;20241203:1530-20241203:1600;20241207:CLOSED"
    )
    monday, tuesday = everything(example.schedule_of(hours, CHICAGO))
    pause = (utc(2024, 12, 2, 21, 15), utc(2024, 12, 2, 21, 30))
    assert monday == Session(MONDAY, utc(2024, 12, 1, 23), utc(2024, 12, 2, 22), (pause,))
    assert (tuesday.date, tuesday.open) == (TUESDAY, utc(2024, 12, 2, 23))


def test_trading_up_to_midnight_belongs_to_the_day_that_ends(example: ModuleType) -> None:
    """A market that never sleeps has a session for each day."""
    hours = "20241202:0000-20241203:0000;20241203:0000-20241204:0000"
    schedule = example.schedule_of(hours, "UTC")
    assert [each.date for each in everything(schedule)] == [MONDAY, TUESDAY]
    assert schedule.session_at(utc(2024, 12, 3)).date == TUESDAY


def test_hours_follow_the_clocks_of_their_zone(example: ModuleType) -> None:
    """An hour is that of the place, before and after its clocks change; the broker's old zone names will do."""
    schedule = example.schedule_of("20241101:0930-20241101:1600;20241104:0930-20241104:1600", "US/Eastern")
    assert [each.open for each in everything(schedule)] == [utc(2024, 11, 1, 13, 30), utc(2024, 11, 4, 14, 30)]


def test_the_schedule_ends_where_the_string_does(example: ModuleType) -> None:
    """What the broker has not told is unknown, which is not "closed"; a closed day is no session."""
    schedule = example.schedule_of("20241129:0930-1300;20241130:CLOSED;20241202:0930-1600", NEW_YORK)
    with pytest.raises(NotASession):
        schedule.session_on(FRIDAY + DAY)
    with pytest.raises(ScheduleExhausted):
        schedule.next_session(MONDAY)


@pytest.mark.parametrize(
    ("hours", "words"),
    [
        ("", "'' holds no day"),
        (";;", "';;' holds no day"),
        ("CLOSED", "'CLOSED' does not begin with a day such as 20241129:"),
        ("2024129:0930-1600", "'2024129:0930-1600' does not begin with a day"),
        ("20241129", "'20241129': '' is neither CLOSED nor a range such as 0930-1600 or 0930-20241129:1600"),
        ("20241129:closed", "'closed' is neither CLOSED nor a range"),
        ("20241129:9:30-16:00", "'9:30-16:00' is neither CLOSED nor a range"),
        ("20241129:0930-1200,", "'' is neither CLOSED nor a range"),
        ("20241129:0930", "'0930' is neither CLOSED nor a range"),
        ("20241129:0930-1600 20241202:0930-1600", "'0930-1600 20241202:0930-1600' is neither CLOSED nor a range"),
        ("20241129:٠٩٣٠-١٦٠٠", "is neither CLOSED nor a range"),
        ("20241129:0930-2400", "20241129 2400 is no day and time"),
        ("20241129:0960-1600", "20241129 0960 is no day and time"),
        ("20241131:0930-1600", "20241131 0930 is no day and time"),
        (
            "20241129:1600-0930",
            "'1600-0930' does not close after it opens, and it is not said that it does so on another",
        ),
        ("20241129:0930-20241129:0930", "'0930-20241129:0930' does not close after it opens$"),
        ("20241129:0930-20241128:1600", "'0930-20241128:1600' does not close after it opens$"),
        ("20241129:0930-1200,1100-1600", "2024-11-29: one range opens at 2024-11-29T16:00.* before another one closes"),
        ("20241129:0930-1600;20241129:0930-1600", "2024-11-29: one range opens at .* before another one closes"),
    ],
)
def test_a_string_that_is_wrong_is_refused_and_it_is_said_what_is(example: ModuleType, hours: str, words: str) -> None:
    """Nothing is guessed: a day that was read wrongly would be a day on which the application trades wrongly."""
    with pytest.raises(example.BadHours, match=words):
        example.schedule_of(hours, NEW_YORK)
    assert issubclass(example.BadHours, ValueError)


def test_a_string_without_any_session_makes_no_schedule(example: ModuleType) -> None:
    """Closed on all of its days: there is nothing to run on."""
    with pytest.raises(InvalidSession, match="schedule 'broker' has no sessions"):
        example.schedule_of("20241130:CLOSED;20241201:CLOSED", NEW_YORK)


def test_sessions_that_overlap_make_no_schedule(example: ModuleType) -> None:
    """A session that opens before the one before has closed is refused as in any schedule."""
    with pytest.raises(InvalidSession, match=r"session 2024-12-02 .* must lie wholly before session 2024-12-03"):
        example.schedule_of("20241201:1700-20241202:1600;20241202:1500-20241203:1600", CHICAGO)
