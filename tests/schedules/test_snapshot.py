"""Hours in a file: written, reviewed, loaded, refused, and run by without pandas."""

import contextlib
import functools
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import exchange_calendars
import hypothesis.strategies as st
import pytest
from hypothesis import given
from msgspec.structs import replace

from session_lifecycle import (
    AdjustableSchedule,
    Closure,
    Difference,
    ExchangeSchedule,
    FixedSchedule,
    NaiveDatetimeError,
    NotASession,
    OverrideRefused,
    Schedule,
    ScheduleExhausted,
    Session,
    SnapshotRefused,
    SnapshotSchedule,
    SpecialHours,
    write_snapshot,
)
from session_lifecycle._schedules.venue_hours import hours_of
from tests.helpers.builders import (
    DAY,
    MICROSECOND,
    MONDAY,
    Clock,
    at,
    session,
    utc,
    week,
)
from tests.helpers.strategies import Hours, hours

ROOT = Path(__file__).parents[2]
NEAR = utc(2025, 7, 1)
FIRST, LAST = date(2024, 1, 1), date(2026, 12, 31)
YEAR = date(2025, 1, 1), date(2025, 12, 31)


@functools.cache
def exchange(name: str = "XNYS") -> ExchangeSchedule:
    """Return a calendar as it is by default, built once."""
    return ExchangeSchedule(name, near=NEAR)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where to write."""
    return tmp_path / "hours.toml"


def again(schedule: Schedule, file: Path, first: date = FIRST, last: date = LAST) -> SnapshotSchedule:
    """Write a schedule and load it."""
    write_snapshot(schedule, file, first, last)
    return SnapshotSchedule.load(file)


def days_of(file: Path) -> list[str]:
    """Return the lines of a TOML snapshot's sessions."""
    lines: list[str] = tomllib.loads(file.read_text(encoding="utf-8"))["sessions"].splitlines()
    return lines


# ---- the same sessions ----


@pytest.mark.parametrize("suffix", [".toml", ".json"])
@pytest.mark.parametrize(
    "name",
    [
        "XNYS",  # half days
        "CMES",  # opens on the evening before, and is corrected
        "XHKG",  # a lunch, and half days without
        "24/7",  # closes on the day after, in UTC
    ],
)
def test_what_is_loaded_is_what_was_written(name: str, suffix: str, tmp_path: Path) -> None:
    """Session by session, breaks and the weeks around a change of clocks included."""
    schedule = exchange(name)
    loaded = again(schedule, tmp_path / f"hours{suffix}")
    assert loaded.sessions(FIRST, LAST) == schedule.sessions(FIRST, LAST)
    assert (loaded.name, loaded.timezone, loaded.known_until) == (name, schedule.timezone, LAST)
    assert (loaded.head.corrections, loaded.head.extended_hours) == (True, False)
    assert loaded.head.made_from.keys() == {"exchange_calendars", "pandas", "session_lifecycle"}


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_five_years_of_every_calendar(tmp_path: Path) -> None:
    """The same for all of them, with and without corrections."""
    total = 0
    for name in exchange_calendars.get_calendar_names(include_aliases=False):
        first, last = date(2022, 1, 1), LAST
        for corrections in (True, False) if hours_of(name).rows else (True,):
            schedule = ExchangeSchedule(name, near=NEAR, corrections=corrections)
            for suffix in (".toml", ".json"):
                loaded = again(schedule, tmp_path / f"hours{suffix}", first, last)
                assert loaded.sessions(first, last) == schedule.sessions(first, last), name
            total += len(loaded.sessions(first, last))
    assert total > 90_000


def test_overrides_are_in_it_and_told(file: Path) -> None:
    """Their hours like any others, and in the head what they are, for whoever reviews it."""
    schedule = ExchangeSchedule(
        "XNYS",
        overrides=[
            Closure(date(2025, 3, 11), 'a "storm"\n'),
            SpecialHours(date(2025, 3, 12), open=time(10, 30, 15)),
            SpecialHours(date(2025, 3, 15), open=time(10), close=time(12), breaks=((time(10, 30), time(11)),)),
        ],
        near=NEAR,
    )
    loaded = again(schedule, file)
    assert loaded.sessions(FIRST, LAST) == schedule.sessions(FIRST, LAST)
    assert loaded.head.overrides == (
        '2025-03-11 closed: a "storm"\n',
        "2025-03-12 special hours",
        "2025-03-15 special hours",
    )
    assert "2025-03-12 open=10:30:15" in days_of(file)
    assert "2025-03-15 open=10:00 close=12:00 breaks=10:30/11:00" in days_of(file)


@given(drawn=hours(), zone=st.sampled_from(["UTC", "America/Phoenix", "Asia/Hong_Kong"]), as_json=st.booleans())
def test_whatever_the_sessions_they_come_back(
    tmp_path_factory: pytest.TempPathFactory, drawn: Hours, zone: str, as_json: bool
) -> None:
    """Of any length, to the microsecond, with facts and breaks; in a zone whose clocks do not change."""
    schedule = FixedSchedule(drawn.sessions, name='a "venue"', timezone=ZoneInfo(zone))
    file = tmp_path_factory.getbasetemp() / f"drawn.{'json' if as_json else 'toml'}"
    first, last = drawn.sessions[0].date, drawn.sessions[-1].date
    write_snapshot(schedule, file, first, last)
    loaded = SnapshotSchedule.load(file)
    assert loaded.sessions(first, last) == drawn.sessions
    assert loaded.name == schedule.name


def test_a_venue_in_utc_needs_no_name_of_its_zone(file: Path) -> None:
    """A `FixedSchedule` has the plain UTC by default, and was made from no calendar."""
    loaded = again(week(), file, MONDAY, MONDAY + 6 * DAY)
    assert loaded.sessions(MONDAY, MONDAY + 6 * DAY) == week().sessions(MONDAY, MONDAY + 6 * DAY)
    assert loaded.head.made_from.keys() == {"session_lifecycle"}
    assert not loaded.head.corrections


def test_a_snapshot_of_a_snapshot_says_what_the_first_was_made_from(tmp_path: Path) -> None:
    """So that one can be shortened, or turned into JSON."""
    storms = [Closure(date(2025, 3, 11), "a storm"), Closure(date(2026, 3, 11))]
    first = again(ExchangeSchedule("XNYS", overrides=storms, near=NEAR), tmp_path / "hours.toml")
    second = again(first, tmp_path / "hours.json", *YEAR)
    assert second.sessions(*YEAR) == first.sessions(*YEAR)
    assert second.head == replace(first.head, first=YEAR[0], last=YEAR[1], overrides=("2025-03-11 closed: a storm",))


# ---- the file ----


def test_a_changed_early_close_is_one_changed_line(file: Path) -> None:
    """In the diff that a reviewer looks at, in TOML and in JSON."""
    day = date(2025, 11, 28)
    for suffix in (".toml", ".json"):
        told: list[list[str]] = []
        for close in (18, 17):
            early = replace(exchange().session_on(day), close=utc(2025, 11, 28, close, 15))
            write_snapshot(exchange().with_session(day, early), file.with_suffix(suffix), *YEAR)
            told.append(file.with_suffix(suffix).read_text(encoding="utf-8").splitlines())
        [(was, has_become)] = [(a, b) for a, b in zip(*told, strict=True) if a != b]
        assert was.strip(' ",') == "2025-11-28 close=13:15"
        assert has_become.strip(' ",') == "2025-11-28 close=12:15"


def test_regular_days_are_bare_dates(file: Path) -> None:
    """So that a day which is not regular is seen."""
    again(exchange(), file)
    assert 'regular = "open=09:30 close=16:00"' in file.read_text(encoding="utf-8")
    special = [line for line in days_of(file) if len(line) > 10]
    assert {line[10:] for line in special} == {" close=13:00"}
    assert len(special) == 8


def test_an_evening_before_is_told_as_such(file: Path) -> None:
    """The futures of Chicago open at 17:00 on the day before their date."""
    again(exchange("CMES"), file)
    assert 'regular = "open=17:00-1d close=16:00"' in file.read_text(encoding="utf-8")


def test_a_desk_may_write_comments_and_blank_lines(file: Path) -> None:
    """Also a byte order mark, and the line endings of another system."""
    write_snapshot(exchange(), file, FIRST, LAST)
    text = file.read_text(encoding="utf-8").replace(
        "\n2025-03-11\n", "\n\n# a storm, see the mail of the 10th\n2025-03-11 close=13:00 # or so\n"
    )
    file.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    loaded = SnapshotSchedule.load(file)
    assert loaded.session_on(date(2025, 3, 11)).close == utc(2025, 3, 11, 17)
    assert loaded.session_on(date(2025, 3, 12)).close == utc(2025, 3, 12, 20)


def test_the_regular_hours_are_the_later_ones_of_those_as_frequent(file: Path) -> None:
    """What is added to the file later will have those."""
    early, late = (
        [session(MONDAY + n * DAY) for n in (0, 1)],
        [session(MONDAY + n * DAY, close=(22, 0)) for n in (2, 3)],
    )
    again(FixedSchedule([*early, *late]), file, MONDAY, MONDAY + 6 * DAY)
    assert days_of(file) == ["2024-03-04 close=21:00", "2024-03-05 close=21:00", "2024-03-06", "2024-03-07"]


# ---- what is refused ----


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The text of a good file of each kind."""
    found: dict[str, str] = {}
    for suffix in ("toml", "json"):
        file = tmp_path_factory.mktemp("good") / f"hours.{suffix}"
        write_snapshot(exchange(), file, *YEAR)
        found[suffix] = file.read_text(encoding="utf-8")
    return found


DAY_BEFORE, A_DAY = "2025-03-10", "2025-03-11"


@pytest.mark.parametrize("suffix", ["toml", "json"])
@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("2025-03-10", "2025-03-10 does not come after 2025-03-10"),
        ("2025-03-09", "2025-03-09 does not come after 2025-03-10"),
        ("2027-03-11", "2027-03-11 does not lie between `first` (2025-01-01) and `last` (2025-12-31)"),
        ("2025-3-11", "'2025-3-11' is not a date, such as 2026-11-27"),
        ("2025-W11-2", "'2025-W11-2' is not a date"),
        ("2025-02-30", "'2025-02-30' is not a date, such as 2026-11-27"),
        ("2025-03-11close=13:00", "must follow the date after a space"),
        ("2025-03-11 close=1pm", "'1pm' is not a time, such as 16:00, or 17:00-1d for the evening before"),
        ("2025-03-11 close=24:00", "'24:00' is not a time"),
        ("2025-03-11 close=٠٩:٠٠", "is not a time"),
        ("2025-03-11 close=none", "'none' is not a time"),
        ("2025-03-11 closes=13:00", "'closes=13:00' is not understood; there can be open=..., close=..., breaks=..."),
        ("2025-03-11 close", "'close' is not understood"),
        ("2025-03-11 close=13:00 close=14:00", "close is given twice"),
        ("2025-03-11 breaks=12:00", "'12:00' is not a break, such as 12:00/13:00"),
        ("2025-03-11 close=08:00", "must come before close"),
        ("2025-03-11 breaks=08:00/12:00", "must come before break start"),
        ("2025-03-11 open=15:00-1d", "session 2025-03-11 opens before session 2025-03-10 has closed"),
        ("2025-03-11 open=17:00-2d", "session 2025-03-11 opens before session 2025-03-10 has closed"),
        ("2025-03-11 open=02:30-2d", "02:30-2d is skipped or occurs twice on that day, because the clocks change"),
    ],
)
def test_a_bad_line_is_named(good: dict[str, str], suffix: str, line: str, why: str, tmp_path: Path) -> None:
    """With the file, its number and itself; `.json` is no different."""
    file, text = tmp_path / f"hours.{suffix}", good[suffix]
    assert text.count(A_DAY) == 1
    file.write_text(text.replace(A_DAY, line), encoding="utf-8")
    if "open=02:30" in line:  # so that the session before is not in the way
        file.write_text(text.replace(DAY_BEFORE, "2025-03-08").replace(A_DAY, line), encoding="utf-8")
    with pytest.raises(SnapshotRefused) as refused:
        SnapshotSchedule.load(file)
    number = 1 + text[: text.index(A_DAY)].count("\n")
    assert (refused.value.path, refused.value.place) == (str(file), f"line {number} ({line!r})")
    assert why in refused.value.why
    assert "fix that line" in str(refused.value)


def set_to(**entries: object) -> Callable[[dict[str, Any]], object]:
    return lambda value: value.update(entries)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (set_to(format=2), "its format is 2, and this release of session_lifecycle reads format 1"),
        (set_to(format=True), "`format` must be a whole number, not True"),
        (lambda value: value.pop("calendar"), "`calendar` is missing"),
        (set_to(calendar=7), "`calendar` must be a name, not 7"),
        (set_to(first="soon"), "'soon' is not a date"),
        (set_to(first="2027-01-01"), "`first` (2027-01-01) lies after `last` (2025-12-31)"),
        (set_to(corrections=1), "`corrections` must be true or false, not 1"),
        (set_to(overrides=["a storm"]), "'a storm' is not a date"),
        (set_to(overrides=[7]), "`overrides` must have a text for each override, not 7"),
        (set_to(made_from={"pandas": 3}), "`made_from`: pandas must be a version, not 3"),
        (set_to(timezone="New York"), "there is no time zone 'New York' on this machine"),
        (set_to(timezone="../zone"), "there is no time zone '../zone'"),
        (set_to(regular="open=9"), "'9' is not a time"),
        (set_to(regular="open=09:30"), "close is missing here and in `regular`"),
        (set_to(sessions=[]), "it has no session"),
        (set_to(sessions=[20250311]), "`sessions` must have a text for each session"),
        (set_to(sessions={}), "`sessions` must be a line for each session, not {}"),
        (set_to(opening="09:30"), "'opening' is not understood"),
    ],
)
def test_a_bad_head_is_named(
    good: dict[str, str], spoil: Callable[[dict[str, Any]], object], why: str, tmp_path: Path
) -> None:
    """What is missing, of the wrong kind, or unknown: nothing is guessed, and nothing ignored."""
    value, file = json.loads(good["json"]), tmp_path / "hours.json"
    spoil(value)
    file.write_text(json.dumps(value), encoding="utf-8")
    with pytest.raises(SnapshotRefused) as refused:
        SnapshotSchedule.load(file)
    assert why in str(refused.value)
    assert str(refused.value).startswith(str(file))


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[", b"\xff", b"a = ", b'{"a":' * 100_000, b"sessions = '''\n2025-01-02"]
)
def test_what_is_no_file_of_this_kind_is_refused(content: bytes, file: Path) -> None:
    """Empty, torn, or something else."""
    file.write_bytes(content)
    with pytest.raises(SnapshotRefused, match="snapshot"):
        SnapshotSchedule.load(file)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """With the system's own error as the cause."""
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(SnapshotRefused, match="it cannot be read") as refused:
            SnapshotSchedule.load(path)
        assert isinstance(refused.value.__cause__, OSError)


@given(data=st.data())
def test_no_damage_raises_anything_else(
    good: dict[str, str], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """A line of the file replaced by anything, or lost: it is refused, or another schedule that holds together."""
    suffix = data.draw(st.sampled_from(sorted(good)))
    rows = good[suffix].splitlines()
    at_row = data.draw(st.integers(0, 30))
    rows[at_row] = data.draw(st.text(max_size=12) | st.sampled_from(rows[:30]) | st.just(rows[at_row][:-2]))
    file = tmp_path_factory.getbasetemp() / f"damaged.{suffix}"
    file.write_text("\n".join(rows), encoding="utf-8", errors="replace")
    with contextlib.suppress(SnapshotRefused):
        loaded = SnapshotSchedule.load(file)
        FixedSchedule(loaded.sessions(loaded.head.first, loaded.head.last))


# ---- writing ----


def test_a_file_that_exists_keeps_its_permissions_and_a_link_stays_one(tmp_path: Path) -> None:
    """A new one has those that the process gives to any file."""
    if os.name == "nt":
        pytest.skip("permissions and links are those of POSIX")
    target, link, fresh = (tmp_path / name for name in ("target.toml", "link.toml", "fresh.toml"))
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)
    before = os.umask(0o027)
    try:
        for path in (link, fresh):
            write_snapshot(week(), path, MONDAY, MONDAY + DAY)
    finally:
        os.umask(before)
    assert link.is_symlink()
    assert SnapshotSchedule.load(target).known_until == MONDAY + DAY
    assert [path.stat().st_mode & 0o777 for path in (target, fresh)] == [0o640, 0o640]
    assert {path.name for path in tmp_path.iterdir()} == {"target.toml", "link.toml", "fresh.toml"}


def test_a_write_that_fails_leaves_the_old_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole, and nothing beside it."""
    file.write_text("old")

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SnapshotRefused, match=r"it cannot be written \(No space left on device\)"):
        write_snapshot(week(), file, MONDAY, MONDAY + DAY)
    assert file.read_text() == "old"
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """Each with its reason, before anything is written."""
    summer = date(2024, 11, 3)
    twice = FixedSchedule(
        [Session(summer, utc(2024, 11, 3, 5, 30), utc(2024, 11, 3, 20))], timezone=ZoneInfo("US/Eastern")
    )
    for schedule, name, first, why in (
        (
            week(),
            "hours.txt",
            MONDAY,
            "a snapshot is TOML or JSON. Nothing was changed; use the suffix .toml or",
        ),
        (week(), "hours.toml", MONDAY + 5 * DAY, "it would have no session"),
        (twice, "hours.toml", summer, "01:30 of 2024-11-03 occurs twice in US/Eastern"),
        (week(), "none/hours.toml", MONDAY, "it cannot be written (No such file or directory)"),
    ):
        with pytest.raises(SnapshotRefused) as refused:
            write_snapshot(schedule, tmp_path / name, first, first + DAY)
        assert why in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_a_time_zone_without_a_name_cannot_be_found_again(file: Path) -> None:
    """A fixed offset, say: the file would have nothing to write."""
    venue = FixedSchedule(week().sessions(MONDAY, MONDAY), timezone=timezone(timedelta(hours=1)))
    with pytest.raises(SnapshotRefused, match="has no name that a file can refer to"):
        write_snapshot(venue, file, MONDAY, MONDAY)


def test_days_that_the_schedule_does_not_know_are_not_written(file: Path) -> None:
    """The calendar of Shanghai ends with 2026."""
    with pytest.raises(ScheduleExhausted):
        write_snapshot(exchange("XSHG"), file, FIRST, date(2027, 12, 31))
    assert not file.exists()


# ---- the questions ----


@pytest.fixture
def loaded(file: Path) -> SnapshotSchedule:
    """Monday to Friday, of three weeks that are known."""
    return again(week(), file, MONDAY, MONDAY + 6 * DAY)


def test_it_answers_as_the_calendar_does(tmp_path: Path) -> None:
    """Around every instant of a spring, for a venue that opens on the evening before."""
    schedule = exchange("CMES")
    loaded = again(schedule, tmp_path / "hours.json", *YEAR)
    assert isinstance(loaded, AdjustableSchedule)
    for each in schedule.sessions(date(2025, 2, 1), date(2025, 4, 30)):
        for instant in (each.open, each.close):
            for shift in (-MICROSECOND, timedelta(0), MICROSECOND):
                assert loaded.session_at(instant + shift) == schedule.session_at(instant + shift)
        assert loaded.session_on(each.date) == each
        for day in (each.date, each.date + DAY):
            assert loaded.next_session(day) == schedule.next_session(day)
            assert loaded.previous_session(day) == schedule.previous_session(day)


def test_a_date_without_a_session_names_the_nearest(loaded: SnapshotSchedule) -> None:
    """A Saturday lies between Friday and, here, nothing."""
    with pytest.raises(NotASession) as refused:
        loaded.session_on(MONDAY + 5 * DAY)
    assert refused.value.near == (MONDAY + 4 * DAY,)
    assert loaded.sessions(MONDAY + 5 * DAY, MONDAY + 6 * DAY) == ()
    assert loaded.sessions(MONDAY + 1 * DAY, MONDAY) == ()


def test_beyond_its_days_it_knows_nothing(loaded: SnapshotSchedule) -> None:
    """That is never "closed": the error names the last session that is known."""
    friday_close = at(MONDAY + 4 * DAY, (21, 0))
    for ask in (
        lambda: loaded.session_at(friday_close),
        lambda: loaded.session_at(at(MONDAY - DAY, (12, 0))),
        lambda: loaded.session_on(MONDAY + 7 * DAY),
        lambda: loaded.session_on(MONDAY - DAY),
        lambda: loaded.next_session(MONDAY + 4 * DAY),
        lambda: loaded.next_session(MONDAY - 2 * DAY),
        lambda: loaded.previous_session(MONDAY),
        lambda: loaded.previous_session(MONDAY + 8 * DAY),
        lambda: loaded.sessions(MONDAY, MONDAY + 7 * DAY),
        lambda: loaded.sessions(MONDAY - DAY, MONDAY),
        lambda: loaded.with_session(MONDAY + 7 * DAY, None),
    ):
        with pytest.raises(ScheduleExhausted) as error:
            ask()
        assert (error.value.first, error.value.last) == (MONDAY, MONDAY + 4 * DAY)
        assert str(error.value).endswith("Recreate the snapshot, with the days that are needed")
    assert loaded.session_at(friday_close - MICROSECOND).date == MONDAY + 4 * DAY
    assert loaded.session_at(at(MONDAY, (0, 0))).date == MONDAY
    assert loaded.next_session(MONDAY - DAY).date == MONDAY
    assert loaded.previous_session(MONDAY + 7 * DAY).date == MONDAY + 4 * DAY
    assert loaded.known_until == MONDAY + 6 * DAY


def test_questions_of_the_wrong_kind_are_refused(loaded: SnapshotSchedule) -> None:
    """A naive instant, and a datetime where a date is asked for."""
    with pytest.raises(NaiveDatetimeError):
        loaded.session_at(datetime(2024, 3, 4, 12))  # noqa: DTZ001 -- no time zone is the point
    for ask in (loaded.session_on, loaded.next_session, loaded.previous_session):
        with pytest.raises(TypeError):
            ask(at(MONDAY, (12, 0)))


def early(day: date, close: Clock = (18, 0)) -> Session:
    return session(day, close=close)


def test_another_session_on_a_date_is_another_schedule(loaded: SnapshotSchedule) -> None:
    """One is replaced, one added and one taken away; the first schedule is as it was."""
    tuesday, saturday, wednesday = MONDAY + DAY, MONDAY + 5 * DAY, MONDAY + 2 * DAY
    before = loaded.sessions(MONDAY, MONDAY + 6 * DAY)
    other = loaded.with_session(tuesday, early(tuesday)).with_session(saturday, early(saturday))
    other = other.with_session(wednesday, None)
    expected = week().with_session(tuesday, early(tuesday)).with_session(saturday, early(saturday))
    assert other.sessions(MONDAY, MONDAY + 6 * DAY) == expected.with_session(wednesday, None).sessions(
        MONDAY, MONDAY + 6 * DAY
    )
    assert loaded.sessions(MONDAY, MONDAY + 6 * DAY) == before
    assert repr(other) == "<SnapshotSchedule 'fixed', knows 2024-03-04 to 2024-03-10, 5 sessions>"


def test_a_session_that_runs_into_a_neighbour_is_refused(loaded: SnapshotSchedule, file: Path) -> None:
    """On either side; and a schedule without any session is none."""
    tuesday = MONDAY + DAY
    for clash in (
        replace(session(tuesday), open=at(MONDAY, (20, 0))),
        replace(session(tuesday), close=at(MONDAY + 2 * DAY, (15, 0))),
    ):
        with pytest.raises(OverrideRefused, match="would overlap"):
            loaded.with_session(tuesday, clash)
    with pytest.raises(OverrideRefused, match="no session left"):
        again(week(), file, MONDAY, MONDAY).with_session(MONDAY, None)


# ---- held against the installed calendar ----


def test_check_tells_where_the_calendar_no_longer_agrees(file: Path) -> None:
    """A line that somebody has edited, one that is lost; what overrides decided is left out, or held with them."""
    storm = Closure(date(2025, 3, 11), "a storm")
    schedule = ExchangeSchedule("XNYS", overrides=[storm], near=NEAR)
    loaded = again(schedule, file, *YEAR)
    assert loaded.check() == loaded.check([storm]) == ()
    [missing] = loaded.check([])
    assert (missing.date, missing.a) == (storm.date, None)

    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("2025-11-28 close=13:00", "2025-11-28").replace("2025-12-24 close=13:00\n", ""))
    black_friday, christmas_eve = SnapshotSchedule.load(file).check()
    assert isinstance(black_friday, Difference)
    assert black_friday.in_words(schedule.timezone) == "2025-11-28: close 16:00 EST / 13:00 EST"
    assert christmas_eve.in_words(schedule.timezone) == "2025-12-24: no session / 09:30 EST to 13:00 EST"


def test_check_builds_the_calendar_as_the_file_says(tmp_path: Path) -> None:
    """With corrections and extended hours, or without."""
    for name, options in (("CMES", {"corrections": False}), ("XNYS", {"extended_hours": True})):
        schedule = ExchangeSchedule(name, near=NEAR, **options)
        loaded = again(schedule, tmp_path / "hours.json", *YEAR)
        assert loaded.sessions(*YEAR) == schedule.sessions(*YEAR)
        assert loaded.check() == ()
    other = json.loads((tmp_path / "hours.json").read_text()) | {"extended_hours": False}
    (tmp_path / "hours.json").write_text(json.dumps(other))
    assert len(SnapshotSchedule.load(tmp_path / "hours.json").check()) > 200


# ---- without pandas ----

PLAIN = """
import asyncio, sys
from datetime import date, datetime, timedelta, time, UTC
from session_lifecycle import (
    HorizonNear, LifecycleConfig, SessionBoundaryManager, SessionState, SnapshotSchedule, SpecialHours
)
from session_lifecycle.testing import SimulatedClock

rolled = []

async def roll_session(next_date):
    rolled.append(next_date)

async def main():
    schedule = SnapshotSchedule.load(sys.argv[1])
    clock = SimulatedClock(datetime(2026, 11, 25, 16, tzinfo=UTC))
    manager = SessionBoundaryManager(schedule, roll_session, clock=clock, config=LifecycleConfig(data_timeout=None))
    near = []

    @manager.on(HorizonNear)
    async def tell(event):
        near.append(event.known_until)

    async with manager:
        await manager.apply(SpecialHours(date(2026, 11, 25), close=time(12)))
        await clock.advance(timedelta(hours=2))
        assert manager.session.date == date(2026, 11, 27), manager.session
        await clock.advance(timedelta(days=60))
        assert manager.state is SessionState.ERROR
        print(manager.status().reason)
    assert len(rolled) == 24 and set(near) == {date(2026, 12, 31)}, (rolled, near)

asyncio.run(main())
heavy = {"pandas", "numpy", "exchange_calendars"} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.parametrize("suffix", [".toml", ".json"])
def test_a_manager_runs_to_the_end_of_a_snapshot_without_pandas(suffix: str, tmp_path: Path) -> None:
    """It rolls, its hours are changed, the end is told and is an ERROR; not one heavy package is loaded."""
    file = tmp_path / f"hours{suffix}"
    write_snapshot(exchange(), file, FIRST, LAST)
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, str(file)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "XNYS knows sessions from 2024-01-02 to 2026-12-31 only" in done.stdout
