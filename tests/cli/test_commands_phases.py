"""What the commands show of phases: with `--phases`, from a file of hours, or from a snapshot."""

from pathlib import Path

from tests.helpers.builders import utc
from tests.helpers.command_line import as_json, printed

NIGHT = utc(2026, 11, 24, 2)  # 21:00 in New York on Monday, which counts for Tuesday


def hours(folder: Path) -> str:
    """Return the path of a file of hours that asks for phases and nights."""
    path = folder / "desk.toml"
    path.write_text('calendar = "XNYS"\nphases = true\nnight = "BLUE"\n')
    return str(path)


def test_the_board_names_the_phase(tmp_path: Path) -> None:
    """Beside the state, and in JSON; without phases there is none."""
    assert "not started, overnight" in printed("status", "--hours", hours(tmp_path), now=NIGHT)
    [value] = as_json("status", "--hours", hours(tmp_path), now=NIGHT)
    assert (value["state"], value["phase"], value["session"]) == ("not_started", "overnight", "2026-11-24")
    [value] = as_json("status", "XNYS", "--phases", now=utc(2026, 11, 24, 22))
    assert (value["phase"], value["session"]) == ("post_market", "2026-11-25")  # of Tuesday, which has ended
    [value] = as_json("status", "XNYS", now=NIGHT)
    assert value["phase"] is None


def test_the_plan_has_every_phase(tmp_path: Path) -> None:
    """In the table with its end, in JSON, and in the calendar file."""
    asked = ("plan", "--hours", hours(tmp_path), "--from", "2026-11-23", "--days", "1")
    table = printed(*asked, now=NIGHT)
    assert "overnight" in table
    assert "Sun 20:00" in table
    assert "until 04:00" in table
    [venue] = as_json(*asked, now=NIGHT)
    [session] = venue["sessions"]
    assert [phase["name"] for phase in session["phases"]] == [
        "overnight", "pre_market", "opening_auction", "closing_auction", "post_market",
    ]  # fmt: skip
    assert session["phases"][0] == {
        "name": "overnight",
        "start": "2026-11-23T01:00:00+00:00",
        "end": "2026-11-23T09:00:00+00:00",
        "tradable": True,
        "data_expected": True,
    }
    assert "overnight: Sun 20:00 to Mon 04:00 EST" in printed(*asked, "--ics", now=NIGHT).replace("\n ", "")
    assert "not tradable" in printed("plan", "XTKS", "--phases", "--from", "2026-11-24", "--days", "1", now=NIGHT)


def test_a_snapshot_is_written_with_phases(tmp_path: Path) -> None:
    """As they are on record; it agrees with the installed data, and the board reads it."""
    path = tmp_path / "xtks.toml"
    printed("snapshot", "XTKS", "--phases", "--from", "2026-01-01", "--to", "2026-12-31", "--out", str(path), now=NIGHT)
    assert "closing_auction@15:25/15:30" in path.read_text()
    assert as_json("snapshot", "--check", str(path), now=NIGHT)["agrees"]
    [value] = as_json("status", str(path), now=utc(2026, 11, 24, 6, 27))
    assert (value["phase"], value["state"]) == ("closing_auction", "active")


def test_the_timeline_has_the_phases_of_its_days() -> None:
    """In JSON: those that begin or end in the time that is drawn, each once."""
    days = ("--from", "2026-11-24", "--days", "2")
    [row] = as_json("timeline", "XTKS", "--phases", *days, now=NIGHT)
    assert [(phase["name"], phase["start"]) for phase in row["phases"]] == [
        ("opening_auction", "2026-11-24T03:05:00+00:00"),  # of the afternoon; the morning's ended at midnight
        ("closing_auction", "2026-11-24T06:25:00+00:00"),
        ("opening_auction", "2026-11-24T23:00:00+00:00"),
        ("opening_auction", "2026-11-25T03:05:00+00:00"),
        ("closing_auction", "2026-11-25T06:25:00+00:00"),
        ("opening_auction", "2026-11-25T23:00:00+00:00"),
    ]
    [row] = as_json("timeline", "XTKS", *days, now=NIGHT)
    assert row["phases"] == []


def test_the_timeline_draws_the_phases_below_the_row(tmp_path: Path) -> None:
    """A letter for each name; capitals where orders cannot trade. Friday's night is absent, as that of the holiday."""
    days = ("--from", "2026-11-25", "--days", "4")
    assert printed("timeline", "--hours", hours(tmp_path), *days, now=NIGHT, width=80) == (
        "Wed 2026-11-25 to Sat 2026-11-28, UTC\n"
        "      |Wed 25           |Thu 26            |Fri 27           |Sat 28\n"
        "XNYS  ·······░░░░█████▒···························░░░░███▒······················\n"
        "      pooooorrrrre    cpp                  oooooorrrrre ppp\n"
        "░ pre-market   █ active   ─ break   ▒ post-market   · not started\n"
        "p post_market   o overnight   r pre_market   e opening_auction\n"
        "c closing_auction\n"
        "~ pre-market and post-market by configuration: XNYS\n"
    )
    drawn = printed("timeline", "XTKS", "--phases", "--from", "2026-11-24", "--days", "1", now=NIGHT, width=80)
    assert "c closing_auction   capitals: not tradable" in drawn
    assert "C" in drawn.splitlines()[3]
    assert "auction" not in printed("timeline", "XTKS", "--from", "2026-11-24", "--days", "1", now=NIGHT)


def test_a_name_without_a_free_letter_gets_the_next_one(tmp_path: Path) -> None:
    """The names of a desk's own phases may be alike."""
    path = tmp_path / "desk.toml"
    rows = "".join(
        f'  {{ name = "a{n}", start = 2026-11-24T{n:02}:00:00Z, end = 2026-11-24T{n:02}:40:00Z, tradable = true }},\n'
        for n in range(23)
    )
    path.write_text(f'calendar = "XNYS"\n[[special_hours]]\ndate = 2026-11-24\nphases = [\n{rows}]\n')
    drawn = printed("timeline", "--hours", str(path), "--from", "2026-11-24", "--days", "1", now=NIGHT, width=80)
    assert "a a0   b a1   c a2   d a3" in drawn
    assert "capitals" not in drawn


def test_a_picture_has_the_phases_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    """A strip in two colours, with the names that there is room for; no time of its making, no random name."""
    files = [tmp_path / "one.svg", tmp_path / "two.svg"]
    for file in files:
        printed("timeline", "XTKS", "--hours", hours(tmp_path), "--phases", f"--output={file}", now=NIGHT)
    assert files[0].read_bytes() == files[1].read_bytes()
    text = files[0].read_text()
    assert text.count("#0072b2") > 10  # tradable
    assert text.count("#cc79a7") > 5  # not tradable
    plain = tmp_path / "plain.svg"
    printed("timeline", "XTKS", f"--output={plain}", now=NIGHT)
    assert "#0072b2" not in plain.read_text()
    assert "#cc79a7" not in plain.read_text()
