"""What a notebook shows: schedules, sessions and timelines as tables in HTML."""

import xml.etree.ElementTree as ET
from collections.abc import Callable
from datetime import date, time
from pathlib import Path
from typing import Any

import pytest
import time_machine

from session_lifecycle import (
    ExchangeSchedule,
    FixedSchedule,
    LifecycleConfig,
    MarketCalendarSchedule,
    Phase,
    Session,
    SnapshotSchedule,
    Timeline,
    WeeklySchedule,
    write_snapshot,
)
from tests.helpers.builders import DAY, MONDAY, utc, week

HALF_DAY = utc(2025, 12, 24, 1)


def table(value: Any) -> tuple[str, list[str], list[list[str]]]:
    """Return the caption, the header and the rows of what a notebook shows; it is well-formed."""
    root = ET.fromstring(value._repr_html_())
    texts = [["".join(cell.itertext()) for cell in row] for row in root.iter("tr")]
    caption = root.find("caption")
    assert caption is not None
    return caption.text or "", texts[0], texts[1:]


def snapshot(folder: Path) -> SnapshotSchedule:
    """Return a snapshot of Hong Kong's December."""
    file = folder / "hours.toml"
    write_snapshot(ExchangeSchedule("XHKG", near=HALF_DAY), file, date(2025, 12, 1), date(2025, 12, 31))
    return SnapshotSchedule.load(file)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda _: ExchangeSchedule("XHKG", near=HALF_DAY), id="exchange"),
        pytest.param(snapshot, id="snapshot"),
    ],
)
@time_machine.travel(HALF_DAY, tick=False)
def test_a_schedule_shows_the_coming_sessions_in_its_own_time(make: Callable[[Path], Any], tmp_path: Path) -> None:
    """From the present one on, whose half day has no break."""
    caption, header, rows = table(make(tmp_path))
    assert caption.endswith("times of Asia/Hong_Kong")
    assert header == ["session", "open", "close", "breaks"]
    assert rows[0] == ["Wed 2025-12-24", "09:30", "12:00", ""]
    assert rows[1] == ["Mon 2025-12-29", "09:30", "16:00", "12:00–13:00"]


@time_machine.travel(HALF_DAY, tick=False)
def test_a_calendar_of_another_source_shows_itself_likewise() -> None:
    """pandas_market_calendars has no half days of Hong Kong."""
    caption, _, rows = table(MarketCalendarSchedule("HKEX"))
    assert caption.startswith("<MarketCalendarSchedule 'HKEX', ")
    assert rows[1] == ["Mon 2025-12-29", "09:30", "16:00", "12:00–13:00"]


@time_machine.travel(HALF_DAY, tick=False)
def test_a_time_of_another_day_has_its_weekday() -> None:
    """A currency day opens on the evening before."""
    _, _, rows = table(WeeklySchedule("FX", "America/New_York", "Sun 17:00-Fri 17:00", daily_roll=time(17)))
    assert (len(rows), rows[0]) == (7, ["Wed 2025-12-24", "Tue 17:00", "17:00", ""])


def test_a_schedule_that_is_over_shows_its_last_sessions() -> None:
    """Such as one that a test is written with."""
    _, _, rows = table(FixedSchedule(week().sessions(MONDAY, MONDAY + 4 * DAY), name="<desk>"))
    assert [row[0] for row in rows] == [f"{MONDAY + n * DAY:%a %Y-%m-%d}" for n in range(5)]


def test_names_are_escaped() -> None:
    """A name is text, and no mark-up."""
    html: str = FixedSchedule(week().sessions(MONDAY, MONDAY), name="<b>")._repr_html_()
    assert "<b>" not in html
    assert "&lt;b&gt;" in html


def test_a_session_shows_each_instant_that_it_has() -> None:
    """In order, in UTC, and then its phases."""
    noon = utc(2024, 3, 4, 12)
    auction = Phase("closing_auction", noon + DAY, noon + DAY * 1.5, tradable=False)
    pause = noon + DAY / 4, noon + DAY / 2
    session = Session(MONDAY, noon, noon + DAY, (pause,), post_market_end=noon + 2 * DAY, phases=(auction,))
    caption, _, rows = table(session)
    assert caption == "Session Mon 2024-03-04"
    instants = ["open", "break", "resume", "close", "post_market_end", "closing_auction", "closing_auction.end"]
    assert [row[0] for row in rows] == instants
    assert rows[0][1] == "Mon 2024-03-04 12:00:00"


@time_machine.travel(HALF_DAY, tick=False)
def test_a_timeline_shows_the_boundaries_of_its_configuration() -> None:
    """Pre-market and end included."""
    caption, header, rows = table(Timeline(ExchangeSchedule("XHKG", near=HALF_DAY), LifecycleConfig()))
    assert caption == "Boundaries of XHKG, times of Asia/Hong_Kong"
    assert header == ["session", "pre_market_start", "open", "close", "end"]
    assert rows[0] == ["Wed 2025-12-24", "04:00", "09:30", "12:00", "12:30"]
