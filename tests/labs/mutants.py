"""Break the package on purpose, and see that the tests notice: `python -m tests.labs.mutants`.

Each mutant is one small change that breaks one promise. It is made in a copy of the project, where the few tests that
hold the promise are run: the first that fails has killed the mutant. One that survives is a gap in the tests.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import session_lifecycle

ROOT = Path(__file__).parents[2]
PACKAGE = session_lifecycle.__name__
SOURCE = Path(session_lifecycle.__file__).parent
"""The package that is under test, be that the source or an installed wheel."""
COPIED = (SOURCE, *(ROOT / name for name in ("tests", "examples", "pyproject.toml", "README.md")))
LONGEST = 60
"""How many seconds a mutant's tests may take; the promise is broken too where they hang."""
SETTINGS_OF_OTHERS = ("PYTEST_", "COV_", "COVERAGE_")
"""Variables of a test run around this one: they would change the runs inside it."""


class Unusable(Exception):
    """The copy cannot tell anything about a mutant: it fails by itself, or is not what Python imports."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change to one file of the package: `old`, which occurs there once, becomes `new`.

    `breaks` says which promise is broken by that; `targets` are the tests, the fastest first, one of which must fail.
    """

    name: str
    file: str
    old: str
    new: str
    breaks: str
    targets: tuple[str, ...]

    def applied(self, source: str) -> str:
        """Return the file's source with the change."""
        if source.count(self.old) != 1:
            msg = f"{self.name}: the text to replace occurs {source.count(self.old)} times in {self.file}"
            raise Unusable(msg)
        return source.replace(self.old, self.new)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a mutant: `killer` is the first test that failed, `trouble` why nothing can be said about it."""

    mutant: Mutant
    seconds: float
    killer: str | None = None
    trouble: str | None = None

    @property
    def killed(self) -> bool:
        return self.killer is not None

    def __str__(self) -> str:
        verdict = (
            f"killed by {self.killer}" if self.killed else f"BROKEN: {self.trouble}" if self.trouble else "SURVIVED"
        )
        return f"{self.mutant.name:<36}{self.seconds:>5.1f} s  {verdict}"


MUTANTS = (
    # ---- the journal in a file ----
    Mutant(
        "append-without-fsync",
        "_journal/file.py",
        "self._files.sync(self._fd)",
        "pass",
        "A record is on the disk when append() returns.",
        ("tests/journal/test_journal_faults.py::test_fault_41_power_cut_at_every_call",),
    ),
    Mutant(
        "new-file-without-fsync",
        "_journal/file.py",
        "self._files.sync(fd)",
        "pass",
        "A file is on the disk before it is put in the place of the old one.",
        ("tests/journal/test_journal_faults.py::test_fault_41_power_cut_at_every_call",),
    ),
    Mutant(
        "folder-without-fsync",
        "_journal/file.py",
        "self._files.sync_folder(self.path.parent)",
        "pass",
        "The renaming is on the disk before anything counts that stands in the new file.",
        ("tests/journal/test_journal_faults.py::test_fault_41_power_cut_at_every_call",),
    ),
    Mutant(
        "checksum-not-verified",
        "_journal/file.py",
        "if sealed != line:",
        "if False:",
        "A damaged line is refused.",
        ("tests/journal/test_file_journal.py::test_fault_43_any_bit_flipped",),
    ),
    Mutant(
        "checksums-not-chained",
        "_journal/file.py",
        "zlib.crc32(text, previous)",
        "zlib.crc32(text)",
        "A line that is missing or out of its place is refused.",
        ("tests/journal/test_file_journal.py::test_fault_43_lines_out_of_order",),
    ),
    Mutant(
        "torn-end-refused",
        "_journal/file.py",
        "if lines and sealed_line(tail[:-_SEAL], checksum)[0][:-1] == tail[:-1]:",
        "if tail:",
        "The torn rest of a last write is left out, and the journal goes on.",
        ("tests/journal/test_file_journal.py::test_fault_42_truncated_at_every_byte",),
    ),
    Mutant(
        "damaged-newline-accepted",
        "_journal/file.py",
        "if lines and sealed_line(tail[:-_SEAL], checksum)[0][:-1] == tail[:-1]:",
        "if False:",
        "A whole last line whose newline is damaged is no torn write: it is refused, not forgotten.",
        ("tests/journal/test_file_journal.py::test_fault_43_any_bit_flipped",),
    ),
    Mutant(
        "lock-not-taken",
        "_journal/file.py",
        "fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "pass",
        "One manager holds a journal at a time.",
        ("tests/journal/test_file_journal.py::test_fault_46_a_second_journal_of_this_process_is_refused",),
    ),
    Mutant(
        "doubt-forgotten",
        "_journal/file.py",
        "if self._in_doubt or self._fd is None or ",
        "if self._fd is None or ",
        "After an append that failed, the file is written anew.",
        ("tests/journal/test_journal_faults.py::test_faults_44_45_an_error_at_every_call",),
    ),
    Mutant(
        "compaction-forgets",
        "_journal/file.py",
        "return [*standing.records(past[-1].at), *recent]",
        "return [*standing.records(past[-1].at)[:1], *recent]",
        "Compaction sums up all that the distant past still means, not its session alone.",
        ("tests/journal/test_file_journal.py::test_a_journal_stays_small_whatever_happens",),
    ),
    Mutant(
        "calendar-not-compared",
        "_journal/file.py",
        "if lines.calendar not in (None, self._calendar):",
        "if False:",
        "Another calendar's journal is a JournalMismatch.",
        ("tests/journal/test_file_journal.py::test_fault_47_another_calendar_is_refused",),
    ),
    # ---- what the journal means ----
    Mutant(
        "session-not-compared",
        "_journal/records.py",
        "if standing.intent is None or session != standing.intent.target:",
        "if False:",
        "A session= that contradicts the journal is a JournalMismatch.",
        ("tests/journal/test_journal.py::test_an_application_elsewhere_is_refused",),
    ),
    Mutant(
        "done-of-another-roll",
        "_journal/records.py",
        "if record.target is None or (intent is not None and intent.target != record.target):",
        "if record.target is None:",
        "A completion that does not match its intent is refused.",
        ("tests/journal/test_journal.py::test_done_must_match_the_intent",),
    ),
    Mutant(
        "error-forgotten",
        "_journal/records.py",
        "return replace(self, error=record.note)",
        "return self",
        "A restart in ERROR is in ERROR.",
        ("tests/runtime/test_manager_journal.py::test_a_restart_in_error_stays_in_error",),
    ),
    Mutant(
        "skip-keeps-the-intent",
        "_journal/records.py",
        "ended=True, intent=None, beyond=record.target",
        "ended=True, beyond=record.target",
        "A roll that a person has given up is not finished by the next start.",
        (
            "tests/journal/test_journal.py::test_what_records_add_up_to",
            "tests/runtime/test_manager_journal.py::test_recover_skip_that_a_restart_comes_in_between",
        ),
    ),
    # ---- the order of writing, rolling and telling ----
    Mutant(
        "adoption-not-written",
        "_runtime/host.py",
        "self.journal.append(adoption(self.lifecycle.session, now.wall))",
        "pass",
        "The session is in the journal before the application runs.",
        ("tests/runtime/test_manager_journal.py::test_the_session_is_journalled_before_the_body_runs",),
    ),
    Mutant(
        "intent-not-written",
        "_runtime/host.py",
        "self.journal.append(intent(turn.ended, target, turn.skipped, now.wall))",
        "pass",
        "The intent is in the journal before the roll is awaited.",
        ("tests/runtime/test_manager_journal.py::test_intent_then_roll_then_done_then_entered_then_told",),
    ),
    Mutant(
        "intent-for-each-attempt",
        "_runtime/host.py",
        "turn.intended = True",
        "pass",
        "A round has one intent, however many attempts it takes.",
        ("tests/runtime/test_manager_journal.py::test_one_intent_for_all_attempts_of_a_round",),
    ),
    Mutant(
        "done-before-the-roll",
        "_runtime/host.py",
        "        self.lifecycle.begin_roll(turn, now)\n",
        "        self.write(Record(Entry.DONE, turn.ended.date, now.wall, turn.target.date))\n"
        "        self.lifecycle.begin_roll(turn, now)\n",
        "A roll is not done before it has returned.",
        ("tests/runtime/test_manager_journal.py::test_intent_then_roll_then_done_then_entered_then_told",),
    ),
    Mutant(
        "done-not-written",
        "_runtime/host.py",
        "self.write(Record(Entry.DONE, turn.ended.date, now.wall, turn.target.date))",
        "pass",
        "A roll that is done is not done again by the next start.",
        ("tests/runtime/test_manager_journal.py::test_intent_then_roll_then_done_then_entered_then_told",),
    ),
    Mutant(
        "told-before-done",
        "_runtime/host.py",
        "            self.write(Record(Entry.DONE, turn.ended.date, now.wall, turn.target.date))\n",
        "            self.lifecycle.roll_succeeded(turn, now)\n"
        "            self.tell()\n"
        "            self.write(Record(Entry.DONE, turn.ended.date, now.wall, turn.target.date))\n"
        "            return\n",
        "Nobody hears of a session before the roll to it is durable.",
        ("tests/runtime/test_manager_journal.py::test_intent_then_roll_then_done_then_entered_then_told",),
    ),
    Mutant(
        "uncertain-done-entered",
        "_runtime/host.py",
        "self.lifecycle.roll_unrecorded(turn, failure, now)",
        "self.lifecycle.roll_succeeded(turn, now)",
        "A roll that could not be written down as done is an ERROR for a person to decide.",
        ("tests/runtime/test_manager_journal.py::test_fault_45_a_done_that_cannot_be_written",),
    ),
    Mutant(
        "error-not-written",
        "_runtime/host.py",
        "if isinstance(event, StateChanged) and event.dest is ERROR:",
        "if False:",
        "An ERROR is in the journal before it is told.",
        ("tests/runtime/test_manager_journal.py::test_a_failure_is_written_before_it_is_told",),
    ),
    Mutant(
        "ending-not-written",
        "_runtime/manager.py",
        "record = self._lifecycle.plan_end(_reason(reason), now)\n        self._member.write(record)\n",
        "self._lifecycle.plan_end(_reason(reason), now)\n",
        "A session that was ended by hand is still so after a restart.",
        ("tests/runtime/test_manager_journal.py::test_end_session_by_hand_survives_a_restart",),
    ),
    Mutant(
        "decision-not-written",
        "_runtime/manager.py",
        "record = self._lifecycle.plan_recovery(resolution, now)\n        self._member.write(record)\n",
        "record = self._lifecycle.plan_recovery(resolution, now)\n",
        "A person's decision is journalled before it acts.",
        ("tests/runtime/test_manager_journal.py::test_recover_retry_then_restart",),
    ),
    # ---- which session to roll to, and how often ----
    Mutant(
        "cap-off-by-one",
        "_core/rolls.py",
        "for _ in range(limit - 1):",
        "for _ in range(limit):",
        "At most `max_catch_up_sessions` sessions are rolled or skipped without a person's decision.",
        ("tests/core/test_roll.py::test_the_limit_is_inclusive",),
    ),
    Mutant(
        "target-among-the-skipped",
        "_core/rolls.py",
        " if session.date != target)",
        ")",
        "The sessions that are skipped lie strictly between the one that ended and the target.",
        ("tests/core/test_roll.py::test_the_target_is_what_counting_gives",),
    ),
    Mutant(
        "skipped-roll-offered-again",
        "_core/rolls.py",
        "following = first if beyond is None else schedule.next_session(beyond)",
        "following = first",
        "After SKIP the next roll goes to a later session.",
        ("tests/core/test_roll.py::test_the_target_lies_beyond_what_was_skipped",),
    ),
    Mutant(
        "skip-enters-the-target",
        "_core/lifecycle.py",
        "if record.entry is Entry.DONE:",
        "if record.entry is Entry.DONE or record.entry is Entry.SKIPPED:",
        "SKIP gives a roll up: it does not enter the session that it would have led to.",
        ("tests/runtime/test_manager_journal.py::test_recover_with_an_open_intent",),
    ),
    Mutant(
        "unfinished-roll-forgotten",
        "_core/rolls.py",
        "        if self.unfinished is not None:\n            return self.unfinished\n",
        "",
        "A roll that was begun and may have completed is finished first, for its own date.",
        ("tests/core/test_roll.py::test_a_round_that_was_intended_comes_first",),
    ),
    Mutant(
        "error-forgets-the-intent",
        "_core/rolls.py",
        "self.unfinished = self.round\n",
        "pass\n",
        "After an ERROR the roll that was begun is finished first, for its own date.",
        ("tests/runtime/test_manager_journal.py::test_a_resumed_roll_that_fails_is_retried_and_then_an_error",),
    ),
    Mutant(
        "resumed-dropped",
        "_core/rolls.py",
        "skipped, resumed=True, intended=True)",
        "skipped, intended=True)",
        "The events of a roll that an earlier run has begun say so.",
        ("tests/runtime/test_manager_journal.py::test_an_open_intent_is_finished_first_for_its_own_date",),
    ),
    Mutant(
        "attempts-off-by-one",
        "_core/rolls.py",
        "retry and turn.attempt < policy.attempts and",
        "retry and turn.attempt <= policy.attempts and",
        "No attempt is announced after the last.",
        ("tests/core/test_roll.py::test_fault_30_failures_are_followed_by_waits",),
    ),
    Mutant(
        "one-attempt-too-few",
        "_core/rolls.py",
        "return turn.attempt >= self._config.roll_retry.attempts",
        "return turn.attempt >= self._config.roll_retry.attempts - 1",
        "A roll is tried as often as `roll_retry` says before the state is ERROR.",
        ("tests/runtime/test_manager_roll.py::test_attempts_exhausted_is_an_error_with_the_roll_still_owed",),
    ),
    Mutant(
        "back-off-does-not-grow",
        "_core/rolls.py",
        "policy.delay_after(turn.attempt)",
        "policy.delay_after(1)",
        "The waits between attempts grow.",
        ("tests/runtime/test_manager_roll.py::test_a_failed_roll_is_tried_again_at_growing_intervals",),
    ),
    Mutant(
        "timeout-ignored",
        "_core/rolls.py",
        "turn.expires_at = None if timeout is None else now.monotonic + timeout",
        "turn.expires_at = None",
        "An attempt that takes longer than `roll_timeout` has failed.",
        ("tests/core/test_roll.py::test_an_attempt_may_take_less_than_its_timeout",),
    ),
    Mutant(
        "timeout-after-its-instant",
        "_core/rolls.py",
        "turn.expired = now.monotonic >= turn.expires_at",
        "turn.expired = now.monotonic > turn.expires_at",
        "An attempt is cut short at the very instant at which its timeout has passed.",
        ("tests/core/test_roll.py::test_an_attempt_may_take_less_than_its_timeout",),
    ),
    Mutant(
        "overrun-not-told",
        "_core/rolls.py",
        "turn.expires_at is not None and now.monotonic >= turn.expires_at,",
        "False,",
        "A roll that swallows the end of its time and returns has succeeded with overrun=True.",
        (
            "tests/runtime/test_manager_roll.py::test_fault_35_a_roll_that_swallows_its_cancellation_has_succeeded_with_an_overrun",
        ),
    ),
    # ---- the core ----
    Mutant(
        "recover-forgets-the-roll",
        "_core/lifecycle.py",
        'self._walk.fire("recover", now.wall, roll_owed=self.roll_owed)',
        'self._walk.fire("recover", now.wall, roll_owed=False)',
        "recover() leads back to the roll where one is owed.",
        ("tests/runtime/test_manager.py::test_recover_with_a_roll_owed_goes_to_the_roll",),
    ),
    Mutant(
        "fail-overwrites-the-reason",
        "_core/lifecycle.py",
        "        if self.state is ERROR:\n            return False\n",
        "        if self.state is ERROR:\n            self._walk.reason = reason\n            return False\n",
        "fail() in ERROR changes nothing: the first reason stands.",
        ("tests/runtime/test_manager.py::test_fail_in_error_changes_nothing_and_logs_a_line",),
    ),
    Mutant(
        "fail-lost-in-the-roll",
        "_core/lifecycle.py",
        "        if self._failing is not None:\n            self._fail(self._failing)\n        self._tell_horizon()\n",
        "        self._tell_horizon()\n",
        "fail() during a roll takes effect once that has ended.",
        ("tests/runtime/test_manager_roll.py::test_fail_during_a_roll_that_succeeds",),
    ),
    Mutant(
        "ended-at-its-instant-not-owed",
        "_core/lifecycle.py",
        "return self._walk.ended or self._walk.seen.wall >= self._walk.bounds.end",
        "return self._walk.ended or self._walk.seen.wall > self._walk.bounds.end",
        "A roll is owed from the very instant at which the session ends, in ERROR too.",
        ("tests/runtime/test_manager.py::test_in_error_too_a_roll_is_owed_from_the_very_end_of_the_session",),
    ),
    Mutant(
        "late-entry-not-caught-up",
        "_core/lifecycle.py",
        "self._walk.catching_up = True  # the roll has outlasted the beginning of the session",
        "pass",
        "Edges that a roll has held up are told as catching up.",
        ("tests/runtime/test_manager_roll.py::test_fault_39_a_roll_that_overruns_the_next_open",),
    ),
    Mutant(
        "data-from-the-future",
        "_core/lifecycle.py",
        'max(now.wall - as_utc("timestamp", timestamp), ',
        'max(abs(now.wall - as_utc("timestamp", timestamp)), ',
        "Data from the future counts as of now.",
        ("tests/runtime/test_manager_data.py::test_fault_07_data_from_the_future_counts_as_now",),
    ),
    Mutant(
        "trading-on-a-break",
        "_core/lifecycle.py",
        "return self._walk.state is ACTIVE and not self._walk.on_break",
        "return self._walk.state is ACTIVE",
        "can_trade is False on a break.",
        ("tests/runtime/test_manager.py::test_a_break_in_progress_is_known_from_the_start",),
    ),
    # ---- the walk along a session ----
    Mutant(
        "edge-after-its-instant",
        "_core/progress.py",
        "if due is None or self.seen.wall < due:",
        "if due is None or self.seen.wall <= due:",
        "At exactly a boundary the next state holds.",
        ("tests/runtime/test_departures.py::test_at_exactly_the_close_the_market_is_closed",),
    ),
    Mutant(
        "position-after-its-instant",
        "_core/timeline.py",
        "if t < boundary:",
        "if t <= boundary:",
        "Intervals are half-open: a boundary belongs to what it begins.",
        ("tests/core/test_timeline.py::test_fault_12_the_position_at_any_instant",),
    ),
    Mutant(
        "step-not-noticed",
        "_core/progress.py",
        "delta = now.step_since(self.seen)",
        "delta = None",
        "A step of the wall clock is told.",
        ("tests/runtime/test_manager_time.py::test_a_step_over_a_break_walks_it",),
    ),
    Mutant(
        "step-of-a-second-is-none",
        "_model/clock.py",
        "return None if -STEP < delta < STEP else delta",
        "return None if -STEP <= delta <= STEP else delta",
        "A step of exactly a second is one.",
        ("tests/runtime/test_clock.py::test_a_step_is_a_second_or_more",),
    ),
    Mutant(
        "step-back-undoes",
        "_core/progress.py",
        "self.catching_up = self.catching_up or delta > timedelta(0)\n",
        "self.catching_up = True\n"
        "            if delta < timedelta(0):\n"
        "                self._machine = SessionMachine()\n",
        "A step back undoes nothing and rolls nothing twice.",
        (
            "tests/runtime/test_manager_data.py::test_a_step_of_the_wall_clock_alone_never_causes_a_timeout",
            "tests/runtime/test_manager_time.py::test_fault_21_the_wall_clock_steps_back",
        ),
    ),
    Mutant(
        "catch-up-dropped",
        "_core/progress.py",
        "catch_up = self._is_catch_up(due)",
        "catch_up = False",
        "An edge that is walked late says catch_up=True.",
        ("tests/runtime/test_manager.py::test_recover_walks_the_session_again_marked_as_catch_up",),
    ),
    Mutant(
        "watch-not-begun-at-the-open",
        "_core/progress.py",
        "if source is PRE_MARKET:",
        "if False:",
        "A feed that never starts is noticed.",
        ("tests/runtime/test_manager_data.py::test_the_watch_begins_at_the_open",),
    ),
    Mutant(
        "timeout-during-a-break",
        "_core/staleness.py",
        "            self._lasted += now - self.since\n        self.since = None\n",
        "            self._lasted += now - self.since\n",
        "No data is expected on a break.",
        ("tests/runtime/test_manager_data.py::test_fault_15_no_timeout_at_lunch",),
    ),
    Mutant(
        "silence-before-the-close",
        "_core/progress.py",
        "        if due is None or self.seen.wall < due:\n"
        "            return (state is ACTIVE or state is TIMEOUT) and self._listen()\n",
        "        if (state is ACTIVE or state is TIMEOUT) and self._listen():\n            return True\n"
        "        if due is None or self.seen.wall < due:\n            return False\n",
        "Where silence and close fall together, the close wins.",
        ("tests/runtime/test_manager_data.py::test_fault_27_where_silence_and_close_fall_together_the_close_wins",),
    ),
    Mutant(
        "breaks-of-the-first-day-only",
        "_core/progress.py",
        "            if dest is NOT_STARTED:\n                self.breaks_passed = 0\n",
        "",
        "Every session has its breaks.",
        ("tests/runtime/test_manager_data.py::test_fault_15_the_breaks_of_every_day",),
    ),
    # ---- the driver and the manager ----
    Mutant(
        "failure-counts-as-done",
        "_runtime/driver.py",
        "member.end_roll(turn, error, self.look_or_last())",
        "member.end_roll(turn, None, self.look_or_last())",
        "A roll that raises has failed.",
        ("tests/runtime/test_manager_roll.py::test_a_failed_roll_is_tried_again_at_growing_intervals",),
    ),
    Mutant(
        "cancellation-swallowed",
        "_runtime/driver.py",
        "            if not takes_back_cancellation():\n                raise\n            error = cancelled\n",
        "            takes_back_cancellation()\n            error = cancelled\n",
        "A roll that the manager's own cancellation cuts off has not failed: its intent stays as it is.",
        ("tests/runtime/test_manager_roll.py::test_fault_37_cancelled_by_a_scope_during_the_roll",),
    ),
    Mutant(
        "foreign-cancellation-ends-all",
        "_runtime/callbacks.py",
        "        task.uncancel()\n    return True\n",
        "        task.uncancel()\n    return False\n",
        "A cancellation of the roll's task that is not the manager's ends the attempt alone.",
        (
            "tests/runtime/test_manager_roll.py::test_fault_31_a_roll_whose_own_task_is_cancelled_natively_is_not_lost_in_silence",
        ),
    ),
    Mutant(
        "late-cancellation-ends-all",
        "_runtime/driver.py",
        "        except anyio.get_cancelled_exc_class():\n"
        "            if not takes_back_cancellation():\n"
        "                raise\n",
        "        except anyio.get_cancelled_exc_class():\n            raise\n",
        "A cancellation of the roll's task after its last await ends nothing.",
        ("tests/journal/test_journal_faults.py::test_fault_38_cancelled_just_after_the_roll_returned",),
    ),
    Mutant(
        "own-cancellation-taken-back",
        "_runtime/callbacks.py",
        "if task is None or anyio.current_effective_deadline() == -inf:",
        "if task is None:",
        "A cancellation that is meant for the manager is none of the roll's failures.",
        ("tests/runtime/test_manager_roll.py::test_fault_37_cancelled_by_a_scope_during_the_roll",),
    ),
    Mutant(
        "expired-not-cancelled",
        "_runtime/driver.py",
        "elif member.attempt is not None and lifecycle.roll_expired:",
        "elif False:",
        "An attempt that has expired is cancelled.",
        ("tests/runtime/test_manager_roll.py::test_fault_33_a_roll_that_takes_too_long_is_cancelled",),
    ),
    Mutant(
        "was-rolled-not-asked",
        "_runtime/driver.py",
        "if not turn.resumed or member.was_rolled is None:",
        "if True:",
        "was_rolled is asked before a resumed roll is awaited.",
        ("tests/runtime/test_manager_journal.py::test_was_rolled_true_is_not_run_again",),
    ),
    Mutant(
        "was-rolled-always-asked",
        "_runtime/driver.py",
        "if not turn.resumed or member.was_rolled is None:",
        "if member.was_rolled is None:",
        "was_rolled is asked of a roll that an earlier run has begun, and of no other.",
        ("tests/runtime/test_manager_journal.py::test_was_rolled_is_not_asked_about_a_roll_that_this_run_begins",),
    ),
    Mutant(
        "leaving-retries",
        "_runtime/driver.py",
        "member.lifecycle.stop()",
        "pass",
        "Leaving lets an attempt under way finish, and starts no other.",
        ("tests/runtime/test_manager_roll.py::test_leaving_starts_no_retry",),
    ),
    Mutant(
        "waiting-inside-the-roll",
        "_runtime/manager.py",
        "if inside(self._member):",
        "if False:",
        "What would wait for the roll itself raises ReentrancyError at once.",
        ("tests/runtime/test_manager.py::test_fault_50_waiting_calls_inside_the_roll_are_refused",),
    ),
    Mutant(
        "started-twice",
        "_runtime/lifespan.py",
        "raise AlreadyStartedError(type(self).__name__)",
        "pass",
        "A manager runs once only.",
        ("tests/runtime/test_manager.py::test_fault_51_started_twice",),
    ),
    Mutant(
        "error-of-the-body-waits",
        "_runtime/lifespan.py",
        "self._tasks.cancel_scope.cancel()",
        "self.stop()",
        "Leaving by an exception does not wait for the roll.",
        ("tests/runtime/test_manager.py::test_an_error_of_the_body_does_not_wait_for_the_roll",),
    ),
    # ---- a group ----
    Mutant(
        "step-of-a-follower-not-seen",
        "_core/lifecycle.py",
        "if walk.seen is not before and now.step_since(walk.seen) is not None:",
        "if False:",
        "Whoever is alike to another still sees his own steps of the clock.",
        ("tests/runtime/test_group.py::test_a_drift_that_one_has_not_seen_is_a_step_for_that_one_alone",),
    ),
    Mutant(
        "followers-under-the-leads-name",
        "_runtime/cohorts.py",
        "            steps.append([event, *[kind(*fields, name) for name in names]])\n",
        "            steps.append([event, *[event for name in names]])\n",
        "Each member's events bear its own name.",
        ("tests/runtime/test_group.py::test_alike_members_cross_together_and_are_told_apart",),
    ),
    Mutant(
        "followers-not-heard",
        "_runtime/cohorts.py",
        "        if logged or self.heard:\n",
        "        if logged:\n",
        "A member that follows another tells its own readers.",
        ("tests/runtime/test_group.py::test_alike_members_tell_their_own_readers_where_nothing_is_logged",),
    ),
    Mutant(
        "followers-where-nobody-leads",
        "_runtime/cohorts.py",
        "        if self.cohort is None or not events:\n",
        "        if self.cohort is None:\n",
        "Nobody takes over another's silence.",
        ("tests/runtime/test_group.py::test_after_a_step_back_each_is_timed_by_what_it_has_heard_itself",),
    ),
    Mutant(
        "the-open-of-another",
        "_core/progress.py",
        "        if silence.opened is None or other.opened is None:",
        "        if True:",
        "Nobody takes over another's open.",
        ("tests/runtime/test_group.py::test_on_a_break_each_keeps_its_own_open",),
    ),
    Mutant(
        "taken-in-while-leaving",
        "_runtime/group.py",
        "if self._stopped or (self._driver is not None and self._driver.stopping):",
        "if self._stopped:",
        "A group that is leaving takes in nobody.",
        ("tests/runtime/test_group.py::test_a_group_that_is_leaving_takes_in_nobody",),
    ),
    Mutant(
        "halted-and-alike",
        "_core/progress.py",
        "            and self.halted is None\n            and self.called_off is None\n",
        "            and self.called_off is None\n",
        "Who is halted goes its own way.",
        ("tests/runtime/test_group.py::test_in_step_or_alone_a_member_does_the_same",),
    ),
    Mutant(
        "step-seen-by-one-member-only",
        "_runtime/driver.py",
        "        if now.step_since(before) is not None or not (self._dirty or alike):\n",
        "        if not (self._dirty or alike):\n",
        "A step of the clock is news to every member, whoever has looked first.",
        ("tests/runtime/test_group.py::test_a_step_is_news_to_every_member",),
    ),
    Mutant(
        "told-as-they-were-seen-to",
        "_runtime/subscriptions.py",
        "    dated.sort(key=itemgetter(0))\n",
        "",
        "A group tells in the order of time.",
        ("tests/runtime/test_group.py::test_events_come_in_the_order_of_time",),
    ),
    Mutant(
        "rolls-out-of-turn",
        "_runtime/driver.py",
        "        if self._rolls < self._most_rolls and next(iter(queue), member) is member:\n",
        "        if self._rolls < self._most_rolls:\n",
        "Rolls that wait come first come first served.",
        ("tests/runtime/test_group.py::test_who_waits_goes_before_who_comes",),
    ),
    Mutant(
        "nobody-is-called-up",
        "_runtime/driver.py",
        "        if self._queue:\n            self._call_up()\n",
        "",
        "A member that gives up waiting to roll holds up nobody.",
        ("tests/runtime/test_group.py::test_an_intent_that_cannot_be_written_frees_its_place",),
    ),
    Mutant(
        "gone-while-handlers-run",
        "_runtime/driver.py",
        "        if member.tasks:\n            self._ending[member] = None\n"
        "        else:\n            self._end(member)\n",
        "        self._end(member)\n",
        "A member has left when its handlers have ended.",
        ("tests/runtime/test_group.py::test_remove_waits_for_a_roll_under_way_and_for_handlers",),
    ),
    Mutant(
        "one-leaves-all-leave",
        "_runtime/driver.py",
        "        if not self._lasting:\n            self._stopping = True\n",
        "        self._stopping = True\n",
        "A group goes on when a member leaves, though it were the last.",
        ("tests/runtime/test_group.py::test_an_empty_group_waits_for_members",),
    ),
    # ---- the hours ----
    Mutant(
        "closed-session-not-journalled",
        "_core/lifecycle.py",
        "return Record(Entry.ENDED, self._walk.session.date, now.wall, note=in_short(change.override))",
        "return None",
        "A session that is closed at run time is not opened again by a restart.",
        ("tests/runtime/test_manager_hours.py::test_a_closure_is_journalled_as_the_end_of_the_session",),
    ),
    Mutant(
        "session-put-before-a-roll",
        "_core/lifecycle.py",
        "if before is None and any(turn.target.date > day for turn in self._rolls.rounds):",
        "if False:",
        "No session is put between the application's and the one that is being rolled to.",
        ("tests/runtime/test_manager_hours.py::test_a_session_cannot_be_put_before_one_that_is_being_rolled_to",),
    ),
    Mutant(
        "roll-keeps-old-hours",
        "_core/lifecycle.py",
        "turn.target = after or turn.target",
        "pass",
        "A roll under way leads into its session as it is by then.",
        ("tests/runtime/test_manager_hours.py::test_other_hours_for_the_target_of_a_roll_under_way",),
    ),
    Mutant(
        "closed-target-stays",
        "_core/lifecycle.py",
        "turn.called_off = in_short(change.override) if after is None else None",
        "pass",
        "A session that is closed while it is being rolled to is passed by.",
        ("tests/runtime/test_manager_hours.py::test_closing_the_target_of_a_roll_under_way",),
    ),
    Mutant(
        "closed-twice",
        "_core/schedule_change.py",
        "if session.close <= at:",
        "if False:",
        "A session that has closed is not closed again.",
        (
            "tests/runtime/test_manager_hours.py::test_what_contradicts_the_past_or_the_schedule_is_refused_and_changes_nothing",
        ),
    ),
    Mutant(
        "snapshot-overlap-accepted",
        "_schedules/snapshot_format.py",
        "midnight + hours.opens < closed",
        "False",
        "A snapshot whose sessions overlap is refused.",
        ("tests/schedules/test_snapshot.py::test_a_bad_line_is_named",),
    ),
    Mutant(
        "snapshot-double-hour-accepted",
        "_schedules/snapshot_format.py",
        "if hours.by_night and clocks_change:",
        "if False:",
        "An hour that is skipped, or comes twice, on its day is refused.",
        ("tests/schedules/test_snapshot.py::test_a_bad_line_is_named",),
    ),
    Mutant(
        "snapshot-evening-lost",
        "_schedules/local_hours.py",
        "(local.date() - session.date).days",
        "0",
        "A session that opens on the evening before comes back as it was.",
        ("tests/schedules/test_snapshot.py::test_what_is_loaded_is_what_was_written",),
    ),
    Mutant(
        "snapshot-end-is-closed",
        "_schedules/snapshot.py",
        '        self._require_known("last", last)\n',
        "",
        'Beyond its last day a snapshot knows nothing, which is not "closed".',
        ("tests/schedules/test_snapshot.py::test_beyond_its_days_it_knows_nothing",),
    ),
    Mutant(
        "snapshot-neighbour-ignored",
        "_schedules/snapshot.py",
        "if earlier.close > later.open:",
        "if False:",
        "Hours that would run into a neighbour are refused.",
        ("tests/schedules/test_snapshot.py::test_a_session_that_runs_into_a_neighbour_is_refused",),
    ),
    Mutant(
        "snapshot-overrides-held-against-calendar",
        "_schedules/snapshot.py",
        'if f"{each.date}" not in own',
        "",
        "What overrides decided is no difference from the calendar.",
        ("tests/schedules/test_snapshot.py::test_check_tells_where_the_calendar_no_longer_agrees",),
    ),
    Mutant(
        "past-rewritten",
        "_core/schedule_change.py",
        "for what, instant in sorted(was - will, key=itemgetter(1)):",
        "for what, instant in ():",
        "What has passed is never rewritten.",
        (
            "tests/runtime/test_manager_hours.py::test_what_contradicts_the_past_or_the_schedule_is_refused_and_changes_nothing",
        ),
    ),
    Mutant(
        "alarm-rings-again",
        "_core/alarms.py",
        "for due in instants[gone_off:])",
        "for due in instants)",
        "An alarm that has gone off does not go off again when its session's hours change.",
        (
            "tests/runtime/test_manager_hours.py::test_an_alarm_of_a_break_that_is_over_does_not_go_off_again_with_one_that_moves",
        ),
    ),
    Mutant(
        "called-off-walk-unmarked",
        "_core/progress.py",
        "return self.called_off is not None or due < self.position.since",
        "return due < self.position.since",
        "What is walked of a closed session is marked as catch-up.",
        ("tests/runtime/test_manager_hours.py::test_fault_19_a_closure_of_the_session_of_the_day_ends_it_now",),
    ),
    Mutant(
        "corrected-on-a-guess",
        "_schedules/corrections.py",
        "if before == (None if row.was is None else row.was.on(day, zone)):",
        "if True:",
        "A correction acts only where the calendar has exactly the wrong hours.",
        ("tests/schedules/test_corrections.py::test_nothing_is_touched_where_upstream_says_something_else",),
    ),
    Mutant(
        "overrides-may-overlap",
        "_schedules/exchange.py",
        "self._hold_apart(override.date)",
        "pass",
        "Sessions do not overlap, whatever is overridden.",
        ("tests/schedules/test_overrides.py::test_overrides_that_cannot_be_are_refused_at_construction",),
    ),
    # ---- the events ----
    Mutant(
        "overrun-dropped-silently",
        "_runtime/subscriptions.py",
        "self._overrun = self._ended = True",
        "self._ended = True",
        "A reader that misses events is told so by SubscriberOverrun.",
        ("tests/runtime/test_stream.py::test_fault_49_a_reader_that_falls_behind_is_overrun",),
    ),
    Mutant(
        "limit-off-by-one",
        "_runtime/subscriptions.py",
        "if len(self._events) < self._limit:",
        "if len(self._events) <= self._limit:",
        "A reader gets `limit` unread events and not one more.",
        ("tests/runtime/test_stream.py::test_fault_49_a_reader_that_falls_behind_is_overrun",),
    ),
    Mutant(
        "newest-event-first",
        "_runtime/subscriptions.py",
        "return self._events.popleft()",
        "return self._events.pop()",
        "Events come in the order in which they happened.",
        ("tests/runtime/test_stream.py::test_events_come_in_order_and_end",),
    ),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only the mutants of these names")
    parser.add_argument("--list", action="store_true", help="tell only which there are, and what they break")
    parser.add_argument("--jobs", type=int, default=1, help="how many to try at once (default: 1)")
    options = parser.parse_args()
    unknown = set(options.only or ()) - {mutant.name for mutant in MUTANTS}
    if unknown:
        parser.error(f"no such mutant: {', '.join(sorted(unknown))}")
    mutants = [mutant for mutant in MUTANTS if options.only is None or mutant.name in options.only]
    if options.list:
        for mutant in mutants:
            print(f"{mutant.name:<36}{mutant.file:<18}{mutant.breaks}")
        return 0
    begun = time.perf_counter()
    outcomes = []
    try:
        for outcome in trials(mutants, options.jobs):
            print(outcome, flush=True)
            outcomes.append(outcome)
    except Unusable as error:
        print(error)
        return 1
    killed = sum(outcome.killed for outcome in outcomes)
    print(f"{killed} of {len(mutants)} mutants killed in {time.perf_counter() - begun:.0f} s")
    return 0 if killed == len(mutants) else 1


def trials(mutants: Iterable[Mutant], jobs: int = 1) -> Iterator[Outcome]:
    """Try mutants, and yield what became of each, once the same tests have passed without any.

    Raises:
        Unusable: they have not.
    """
    mutants = list(mutants)
    check_baseline(mutants)
    pool = ThreadPoolExecutor(jobs)
    try:
        yield from pool.map(trial, mutants)
    finally:
        pool.shutdown(cancel_futures=True)


def check_baseline(mutants: Iterable[Mutant]) -> None:
    """See that the targets of all mutants pass in a copy that is not changed, and that they test the copy."""
    targets = dict.fromkeys(target for mutant in mutants for target in mutant.targets)
    with TemporaryDirectory() as folder:
        root = copied(Path(folder))
        where = ["-c", f"import {PACKAGE}; print({PACKAGE}.__file__)"]
        imported = Path(python(root, *where, timeout=LONGEST).stdout.strip())
        if not imported.is_relative_to(root):
            msg = f"the copy in {root} is not what is imported, but {imported}"
            raise Unusable(msg)
        run = pytest_run(root, targets, timeout=None)
    if run.returncode != 0:
        msg = f"without any mutant the tests end with status {run.returncode}:\n{run.stdout[-4000:]}"
        raise Unusable(msg)


def trial(mutant: Mutant) -> Outcome:
    """Run a mutant's tests against it."""
    begun = time.perf_counter()
    killer = trouble = None
    with TemporaryDirectory() as folder:
        root = copied(Path(folder))
        file = root / PACKAGE / mutant.file
        try:
            file.write_text(mutant.applied(file.read_text(encoding="utf-8")), encoding="utf-8")
            run = pytest_run(root, mutant.targets, timeout=LONGEST)
        except subprocess.TimeoutExpired:
            killer = f"a hang: timed out after {LONGEST} s"
        except Unusable as error:
            trouble = str(error)
        else:
            failed = re.search(r"^FAILED (?:tests/)?(.+?)(?: - |$)", run.stdout, re.MULTILINE)
            if run.returncode == 1 and failed is not None:
                killer = failed[1]
            elif run.returncode != 0:
                trouble = f"pytest ended with status {run.returncode}:\n{run.stdout[-2000:]}"
    return Outcome(mutant, time.perf_counter() - begun, killer, trouble)


def copied(folder: Path) -> Path:
    """Copy what the tests need into a folder, and return it."""
    for source in COPIED:
        if source.is_dir():
            shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / source.name)
    return folder.resolve()


def pytest_run(root: Path, targets: Iterable[str], *, timeout: float | None) -> subprocess.CompletedProcess[str]:
    """Run tests of a copy up to the first that fails."""
    return python(root, "-m", "pytest", "-x", "-q", "-n0", "-p", "no:cacheprovider", *targets, timeout=timeout)


def python(root: Path, *arguments: str, timeout: float | None) -> subprocess.CompletedProcess[str]:
    """Run Python in a copy, whose package is the one that it imports."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(SETTINGS_OF_OTHERS)}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=root,
        env=environment | {"PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=timeout,
        check=False,
    )


if __name__ == "__main__":
    sys.exit(main())
