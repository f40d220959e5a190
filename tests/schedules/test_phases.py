"""Phases of venues: those on record with their sources, nights by trade date, overrides, files and snapshots."""

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from session_lifecycle import (
    ConfigurationError,
    ExchangeSchedule,
    FixedSchedule,
    LifecycleConfig,
    OverrideRefused,
    Phase,
    PhaseEnded,
    PhaseStarted,
    Session,
    SessionBoundaryManager,
    SnapshotSchedule,
    SpecialHours,
    StateChanged,
    compare,
    replay,
    write_snapshot,
)
from session_lifecycle._schedules.venue_hours import hours_of, parsed_hours
from session_lifecycle.testing import SimulatedClock, assert_legal
from tests.helpers.builders import DAY
from tests.helpers.calendars import calendars_with_hours
from tests.helpers.harness import roll_nothing

NEW_YORK = ZoneInfo("America/New_York")
NEAR = datetime(2026, 11, 1, tzinfo=UTC)
DECEMBER = date(2026, 12, 30)  # a holiday and a half day before
REGULAR_CLOSE = 16  # o'clock
VENUES = sorted(name for name in calendars_with_hours() if hours_of(name).phases)


def ny(month: int, day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=NEW_YORK).astimezone(UTC)


@pytest.fixture(scope="module")
def nights() -> ExchangeSchedule:
    """Return XNYS with its phases and the nights of Blue Ocean ATS."""
    return ExchangeSchedule("XNYS", phases=True, night="BLUE", near=NEAR)


def local(session: Session, zone: object) -> list[tuple[str, str, str]]:
    """Return the phases of a session by the venue's clock."""
    return [
        (each.name, f"{each.start.astimezone(zone):%d %H:%M}", f"{each.end.astimezone(zone):%H:%M}")
        for each in session.phases
    ]


def test_these_venues_have_phases() -> None:
    """Each of the venues that the guide names."""
    assert VENUES == ["XASX", "XBOM", "XETR", "XHKG", "XKRX", "XLON", "XNYS", "XPAR", "XTKS"]


@pytest.mark.parametrize("name", VENUES)
def test_phases_on_record_have_sources_and_never_overlap(name: str) -> None:
    """Not within a session nor over two of them, in three years; they move no boundary, and each row acts."""
    rows = hours_of(name).phases
    assert all(each.startswith("http") for row in rows for each in row.source.split())
    nights = hours_of(name).nights
    with_phases = ExchangeSchedule(name, phases=True, night=nights[0] if nights else None, near=NEAR)
    plain = ExchangeSchedule(name, near=NEAR)
    first, last = date(2024, 1, 2), date(2026, 12, 31)
    sessions = with_phases.sessions(first, last)
    for differs in compare(with_phases, plain, first, last):
        assert differs.fields == ("phases",)
    every = [phase for session in sessions for phase in session.phases]
    for earlier, later in pairwise(every):
        assert earlier.end <= later.start
    found = {phase.name for phase in every}
    assert found == {row.name for row in rows}
    assert not any(session.phases for session in plain.sessions(first, last))


@pytest.mark.parametrize(
    ("name", "day", "expected"),
    [
        (
            "XTKS",
            date(2024, 11, 1),
            [("opening_auction", "01 08:00", "09:00"), ("opening_auction", "01 12:05", "12:30")],
        ),
        (
            "XTKS",
            date(2024, 11, 5),
            [
                ("opening_auction", "05 08:00", "09:00"),
                ("opening_auction", "05 12:05", "12:30"),
                ("closing_auction", "05 15:25", "15:30"),
            ],
        ),
        (
            "XPAR",
            date(2026, 11, 24),
            [("opening_auction", "24 07:15", "09:00"), ("closing_auction", "24 17:30", "17:35")],
        ),
        ("XPAR", date(2026, 12, 24), [("opening_auction", "24 07:15", "09:00")]),
        (
            "XHKG",
            date(2026, 12, 24),
            [("opening_auction", "24 09:00", "09:30"), ("closing_auction", "24 12:00", "12:10")],
        ),
        ("XBOM", date(2026, 7, 31), [("opening_auction", "31 09:00", "09:15"), ("post_market", "31 15:40", "16:00")]),
        (
            "XBOM",
            date(2026, 8, 3),
            [("opening_auction", "03 09:00", "09:15"), ("closing_auction", "03 15:15", "15:35")],
        ),
        ("XKRX", date(2026, 6, 26), []),
        ("XKRX", date(2026, 6, 29), [("pre_market", "29 07:00", "08:00"), ("post_market", "29 16:00", "20:00")]),
        ("XLON", date(2026, 12, 24), [("opening_auction", "24 07:50", "08:00")]),  # no source says how a half day ends
    ],
)
def test_what_is_on_record(name: str, day: date, expected: list[tuple[str, str, str]]) -> None:
    """By the venue's own clock: since when, and on half days."""
    schedule = ExchangeSchedule(name, phases=True, near=NEAR)
    assert local(schedule.session_on(day), schedule.timezone) == expected


def test_a_night_counts_for_the_day_on_which_it_ends(nights: ExchangeSchedule) -> None:
    """Sunday evening is Monday's, no night begins on Friday or on the eve of a holiday, and a half day has its own."""
    week = {each.date: local(each, NEW_YORK) for each in nights.sessions(date(2026, 11, 23), date(2026, 11, 27))}
    assert [(day, phases[0]) for day, phases in week.items()] == [
        (date(2026, 11, 23), ("overnight", "22 20:00", "04:00")),  # Sunday evening
        (date(2026, 11, 24), ("overnight", "23 20:00", "04:00")),
        (date(2026, 11, 25), ("overnight", "24 20:00", "04:00")),
        (date(2026, 11, 27), ("overnight", "26 20:00", "04:00")),  # the eve of Thanksgiving is dark
    ]
    assert week[date(2026, 11, 25)][1:] == [
        ("pre_market", "25 04:00", "09:25"),
        ("opening_auction", "25 09:25", "09:30"),
        ("closing_auction", "25 15:50", "16:00"),
        ("post_market", "25 16:00", "20:00"),
    ]
    assert week[date(2026, 11, 27)][-1] == ("post_market", "27 13:00", "17:00")


def test_each_venue_of_the_night_has_its_own_hours(nights: ExchangeSchedule) -> None:
    """On the same evenings: that of Interactive Brokers ends ten minutes earlier."""
    brokers = ExchangeSchedule("XNYS", phases=True, night="IBKR", near=NEAR)
    for session in brokers.sessions(date(2026, 1, 2), date(2026, 12, 31)):
        night, other = session.phases[0], nights.session_on(session.date).phases[0]
        assert (night.name, night.start, night.end) == ("overnight", other.start, other.end - timedelta(minutes=10))
    with pytest.raises(ConfigurationError, match="on record for XNYS: BLUE, IBKR"):
        ExchangeSchedule("XNYS", phases=True, night="MOON", near=NEAR)


@pytest.mark.parametrize(("day", "hours"), [(date(2026, 3, 9), 8), (date(2026, 11, 2), 8), (date(2026, 11, 27), 8)])
def test_the_clocks_change_on_a_sunday_before_the_night(nights: ExchangeSchedule, day: date, hours: int) -> None:
    """Clocks change at two on Sunday morning, when there is no night: 20:00 to 04:00 are eight hours on all dates."""
    night = nights.session_on(day).phases[0]
    assert night.end - night.start == timedelta(hours=hours)
    assert night.start.astimezone(NEW_YORK).time() == time(20)


@pytest.mark.anyio
async def test_a_us_week_with_nights(nights: ExchangeSchedule) -> None:
    """A manager walks through Thanksgiving's week: every phase at its instant, no state moved by any."""
    clock = SimulatedClock(ny(11, 22, 12))
    manager = SessionBoundaryManager(
        nights, roll_nothing, clock=clock, config=LifecycleConfig(data_timeout=None, pre_market=timedelta(hours=5.5))
    )
    events = manager.events()
    dark: list[object] = []
    async with manager:
        for instant in (ny(11, 22, 21), ny(11, 25, 21), ny(11, 26, 12), ny(11, 26, 21), ny(11, 27, 21), ny(11, 28, 12)):
            await clock.advance_to(instant)
            dark.append(manager.phase)
    assert dark == ["overnight", None, None, "overnight", None, None]
    log = [each async for each in events]
    sessions = nights.sessions(date(2026, 11, 23), date(2026, 11, 27))
    assert [
        (each.session, each.phase, each.scheduled_at, each.observed_at)
        for each in log
        if isinstance(each, PhaseStarted)
    ] == [(session.date, phase.name, phase.start, phase.start) for session in sessions for phase in session.phases]
    assert [each.scheduled_at for each in log if isinstance(each, PhaseEnded)] == [
        phase.end for session in sessions for phase in session.phases
    ]
    changes = [each for each in log if isinstance(each, StateChanged)]
    planned = replay(
        ExchangeSchedule("XNYS", near=NEAR), ny(11, 22, 12), ny(11, 28, 12), config=manager._lifecycle.config
    )
    assert [(each.trigger, each.scheduled_at) for each in changes] == [
        (each.trigger, each.scheduled_at) for each in planned
    ]
    assert_legal(log)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("first", "last"),
    [(date(2026, 3, 5), date(2026, 3, 10)), (date(2026, 10, 29), date(2026, 11, 3)), (date(2026, 12, 23), DECEMBER)],
)
async def test_a_week_over_a_change_of_clocks(nights: ExchangeSchedule, first: date, last: date) -> None:
    """Every edge of every phase at its instant by New York's clock; `replay` is the same with and without phases."""
    start, end = ny(first.month, first.day, 0, 30), ny(last.month, last.day, 19, 59)
    config = LifecycleConfig(data_timeout=None)
    clock = SimulatedClock(start)
    manager = SessionBoundaryManager(nights, roll_nothing, clock=clock, config=config)
    events = manager.events()
    async with manager:
        await clock.advance_to(end)
    log = [each async for each in events]
    told = [each for each in log if isinstance(each, PhaseStarted | PhaseEnded) and not each.catch_up]
    assert all(each.observed_at == each.scheduled_at for each in told)
    hours = {
        (each.phase, type(each), f"{each.scheduled_at.astimezone(NEW_YORK):%H:%M}")
        for each in told
        if nights.session_on(each.session).close.astimezone(NEW_YORK).hour == REGULAR_CLOSE
    }
    assert hours == {
        ("overnight", PhaseStarted, "20:00"),
        ("overnight", PhaseEnded, "04:00"),
        ("pre_market", PhaseStarted, "04:00"),
        ("pre_market", PhaseEnded, "09:25"),
        ("opening_auction", PhaseStarted, "09:25"),
        ("opening_auction", PhaseEnded, "09:30"),
        ("closing_auction", PhaseStarted, "15:50"),
        ("closing_auction", PhaseEnded, "16:00"),
        ("post_market", PhaseStarted, "16:00"),
        ("post_market", PhaseEnded, "20:00"),
    }
    started = {each.session for each in told if isinstance(each, PhaseStarted) and each.phase == "overnight"}
    assert started == {each.date for each in nights.sessions(first + DAY, last)}
    for session in started:  # none begins on a Friday, a Saturday, or the eve of a holiday
        assert nights.session_on(session).phases[0].start.astimezone(NEW_YORK).date() == session - DAY
    with_phases, plain = (
        list(replay(schedule, start, end, config=config)) for schedule in (nights, ExchangeSchedule("XNYS", near=NEAR))
    )
    assert with_phases == plain
    assert [each for each in log if isinstance(each, StateChanged)] == plain
    assert_legal(log)


def test_phases_cover_the_day_but_for_the_trading(nights: ExchangeSchedule) -> None:
    """From the night to the end of the after-market, a phase is on or the market is open, on half days too."""
    for session in nights.sessions(date(2026, 1, 2), date(2026, 12, 31)):
        parts = sorted([(each.start, each.end) for each in session.phases] + [(session.open, session.close)])
        assert parts[0][0].astimezone(NEW_YORK).time() == time(20)
        covered = parts[0][1]
        for start, end in parts[1:]:
            assert start <= covered, session
            covered = max(covered, end)
        assert covered == session.phases[-1].end
        assert covered - session.close == timedelta(hours=4)


def test_an_override_keeps_the_phases_that_it_does_not_touch() -> None:
    """An early close drops what touches it; phases can be given, or taken away."""
    day = date(2026, 11, 24)
    schedule = ExchangeSchedule(
        "XNYS", phases=True, night="BLUE", near=NEAR, overrides=[SpecialHours(day, close=time(13))]
    )
    assert [phase.name for phase in schedule.session_on(day).phases] == ["overnight", "pre_market", "opening_auction"]
    own = Phase("drill", ny(11, 24, 11), ny(11, 24, 12), tradable=False)
    for phases in ((), (own,)):
        override = SpecialHours(day, close=time(13), phases=phases)
        schedule = ExchangeSchedule("XNYS", phases=True, near=NEAR, overrides=[override])
        assert schedule.session_on(day).phases == phases
    with pytest.raises(OverrideRefused, match="not of a season"):
        SpecialHours(day, close=time(13), until=day + DAY, phases=(own,))
    with pytest.raises(TypeError, match="Phase values"):
        SpecialHours(day, close=time(13), phases=("drill",))


def test_a_night_needs_to_be_on_record() -> None:
    """With phases, and by its name."""
    with pytest.raises(ConfigurationError, match="on record for XNYS: BLUE"):
        ExchangeSchedule("XNYS", phases=True, night="MOON", near=NEAR)
    with pytest.raises(ConfigurationError, match="needs phases=True"):
        ExchangeSchedule("XNYS", night="BLUE", near=NEAR)


def test_an_hours_file_has_phases(tmp_path: Path) -> None:
    """The venue's, a night, and those of single days."""
    path = tmp_path / "hours.toml"
    path.write_text(
        'calendar = "XNYS"\nphases = true\nnight = "BLUE"\n[[special_hours]]\ndate = 2026-11-24\nclose = 13:00:00\n'
        'phases = [{ name = "drill", start = 2026-11-24T11:00:00-05:00, end = 2026-11-24T12:00:00-05:00, '
        "tradable = false }]\n"
    )
    schedule = ExchangeSchedule.from_file(path, near=NEAR)
    assert (schedule.phases, schedule.night) == (True, "BLUE")
    assert schedule.session_on(date(2026, 11, 24)).phases == (
        Phase("drill", ny(11, 24, 11), ny(11, 24, 12), tradable=False),
    )
    assert schedule.session_on(date(2026, 11, 25)).phases[0].name == "overnight"
    path.write_text('calendar = "XNYS"\nnight = 5\n')
    with pytest.raises(OverrideRefused, match="night must be the name of a venue"):
        ExchangeSchedule.from_file(path)


@pytest.mark.parametrize("suffix", ["toml", "json"])
def test_a_snapshot_has_phases(nights: ExchangeSchedule, tmp_path: Path, suffix: str) -> None:
    """As they were written, over both changes of the clocks; the check compares them with the installed data."""
    path = tmp_path / f"xnys.{suffix}"
    first, last = date(2026, 3, 2), date(2026, 11, 30)
    write_snapshot(nights, path, first, last)
    loaded = SnapshotSchedule.load(path)
    assert loaded.sessions(first, last) == nights.sessions(first, last)
    assert (loaded.head.phases, loaded.head.night) == (True, "BLUE")
    assert loaded.check() == ()
    write_snapshot(ExchangeSchedule("XNYS", near=NEAR), path, first, last)
    assert "phases" not in path.read_text()


def test_a_phase_without_data_is_written_too(tmp_path: Path) -> None:
    """Both flags, and a name of one's own."""
    day = date(2026, 11, 24)
    phases = tuple(
        Phase(
            f"drill_{at}", ny(11, 24, 10 + at), ny(11, 24, 11 + at), tradable=bool(at & 1), data_expected=bool(at & 2)
        )
        for at in range(4)
    )
    session = Session(day, ny(11, 24, 9, 30), ny(11, 24, 16), phases=phases)
    path = tmp_path / "own.toml"
    write_snapshot(FixedSchedule([session], timezone=NEW_YORK), path, day, day)
    assert SnapshotSchedule.load(path).session_on(day) == session
    path.write_text(path.read_text().replace("/tradable", "/tradeable"))
    with pytest.raises(ValueError, match="is not a phase"):
        SnapshotSchedule.load(path)


ROW = 'calendar = "XNYS"\nmeans = "x."\n[[phase]]\nname = "night"\nstart = "20:00-1d"\nend = "04:00"\n'
SOURCE = 'source = ["https://x"]\n'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (ROW, "[[phase]] 1: `tradable` is missing"),
        (ROW + "tradable = 1\n", "`tradable` must be true or false"),
        (ROW + "tradable = true\n" + SOURCE, "`from` is missing"),
        (ROW + "tradable = true\nfrom = 2026-01-01\n", "`source` is missing"),
        (ROW + 'tradable = true\nfrom = 2026-01-01\nsource = ["a letter"]\n', "needs the address"),
        (ROW + "tradable = true\nfrom = 2026-01-01\ndays = [2026-01-01]\n" + SOURCE, "'days' is not understood"),
        (ROW.replace("04:00", "noon") + "tradable = true\nfrom = 2026-01-01\n" + SOURCE, "'noon' is not a time"),
        (
            ROW.replace("night", "close") + "tradable = true\nfrom = 2026-01-01\n" + SOURCE,
            "cannot be the name of a phase",
        ),
    ],
)
def test_a_row_that_is_no_phase_is_refused_with_its_place(text: str, why: str) -> None:
    """As every other row is."""
    with pytest.raises(ValueError, match=r"x\.toml") as caught:
        parsed_hours("x.toml", text)
    assert why in str(caught.value)
