"""Files of hours that were written to do harm: refused, with the file and the reason, in little time and memory."""

import datetime as dt
import json
import time
import tracemalloc
from collections.abc import Generator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from session_lifecycle import (
    ExchangeSchedule,
    FixedSchedule,
    LifecycleError,
    OverrideRefused,
    Session,
    SnapshotRefused,
    SnapshotSchedule,
    write_snapshot,
)
from session_lifecycle._schedules.text_files import MOST_BYTES

HEAD = {
    "format": 1,
    "calendar": "X",
    "timezone": "UTC",
    "first": "2030-01-01",
    "last": "2030-12-31",
    "corrections": False,
    "extended_hours": False,
    "overrides": [],
    "made_from": {},
    "regular": "open=09:30 close=16:00",
    "sessions": ["2030-01-02", "2030-01-03"],
}
DEEP_JSON = '{"a":' + "[" * 100_000 + "]" * 100_000 + "}"
DEEP_TOML = "a = " + "[" * 100_000 + "]" * 100_000
DEEP_TABLE = "a = " + "{b = " * 50_000 + "1" + "}" * 50_000
LONG_KEY = ".".join("a" * 30_000) + " = 1"
LONG_HEADER = "[" + ".".join("a" * 30_000) + "]"
HUGE = "0x" + "F" * 1_000_000


@pytest.fixture
def bounded() -> Generator[None]:
    """Fail where a test takes more than a few seconds, or a hundred times the largest file."""
    tracemalloc.start()
    began = time.monotonic()
    yield
    took, (_, most) = time.monotonic() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert took < 20
    assert most < 100 * MOST_BYTES


def with_head(**changes: object) -> str:
    return json.dumps({**HEAD, **changes})


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param(DEEP_JSON, "it is nested too deeply", id="deep JSON"),
        pytest.param(DEEP_TOML, "it is nested too deeply", id="deep TOML"),
        pytest.param(DEEP_TABLE, "it is nested too deeply", id="deep tables"),
        pytest.param(LONG_KEY, "line 1 has more than 100 dots", id="long key"),
        pytest.param(LONG_HEADER, "line 1 has more than 100 dots", id="long header"),
        pytest.param("#" * MOST_BYTES + "\n", "it has more than 4 MiB", id="large"),
        pytest.param('{"format": ' + "9" * 10_000 + "}", "neither TOML nor JSON", id="many digits"),
        pytest.param(f"format = {HUGE}", "its format is a value of the type int", id="huge"),
        pytest.param(f"format = [{HUGE}]", "a whole number, not [a value of the type int]", id="huge in a list"),
        pytest.param(with_head(format=[[[[[[[[1]]]]]]]]), "`format` must be a whole number, not [[", id="nested"),
        pytest.param(with_head(calendar={"a": ["x"] * 9_999}), "must be a name, not {'a': ['x', ", id="wide"),
        pytest.param(with_head(overrides=[["2030-01-01"]]), "`overrides` must have a text", id="override"),
        pytest.param(with_head(first="0001-01-01"), "must lie between 1000-01-01 and 8999-12-31", id="year 1"),
        pytest.param(with_head(last="9999-12-31"), "must lie between 1000-01-01 and 8999-12-31", id="year 9999"),
        pytest.param(
            with_head(regular="open=09:30 breaks=" + ",".join(["10:00/10:01"] * 25)), "25 breaks", id="breaks"
        ),
        pytest.param(with_head(sessions=["2030-01-02 " + "x" * 1_000_000]), "is not understood", id="long line"),
        pytest.param(with_head(timezone="x" * 1_000_000), "there is no time zone 'xxx", id="long zone"),
        pytest.param(with_head(timezone="a\0b"), "there is no time zone", id="zone with NUL"),
        pytest.param(with_head(**{"k" * 1_000_000: 1}), "is not understood", id="long name"),
        pytest.param(with_head(**{f"k{n}": n for n in range(100_000)}), "'k0', 'k1'", id="many names"),
    ],
)
def test_fault_68_a_crafted_snapshot_is_refused(tmp_path: Path, text: str, why: str) -> None:
    """The message is short, whatever it quotes."""
    path = tmp_path / "hours"
    path.write_text(text)
    with pytest.raises(SnapshotRefused) as refused:
        SnapshotSchedule.load(path)
    assert why in str(refused.value)
    assert str(path) in str(refused.value)
    assert len(str(refused.value)) < 1_000


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(DEEP_TOML, id="deep"),
        pytest.param(DEEP_TABLE, id="deep tables"),
        pytest.param(LONG_KEY, id="long key"),
        pytest.param("#" * MOST_BYTES + "\n", id="large"),
        pytest.param(f"calendar = {HUGE}", id="huge"),
        pytest.param(f'calendar = "XNYS"\ncorrections = {HUGE}', id="huge switch"),
        pytest.param(f'calendar = "XNYS"\n[[closure]]\ndate = 2030-01-02\nreason = {HUGE}', id="huge reason"),
        pytest.param(f'calendar = "XNYS"\n"{"k" * 1_000_000}" = 1', id="long name"),
        *(
            pytest.param(f'calendar = "XNYS"\n[[special_hours]]\ndate = {day}\n{hours}', id=f"{day} {hours}")
            for day, hours in [
                ("2030-01-02", "open = 0001-01-01T00:00:00+14:00"),
                ("2030-01-02", "close = 9999-12-31T23:59:59-14:00"),
                ("2030-01-02", "close = 9999-12-31T09:59:59-14:00"),
                ("0001-01-01", "open = 00:00:00\nclose = 01:00:00"),
                ("9999-12-31", "open = 22:00:00\nclose = 23:59:59"),
                ("2030-01-02", "breaks = [[[[[[1]]]]]]"),
                ("2030-01-02", 'breaks = "ab"'),
                ("2030-01-02", "breaks = 5"),
            ]
        ),
    ],
)
def test_fault_68_a_crafted_file_of_overrides_is_refused(tmp_path: Path, text: str) -> None:
    """By one error that names the file, and is short."""
    path = tmp_path / "hours.toml"
    path.write_text(text)
    with pytest.raises(OverrideRefused) as refused:
        ExchangeSchedule.from_file(path)
    assert str(path) in str(refused.value)
    assert len(str(refused.value)) < 1_500


@pytest.mark.parametrize(
    ("zone", "skipped", "regular"),
    [
        ("Pacific/Apia", date(2011, 12, 30), "open=06:30 close=16:00"),
        ("Pacific/Fakaofo", date(2011, 12, 30), "open=10:00 close=10:30"),
        ("Pacific/Kwajalein", date(1993, 8, 21), "open=06:00 close=17:30"),
        ("Pacific/Kiritimati", date(1994, 12, 31), "open=14:00 close=17:30"),
        ("Asia/Manila", date(1844, 12, 31), "open=07:00 close=21:30"),
    ],
)
def test_fault_68_a_day_that_a_zone_has_skipped_is_no_session_of_its_own(
    tmp_path: Path, zone: str, skipped: date, regular: str
) -> None:
    """As instants its hours are those of a neighbour. Without that day the file is a schedule."""
    path, day = tmp_path / "hours.json", timedelta(days=1)
    days = [skipped + n * day for n in range(-2, 3)]
    span = {"timezone": zone, "first": f"{days[0]}", "last": f"{days[-1]}", "regular": regular}
    path.write_text(with_head(**span, sessions=[f"{each}" for each in days]))
    with pytest.raises(SnapshotRefused, match="opens before session"):
        SnapshotSchedule.load(path)
    path.write_text(with_head(**span, sessions=[f"{each}" for each in days if each != skipped]))
    assert [each.date for each in SnapshotSchedule.load(path).sessions(days[0], days[-1])] == [
        each for each in days if each != skipped
    ]


HOURS = st.builds(
    "{:02}:{:02}{}".format,
    st.integers(0, 23),
    st.sampled_from((0, 30, 59)),
    st.sampled_from(("", "", "", "-1d", "+1d", "-9d", "+99d")),
)
NEAR = st.sampled_from(
    [
        ("Pacific/Apia", date(2011, 12, 30)),
        ("Pacific/Kwajalein", date(1993, 8, 21)),
        ("Europe/Athens", date(1979, 4, 1)),
        ("America/New_York", date(2030, 3, 10)),
        ("America/New_York", date(2030, 11, 3)),
        ("Europe/London", date(1968, 2, 18)),
        ("America/New_York", date(8999, 12, 28)),
        ("America/New_York", date(9999, 12, 28)),
        ("Pacific/Kiritimati", date(1000, 1, 4)),
    ]
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(NEAR, HOURS, HOURS, st.lists(st.none() | HOURS, min_size=7, max_size=7))
def test_fault_68_what_is_accepted_is_a_schedule(
    tmp_path: Path, near: tuple[str, date], opens: str, closes: str, own: list[str | None]
) -> None:
    """Its sessions are in order and apart, and no question about its days raises."""
    zone, middle = near
    first, last = middle - timedelta(days=3), middle + timedelta(days=3)
    lines = [f"{first + timedelta(days=n)}{'' if close is None else f' close={close}'}" for n, close in enumerate(own)]
    path = tmp_path / "hours.json"
    span = {"timezone": zone, "first": f"{first}", "last": f"{last}", "regular": f"open={opens} close={closes}"}
    path.write_text(with_head(**span, sessions=lines))
    try:
        schedule = SnapshotSchedule.load(path)
    except SnapshotRefused:
        return
    sessions = schedule.sessions(first, last)
    assert len(sessions) == len(lines)
    assert FixedSchedule(sessions).sessions(first, last) == sessions
    assert [schedule.session_at(each.open) for each in sessions] == [*sessions]


def test_fault_68_what_could_not_be_loaded_is_not_written(tmp_path: Path) -> None:
    """Days at the ends of time, and more breaks than a file may have."""
    opened = datetime(2030, 1, 2, 9, tzinfo=UTC)
    minute = timedelta(minutes=1)
    breaks = tuple((opened + n * 2 * minute, opened + (n * 2 + 1) * minute) for n in range(1, 26))
    broken = FixedSchedule([Session(opened.date(), opened, opened + timedelta(hours=8), breaks)])
    with pytest.raises(SnapshotRefused, match="25 breaks"):
        write_snapshot(broken, tmp_path / "a.toml", opened.date(), opened.date())
    far = datetime(9500, 1, 2, 9, tzinfo=UTC)
    late = FixedSchedule([Session(far.date(), far, far + timedelta(hours=8))])
    with pytest.raises(SnapshotRefused, match="must lie between"):
        write_snapshot(late, tmp_path / "a.toml", far.date(), far.date())
    assert not list(tmp_path.iterdir())


def test_a_day_on_which_the_clocks_change_is_as_good_as_any(tmp_path: Path) -> None:
    """Ordinary hours around both changes of a year, by day and overnight, are what they are without a file."""
    zone, path = ZoneInfo("America/New_York"), tmp_path / "hours.json"
    for regular, n in (("open=09:30 close=16:00", 0), ("open=18:00-1d close=17:00", -1)):
        for day in (date(2030, 3, 10), date(2030, 11, 3)):
            days = [day + timedelta(days=each) for each in range(-2, 3)]
            span = {"timezone": zone.key, "first": f"{days[0]}", "last": f"{days[-1]}", "regular": regular}
            path.write_text(with_head(**span, sessions=[f"{each}" for each in days]))
            opens = [each.open for each in SnapshotSchedule.load(path).sessions(days[0], days[-1])]
            hour = dt.time.fromisoformat(regular[5:10])
            assert opens == [datetime.combine(each + timedelta(days=n), hour, zone).astimezone(UTC) for each in days]


def test_every_refusal_is_one_of_the_library_s() -> None:
    """So that one `except` serves."""
    assert issubclass(SnapshotRefused, LifecycleError)
    assert issubclass(OverrideRefused, LifecycleError)
