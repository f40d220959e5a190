"""`doctor`: what it checks, what it says to do, and that it finds what is wrong."""

import json
import sys
import tomllib
import zoneinfo
from datetime import date, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from session_lifecycle import (
    CalendarUnavailable,
    ExchangeSchedule,
    FixedSchedule,
    NotASession,
    SnapshotSchedule,
    write_snapshot,
)
from session_lifecycle._cli import (
    findings,
)
from session_lifecycle._cli import (
    venues as common,
)
from session_lifecycle._cli.commands import doctor
from session_lifecycle._cli.commands.doctor import DoctorReport
from session_lifecycle._cli.findings import Finding
from session_lifecycle._schedules import other_sources
from tests.helpers.builders import DAY, MONDAY, utc, week
from tests.helpers.command_line import as_json, hold_shape, printed, refused, run

NOW = utc(2026, 11, 25, 17)
# time-machine 2 moves the monotonic clock as well: it stands still, which doctor rightly reports.
wall_clock_alone = pytest.mark.skipif(
    int(version("time-machine").split(".")[0]) < 3, reason="time-machine 2 moves the monotonic clock as well"
)

TODAY = NOW.date()
PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REQUIRED = [*PROJECT["dependencies"], *(f"{each}; extra == 'cli'" for each in PROJECT["optional-dependencies"]["cli"])]
"""What the metadata of an installed package says, whatever is installed here."""


def only(found: Any) -> Finding:
    """Return the one finding that there is."""
    [finding] = found
    return finding


# ---- packages ----


def with_versions(monkeypatch: pytest.MonkeyPatch, **other: str | None) -> dict[str, Finding]:
    """Return what is found where some packages have other versions, or are missing."""
    installed = findings.version

    def version(name: str) -> str:
        found = other.get(name.replace("-", "_"), installed)
        if found is None:
            raise PackageNotFoundError(name)
        return found if isinstance(found, str) else installed(name)

    monkeypatch.setattr(findings, "version", version)
    monkeypatch.setattr(findings, "requires", lambda name: REQUIRED)
    return {finding.about: finding for finding in findings.packages()}


def test_what_is_installed_here_is_as_it_should_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each package that is needed, and none that only tests or an extra need."""
    found = with_versions(monkeypatch)
    assert list(found) == ["session_lifecycle", "anyio", "exchange-calendars", "msgspec", "pandas", "transitions"]
    assert {finding.level for finding in found.values()} <= {"ok", "note"}  # one may have been released since
    tested = {name.replace("-", "_"): version for name, version in findings.TESTED.items()}
    assert {finding.level for finding in with_versions(monkeypatch, **tested).values()} == {"ok"}


def test_a_version_that_is_not_allowed_needs_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    """pip may have ignored what the package requires; a missing package is reported likewise."""
    found = with_versions(monkeypatch, pandas="3.1.0", transitions=None)
    assert (found["pandas"].level, found["transitions"].level) == ("problem", "problem")
    assert "3.1.0 is installed, and <3.1" in found["pandas"].text
    assert (found["pandas"].remedy or "").startswith("pip install 'pandas<3.1")
    assert "it is not installed" in found["transitions"].text


def test_a_newer_version_than_was_tested_is_worth_knowing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of calendars above all: hours may have changed. A later fix of the same release is no news."""
    found = with_versions(monkeypatch, exchange_calendars="4.14", anyio="4.16.9", transitions="1.0")
    assert [found[name].level for name in ("exchange-calendars", "anyio", "transitions")] == ["note", "ok", "note"]
    assert "snapshot --check FILE" in (found["exchange-calendars"].remedy or "")
    assert found["transitions"].remedy is None


def test_the_saturday_that_pandas_loses_is_asserted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The installed calendar has it; one that has lost it, or cannot be built, needs attention."""
    assert only(findings.saturdays()).level == "ok"

    class Lost(ExchangeSchedule):
        def session_on(self, day: date) -> Any:
            raise NotASession("XBOM", day)

    def broken(*args: object, **kwargs: object) -> None:
        raise CalendarUnavailable("XBOM", reason="TypeError: no")

    for schedule, line in ((Lost, "XBOM has lost its session of 2025-02-01 with pandas "), (broken, "cannot be built")):
        monkeypatch.setattr(findings, "ExchangeSchedule", schedule)
        finding = only(findings.saturdays())
        assert finding.level == "problem"
        assert line in finding.text
        assert "pip install 'pandas<3.1'" in (finding.remedy or "")


# ---- clocks ----


class Shown:
    """A clock that shows the given readings, one after the other."""

    def __init__(self, *readings: tuple[datetime, float]) -> None:
        self._readings = readings
        self._walls = count()
        self._monotonics = count()

    def now(self) -> datetime:
        return self._readings[next(self._walls)][0]

    def monotonic(self) -> float:
        return self._readings[next(self._monotonics)][1]

    async def sleep_until(self, wall: datetime | None, monotonic: float | None) -> None:
        raise NotImplementedError

    async def sleep(self, delta: timedelta) -> None:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("first", "second", "levels"),
    [
        ((NOW, 7.0), (NOW + timedelta(milliseconds=20), 7.02), ["ok", "ok"]),
        ((NOW, 7.0), (NOW, 7.0), ["ok", "problem"]),
        ((NOW, 7.0), (NOW + timedelta(seconds=1.1), 7.02), ["ok", "problem"]),
        ((NOW, 7.0), (NOW - timedelta(seconds=1), 7.02), ["ok", "problem"]),
        ((utc(1970, 1, 1), 7.0), (utc(1970, 1, 1), 7.02), ["problem", "ok"]),
        ((utc(2106, 1, 1), 7.0), (utc(2106, 1, 1), 7.02), ["problem", "ok"]),
    ],
)
def test_clocks_that_cannot_be_right(
    first: tuple[datetime, float], second: tuple[datetime, float], levels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wall clock out of range, a monotonic clock that stands still, and a step during the check."""
    monkeypatch.setattr(findings.time, "sleep", lambda seconds: None)
    found = list(findings.clocks(Shown(first, second)))
    assert [finding.level for finding in found] == levels
    assert all(finding.remedy for finding in found if finding.level == "problem")


# ---- time zones ----


def zones(folder: Path, line: str | None) -> Path:
    """Make a folder that looks like the system's time zones."""
    (folder / "America").mkdir(parents=True)
    (folder / "America" / "New_York").touch()
    if line is not None:
        (folder / "tzdata.zi").write_text(f"{line}\n# more\n")
    return folder


@pytest.mark.parametrize(
    ("line", "package", "expected"),
    [
        ("# version 2026b", "2026.2", "ok: tzdata 2026b of "),
        ("# version 2025b", "2026.2", "note: is in use, and not the newer 2026.2"),
        ("# version 2026a", "2026.2", "note: is in use, and not the newer 2026.2"),
        ("# version 2026c", "2026.2", "ok: tzdata 2026c of "),
        ("# version 2024b", "2026.2", "problem: is old"),
        ("# redo posix_only", "2026.2", "note: is not known"),
        (None, None, "note: is not known"),
        ("", "2026.2", "ok: tzdata 2026.2 of the package tzdata"),
        ("", "2024.2", "problem: tzdata 2024.2 of the package tzdata is old"),
    ],
)
def test_which_time_zones_are_in_use_and_how_old(
    line: str | None, package: str | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's come first, whatever is installed as a package; without them it is the package."""
    monkeypatch.setattr(zoneinfo, "TZPATH", () if line == "" else (str(zones(tmp_path / "zoneinfo", line)),))
    monkeypatch.setattr(findings, "_package_tzdata", lambda: package)
    finding = only(findings.time_zones(2026))
    assert finding.level == expected.partition(": ")[0]
    assert expected.partition(": ")[2] in finding.text


def test_the_package_of_time_zones_need_not_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then its version is not known."""
    with_versions(monkeypatch, tzdata=None)
    assert findings._package_tzdata() is None
    with_versions(monkeypatch, tzdata="2026.2")
    assert findings._package_tzdata() == "2026.2"


def test_time_zones_that_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """An offset that is well known, and a zone that is missing."""
    for offsets, line in (
        ({"Asia/Tokyo": (9, 10)}, "Asia/Tokyo is 9:00:00 ahead of UTC in month 7, and should be 10 h"),
        ({"Asia/Edo": (9, 9)}, "Asia/Edo is not known"),
    ):
        monkeypatch.setattr(findings, "_OFFSETS", offsets)
        finding = only(findings.time_zones(2026))
        assert (finding.level, finding.text) == ("problem", line)


# ---- calendars ----


def checked(name: str, today: date = TODAY) -> list[Finding]:
    return [found for venue in common.open_venues([name], NOW) for found in findings.calendar(venue, today)]


def test_how_far_a_calendar_is_known() -> None:
    """XBOM ends with 2026: known for a year, worth knowing, and then in need of attention."""
    for today, level in ((date(2025, 11, 25), "ok"), (date(2026, 1, 2), "note"), (date(2026, 11, 25), "problem")):
        horizon, published, means, corrected = checked("XBOM", today)
        assert horizon.level == level
        assert "known until 2026-12-31" in horizon.text
        assert (horizon.remedy is None) == (level == "ok")
        assert published.text.startswith("compared with what the exchange has published until 2026-12-31")
        assert "closing auction" in means.text
        assert corrected.text == "120 of its sessions corrected, from 2015-02-28 to 2026-12-31"
    assert {each.level for each in checked("XNYS")} == {"ok"}


def test_what_is_published_and_what_is_by_rule() -> None:
    """Before the last day that was compared it is as it should be, after it worth knowing."""
    for today, level in ((date(2028, 12, 31), "ok"), (date(2029, 1, 1), "note")):
        _, published, _ = checked("XNYS", today)
        assert published.level == level
        assert "until 2028-12-31; later days are by rule, not published" in published.text
        assert (published.remedy is None) == (level == "ok")
    _, published, _ = checked("XCSE")
    assert (published.level, published.text) == (
        "note",
        "no comparison with what the exchange has published is on record",
    )


def test_corrections_that_nothing_needs_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release that has fixed everything."""
    monkeypatch.setattr(ExchangeSchedule, "corrections", property(lambda schedule: ()))
    *_, corrected = checked("XBOM")
    assert (corrected.level, corrected.text) == (
        "note",
        "the installed calendar has none of the known errors any more",
    )


def test_a_snapshot_has_a_horizon_and_a_past(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is known as far as it was written; what it was made from may have changed since."""
    file = tmp_path / "hours.toml"
    write_snapshot(week(), file, MONDAY, MONDAY + 4 * DAY)
    horizon, _ = checked(str(file), MONDAY)
    assert (horizon.level, horizon.about, horizon.remedy) == ("problem", "hours.toml", "recreate the snapshot")
    own = SnapshotSchedule.load(file).head.made_from["session_lifecycle"]
    file.write_text(file.read_text().replace(f'"{own}"', '"0.0.1"'))
    *_, past = checked(str(file), MONDAY)
    assert (past.level, past.text) == ("note", f"made from session_lifecycle 0.0.1, now {own}")

    def none_installed() -> dict[str, str]:
        raise PackageNotFoundError("pandas")

    monkeypatch.setattr(findings, "versions", none_installed)
    assert len(checked(str(file), MONDAY)) == 2


# ---- the kernel's clock ----


@pytest.mark.parametrize(
    ("status", "maxerror", "level", "said"),
    [
        (0x2001, 12_345, "ok", "synchronized, and off by 12 ms at most"),
        (0x2001, 16_000_000, "note", "off by 16000 ms at most"),
        (0x40, 16_000_000, "note", "nothing synchronizes it"),
    ],
)
def test_whether_the_clock_is_synchronized_is_what_the_kernel_says(
    monkeypatch: pytest.MonkeyPatch, status: int, maxerror: int, level: str, said: str
) -> None:
    """STA_UNSYNC is 0x40; a synchronized clock that may be a second off is worth a note as well."""
    monkeypatch.setattr(findings, "_timex", lambda: findings.Timex(status=status, maxerror=maxerror))
    finding = only(findings.synchronization())
    assert finding.level == level
    assert said in finding.text
    assert (finding.remedy is None) == (level == "ok")


def test_where_the_system_does_not_say_there_is_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other systems have no adjtimex(2)."""
    monkeypatch.setattr(sys, "platform", "darwin")
    assert list(findings.synchronization()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="the call is Linux's")
def test_the_kernel_s_answer_is_read_as_its_header_has_it() -> None:
    """maxerror is a plausible number of microseconds, and only known bits of `status` are set."""
    timex = findings._timex()
    assert timex is not None
    assert 0 <= timex.maxerror <= 3_600_000_000
    assert 0 <= timex.status < 0x10000


# ---- the command ----


@pytest.fixture
def fine_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what depends on how well the machine that runs the tests is kept, and on what was released since.

    Where a test has the wall clock stand still, a machine that stalls for a second would make a step.
    """
    monkeypatch.setattr("session_lifecycle._model.clock.STEP", timedelta(minutes=1))
    monkeypatch.setattr(findings, "TESTED", {})
    monkeypatch.setattr(findings, "requires", lambda name: REQUIRED)
    monkeypatch.setattr(findings, "time_zones", lambda year: iter([Finding("note", "time zones", "as they are", None)]))
    monkeypatch.setattr(findings, "synchronization", lambda: iter([]))


@pytest.mark.usefixtures("fine_machine")
def test_where_all_is_well_it_says_so() -> None:
    """Exit status 0, with notes too; as JSON it has the documented shape."""
    lines = printed("doctor", "XNYS").splitlines()
    assert lines[-1] == "all is well"
    assert [line.split()[0] for line in lines[:-1]] == ["ok"] * 9 + ["note", "ok", "ok", "ok"]
    value = as_json("doctor", "XNYS")
    hold_shape(value, DoctorReport)
    assert (value["well"], len(value["findings"])) == (True, 13)


@pytest.mark.usefixtures("fine_machine")
def test_what_needs_attention_is_exit_status_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do, in the same line; a calendar that cannot be built is one such, an unknown one bad input."""
    file = tmp_path / "hours.json"
    write_snapshot(FixedSchedule(week().sessions(MONDAY, MONDAY)), file, MONDAY, MONDAY)
    result = run("doctor", str(file))
    assert (result.exit_code, result.stderr) == (1, "")
    assert ": recreate the snapshot\n" in result.stdout
    assert result.stdout.splitlines()[-1] == "1 of 12 findings needs attention"
    assert run("doctor", str(file), "--json").exit_code == 1
    assert "did you mean XNYS" in refused("doctor", "XNYs")
    assert "MarketCalendarSchedule('CMEGlobex_Gold')" in refused("doctor", "COMEX")

    def broken(names: list[str], t: datetime) -> None:
        raise CalendarUnavailable("ASEX", reason="TypeError: no")

    monkeypatch.setattr(doctor, "open_venues", broken)
    result = run("doctor", "ASEX")
    assert result.exit_code == 1
    assert "it cannot be built: TypeError: no: fix the packages above" in result.stdout


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.usefixtures("fine_machine")
def test_nothing_is_cut_off_on_a_narrow_screen(width: int) -> None:
    """What is long is wrapped."""
    lines = printed("doctor", "XNYS", width=width).splitlines()
    assert max(map(len, lines)) <= width
    assert "".join(" ".join(lines).split()).count("whichpandas3.1loses") == 1


# ---- other sources ----


@pytest.mark.usefixtures("fine_machine")
@wall_clock_alone
def test_what_other_sources_say_of_the_next_thirty_days_is_compared() -> None:
    """Without a difference, and with one that was judged, all is well; the reason is shown."""
    lines = printed("doctor", "XNYS", "XHKG", "--compare", "markets,quantlib", now=NOW).splitlines()
    assert lines[-1] == "all is well"
    told = [" ".join(line.split()) for line in lines if "markets" in line or "quantlib" in line]
    assert told[:2] == [
        "ok XNYS, markets no difference from NYSE up to 2026-12-25",
        "ok XNYS, quantlib no difference from UnitedStates.NYSE up to 2026-12-25",
    ]
    assert told[2].startswith("note XHKG, markets 2026-12-24 Thu: ours other hours; HKEX: 2026-12-24: close 12:00 HKT")
    assert "judged: Half days on the eves" in told[2]


@pytest.mark.usefixtures("fine_machine")
@wall_clock_alone
def test_a_difference_that_was_not_judged_is_exit_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each day is a finding of its own, with both sides and what to do."""
    monkeypatch.setattr(other_sources, "judged", tuple)
    result = run("doctor", "XHKG", "--compare", "markets", now=NOW)
    assert result.exit_code == 1
    [line] = [" ".join(line.split()) for line in result.stdout.splitlines() if line.startswith("problem")]
    assert line.startswith("problem XHKG, markets 2026-12-24 Thu: ours other hours; HKEX: ")
    assert line.endswith("correct ours with an override where it is wrong")
    value = json.loads(run("doctor", "XHKG", "--compare", "markets", "--json", now=NOW).stdout)
    assert [each["about"] for each in value["findings"] if each["level"] == "problem"] == ["XHKG, markets"]


@pytest.mark.usefixtures("fine_machine")
def test_christmas_day_of_the_raw_calendar_would_be_found() -> None:
    """A schedule with a session on Christmas Day differs from what holidays says of Estonia."""
    venue = common.open_venues(["XTAL"], NOW, corrections=False)[0]
    [finding] = [each for each in findings.compared(venue, ["holidays"], TODAY) if each.level == "problem"]
    assert finding.text == "2026-12-25 Fri: ours open; country EE: Christmas Day"


def test_a_half_day_that_the_raw_calendar_lacks_would_be_found() -> None:
    """A schedule with a whole day on Christmas Eve differs from what holidays says of Johannesburg."""
    venue = common.open_venues(["XJSE"], NOW, corrections=False)[0]
    [finding] = findings.compared(venue, ["holidays"], TODAY)
    assert (finding.level, finding.text) == (
        "problem",
        "2026-12-24 Thu: ours other hours; XJSE: a half day: Christmas Eve (markets close at 12:00 p.m. SAST)",
    )


def test_several_days_of_one_judgement_are_one_finding() -> None:
    """Every day of Sydney has its closing auction there, and the list stays short."""
    venue = common.open_venues(["XASX"], NOW)[0]
    [finding] = findings.compared(venue, ["markets"], TODAY)
    assert (finding.level, ", and 20 more; judged: " in finding.text) == ("note", True), finding.text


def test_a_source_that_has_nothing_of_a_calendar_is_named() -> None:
    """It is no problem; neither is a snapshot that begins later than the year does."""
    venue = common.open_venues(["XTAL"], NOW)[0]
    [finding] = findings.compared(venue, ["quantlib"], TODAY)
    assert (finding.level, finding.text) == ("note", "there is no calendar of this source for XTAL")


def test_a_snapshot_that_does_not_know_the_days_says_so(tmp_path: Path) -> None:
    """What it cannot answer is no difference."""
    file = tmp_path / "hours.toml"
    write_snapshot(ExchangeSchedule("XNYS", near=NOW), file, date(2026, 12, 1), date(2026, 12, 31))
    venue = common.open_venues([str(file)], NOW)[0]
    [finding] = findings.compared(venue, ["quantlib"], TODAY)
    assert (finding.level, "knows sessions from 2026-12-01" in finding.text) == ("note", True)


@pytest.mark.parametrize(
    ("source", "module", "words"),
    [
        ("markets", "pandas_market_calendars", "pip install 'session_lifecycle[markets]'"),
        ("quantlib", "QuantLib", "pip install QuantLib"),
        ("holidays", "holidays", "pip install holidays"),
    ],
)
def test_a_source_that_is_not_installed_needs_attention(
    source: str, module: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A comparison that was asked for and not made is not "all is well"."""
    monkeypatch.setitem(sys.modules, module, None)
    [finding] = findings.compared(common.open_venues(["XNYS"], NOW)[0], [source], TODAY)
    assert finding.level == "problem"
    assert words in finding.text


def test_a_source_that_is_too_old_needs_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not have the calendar yet."""
    monkeypatch.delattr("QuantLib.UnitedStates")
    [finding] = findings.compared(common.open_venues(["XNYS"], NOW)[0], ["quantlib"], TODAY)
    assert finding.level == "problem"
    assert finding.text.startswith("the calendar 'UnitedStates.NYSE' could not be built: AttributeError: ")


def test_a_comparison_needs_a_calendar_and_a_source_that_there_is() -> None:
    """Bad input is refused before anything is checked."""
    assert "--compare needs at least one CALENDAR" in refused("doctor", "--compare", "markets")
    assert "'bloomberg' is no source: --compare takes markets, quantlib, holidays" in refused(
        "doctor", "XNYS", "--compare", "markets,bloomberg"
    )
