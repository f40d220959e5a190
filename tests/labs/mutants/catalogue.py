"""The list of mutants. Where a function moves or is renamed, its file and name here follow: nothing else does."""

import ast
from dataclasses import dataclass

from tests.labs.mutants.operators import (
    DoesNotApply,
    Operator,
    always,
    argument,
    assigned,
    call_becomes,
    compare,
    condition,
    drop_assignment,
    drop_call,
    drop_filter,
    drop_if,
    drop_operand,
    drop_raise,
    function_in,
    insert_before,
    insert_first,
    insert_in_if,
    never,
    operand,
    read_as,
    returns,
)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change to one function of the package, by operators that are applied one after the other.

    `breaks` says which promise is broken by that; `targets` are the tests, the fastest first, one of which must fail.
    """

    file: str
    function: str
    operators: tuple[Operator, ...]
    breaks: str
    targets: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.file}::{self.function} {' + '.join(map(str, self.operators))}"

    def applied(self, source: str) -> str:
        """Return the file's source with the change.

        Raises:
            DoesNotApply: the function is not there, or an operator does not fit it exactly.
        """
        tree = ast.parse(source)
        function = function_in(tree, self.function)
        for operator in self.operators:
            before = ast.dump(function)
            operator.apply(function)
            if ast.dump(function) == before:
                msg = f"{operator} changes nothing"
                raise DoesNotApply(msg)
        return ast.unparse(ast.fix_missing_locations(tree)) + "\n"


MUTANTS = (
    # ---- the journal in a file ----
    Mutant(
        "_journal/file.py",
        "FileJournal.append",
        (drop_call("sync"),),
        "A record is on the disk when append() returns.",
        ("tests/journal/test_journal_faults.py::test_fault_41_power_cut_at_every_call",),
    ),
    Mutant(
        "_journal/file.py",
        "FileJournal._rewrite",
        (drop_call("sync"),),
        "A file is on the disk before it is put in the place of the old one.",
        ("tests/journal/test_journal_faults.py::test_fault_41_power_cut_at_every_call",),
    ),
    Mutant(
        "_journal/file.py",
        "FileJournal._rewrite",
        (drop_call("sync_folder"),),
        "The renaming is on the disk before anything counts that stands in the new file.",
        ("tests/journal/test_journal_faults.py::test_fault_41_power_cut_at_every_call",),
    ),
    Mutant(
        "_journal/file.py",
        "read_lines",
        (never("sealed"),),
        "A damaged line is refused.",
        ("tests/journal/test_file_journal.py::test_fault_43_any_bit_flipped",),
    ),
    Mutant(
        "_journal/file.py",
        "sealed_line",
        (argument("crc32", 1, None),),
        "A line that is missing or out of its place is refused.",
        ("tests/journal/test_file_journal.py::test_fault_43_lines_out_of_order",),
    ),
    Mutant(
        "_journal/file.py",
        "read_lines",
        (condition("sealed_line", "tail"),),
        "The torn end of a last write is left out, and the journal goes on.",
        ("tests/journal/test_file_journal.py::test_fault_42_truncated_at_every_byte",),
    ),
    Mutant(
        "_journal/file.py",
        "read_lines",
        (never("sealed_line"),),
        "A whole last line whose newline is damaged is no torn write: it is refused, not forgotten.",
        ("tests/journal/test_file_journal.py::test_fault_43_any_bit_flipped",),
    ),
    Mutant(
        "_journal/file.py",
        "FileJournal._take_lock",
        (drop_call("flock"),),
        "One manager holds a journal at a time.",
        ("tests/journal/test_file_journal.py::test_fault_46_a_second_journal_of_this_process_is_refused",),
    ),
    Mutant(
        "_journal/file.py",
        "FileJournal.append",
        (drop_operand("_in_doubt"),),
        "After an append that failed, the file is written anew.",
        ("tests/journal/test_journal_faults.py::test_faults_44_45_an_error_at_every_call",),
    ),
    Mutant(
        "_journal/file.py",
        "FileJournal._compacted",
        (call_becomes("records", "{}[:1]"),),
        "Compaction sums up all that the distant past still means, not its session alone.",
        ("tests/journal/test_file_journal.py::test_a_journal_stays_small_whatever_happens",),
    ),
    Mutant(
        "_journal/file.py",
        "FileJournal._load",
        (drop_raise("JournalMismatch"),),
        "Another calendar's journal is a JournalMismatch.",
        ("tests/journal/test_file_journal.py::test_fault_47_another_calendar_is_refused",),
    ),
    # ---- what the journal means ----
    Mutant(
        "_journal/records.py",
        "completion",
        (drop_raise("JournalMismatch"),),
        "A session= that contradicts the journal is a JournalMismatch.",
        ("tests/journal/test_journal.py::test_an_application_elsewhere_is_refused",),
    ),
    Mutant(
        "_journal/records.py",
        "JournalState.after",
        (drop_operand("intent target", nth=1),),
        "A completion that does not match its intent is refused.",
        ("tests/journal/test_journal.py::test_done_must_match_the_intent",),
    ),
    Mutant(
        "_journal/records.py",
        "JournalState.after",
        (returns("note", "self"),),
        "A restart in ERROR is in ERROR.",
        ("tests/runtime/test_manager_journal.py::test_a_restart_in_error_stays_in_error",),
    ),
    Mutant(
        "_journal/records.py",
        "JournalState.after",
        (argument("replace", "intent", None, about="abandoned_target"),),
        "A roll that was given up with SKIP is not finished by the next start.",
        (
            "tests/journal/test_journal.py::test_what_records_add_up_to",
            "tests/runtime/test_manager_journal.py::test_recover_skip_that_a_restart_comes_in_between",
        ),
    ),
    # ---- the order of writing, rolling and publishing ----
    Mutant(
        "_runtime/host.py",
        "Host.begin",
        (drop_call("append"),),
        "The session is in the journal before the application runs.",
        ("tests/runtime/test_manager_journal.py::test_the_session_is_journalled_before_the_body_runs",),
    ),
    Mutant(
        "_runtime/host.py",
        "Host.begin_roll",
        (drop_call("append"),),
        "The intent is in the journal before the roll is awaited.",
        ("tests/runtime/test_manager_journal.py::test_intent_then_roll_then_done_then_entered_then_told",),
    ),
    Mutant(
        "_runtime/host.py",
        "Host.begin_roll",
        (drop_assignment("intended"),),
        "A round has one intent, however many attempts it takes.",
        ("tests/runtime/test_manager_journal.py::test_one_intent_for_all_attempts_of_a_round",),
    ),
    Mutant(
        "_runtime/host.py",
        "Host.begin_roll",
        (insert_before("begin_roll", "self.write(Record(Entry.DONE, roll.ended.date, now.wall, roll.target.date))"),),
        "A roll is not done before it has returned.",
        ("tests/runtime/test_manager_journal.py::test_intent_then_roll_then_done_then_entered_then_told",),
    ),
    Mutant(
        "_runtime/host.py",
        "Host.end_roll",
        (drop_call("write"),),
        "A roll that is done is not done again by the next start.",
        ("tests/runtime/test_manager_journal.py::test_intent_then_roll_then_done_then_entered_then_told",),
    ),
    Mutant(
        "_runtime/host.py",
        "Host.end_roll",
        (
            insert_before("write", "self.lifecycle.roll_succeeded(roll, now); self.emit()"),
            call_becomes("roll_succeeded", "None", nth=2),
        ),
        "No event of a session is published before the roll to it is durable.",
        ("tests/runtime/test_manager_journal.py::test_intent_then_roll_then_done_then_entered_then_told",),
    ),
    Mutant(
        "_runtime/host.py",
        "Host.end_roll",
        (call_becomes("roll_unrecorded", "self.lifecycle.roll_succeeded(roll, now)"),),
        "A roll that returned and could not be recorded as done is an ERROR that says so.",
        ("tests/runtime/test_manager_journal.py::test_fault_45_a_done_that_cannot_be_written",),
    ),
    Mutant(
        "_runtime/host.py",
        "Host.dispatch",
        (never("ERROR"),),
        "An ERROR is in the journal before its event is published.",
        ("tests/runtime/test_manager_journal.py::test_a_failure_is_written_before_it_is_told",),
    ),
    Mutant(
        "_runtime/manager.py",
        "SessionBoundaryManager.end_session",
        (drop_call("write"),),
        "A session that `end_session()` ended is still ended after a restart.",
        ("tests/runtime/test_manager_journal.py::test_end_session_by_hand_survives_a_restart",),
    ),
    Mutant(
        "_runtime/manager.py",
        "SessionBoundaryManager.recover",
        (drop_call("write"),),
        "A decision by `recover()` is in the journal before it takes effect.",
        ("tests/runtime/test_manager_journal.py::test_recover_retry_then_restart",),
    ),
    # ---- which session to roll to, and how often ----
    Mutant(
        "_core/rolls.py",
        "_hold_to",
        (argument("range", 0, "{} + 1"),),
        "At most `max_catch_up_sessions` missed sessions are rolled or skipped automatically.",
        ("tests/core/test_rolls.py::test_the_limit_is_inclusive",),
    ),
    Mutant(
        "_core/rolls.py",
        "skipped_between",
        (drop_filter("target"),),
        "The sessions that are skipped lie strictly between the one that ended and the target.",
        ("tests/core/test_rolls.py::test_the_target_is_what_counting_gives",),
    ),
    Mutant(
        "_core/rolls.py",
        "choose_target",
        (assigned("following", "first"),),
        "After SKIP the next roll goes to a later session.",
        ("tests/core/test_rolls.py::test_the_target_lies_beyond_what_was_skipped",),
    ),
    Mutant(
        "_core/lifecycle.py",
        "SessionLifecycle.recover",
        (always("DONE"),),
        "SKIP gives a roll up: it does not enter the session that it would have led to.",
        ("tests/runtime/test_manager_journal.py::test_recover_with_an_open_intent",),
    ),
    Mutant(
        "_core/rolls.py",
        "Rolls.plan",
        (drop_if("unfinished"),),
        "A roll that was begun and may have completed is finished first, for its own date.",
        ("tests/core/test_rolls.py::test_a_round_that_was_intended_comes_first",),
    ),
    Mutant(
        "_core/rolls.py",
        "Rolls.drop",
        (drop_assignment("unfinished"),),
        "After an ERROR the roll that was begun is finished first, for its own date.",
        ("tests/runtime/test_manager_journal.py::test_a_resumed_roll_that_fails_is_retried_and_then_an_error",),
    ),
    Mutant(
        "_core/rolls.py",
        "RollRound.resumed_from",
        (argument("cls", "resumed", None),),
        "The events of a roll that an earlier run has begun say so.",
        ("tests/runtime/test_manager_journal.py::test_an_open_intent_is_finished_first_for_its_own_date",),
    ),
    Mutant(
        "_core/rolls.py",
        "Rolls.failed",
        (compare("attempt attempts", "<", "<="),),
        "No attempt is announced after the last.",
        ("tests/core/test_rolls.py::test_fault_30_failures_are_followed_by_waits",),
    ),
    Mutant(
        "_core/rolls.py",
        "Rolls.is_spent",
        (read_as("attempts", "{} - 1"),),
        "A roll is tried as often as `roll_retry` says before the state is ERROR.",
        ("tests/runtime/test_manager_roll.py::test_attempts_exhausted_is_an_error_with_the_roll_still_owed",),
    ),
    Mutant(
        "_core/rolls.py",
        "Rolls.failed",
        (argument("delay_after", 0, "1"),),
        "The waits between attempts grow.",
        ("tests/runtime/test_manager_roll.py::test_a_failed_roll_is_tried_again_at_growing_intervals",),
    ),
    Mutant(
        "_core/rolls.py",
        "Rolls.begin",
        (assigned("expires_at", "None"),),
        "An attempt that takes longer than `roll_timeout` has failed.",
        ("tests/core/test_rolls.py::test_an_attempt_may_take_less_than_its_timeout",),
    ),
    Mutant(
        "_core/rolls.py",
        "Rolls.expire",
        (compare("expires_at", ">=", ">"),),
        "An attempt is cut short at the very instant at which its timeout has passed.",
        ("tests/core/test_rolls.py::test_an_attempt_may_take_less_than_its_timeout",),
    ),
    Mutant(
        "_core/rolls.py",
        "Rolls.succeeded",
        (operand("monotonic", "False"),),
        "A roll that swallows the end of its time and returns has succeeded with overrun=True.",
        (
            "tests/runtime/test_manager_roll.py::test_fault_35_a_roll_that_swallows_its_cancellation_has_succeeded_with_an_overrun",
        ),
    ),
    # ---- the core ----
    Mutant(
        "_core/lifecycle.py",
        "SessionLifecycle.recover",
        (argument("fire", "roll_owed", "False"),),
        "recover() leads back to the roll where one is owed.",
        ("tests/runtime/test_manager.py::test_recover_with_a_roll_owed_goes_to_the_roll",),
    ),
    Mutant(
        "_core/lifecycle.py",
        "SessionLifecycle.fail",
        (insert_in_if("ERROR", "self._progress.reason = reason"),),
        "fail() in ERROR changes nothing: the first reason stands.",
        ("tests/runtime/test_manager.py::test_fail_in_error_changes_nothing_and_logs_a_line",),
    ),
    Mutant(
        "_core/lifecycle.py",
        "SessionLifecycle._complete",
        (drop_if("_failing"),),
        "fail() during a roll takes effect once that has ended.",
        ("tests/runtime/test_manager_roll.py::test_fail_during_a_roll_that_succeeds",),
    ),
    Mutant(
        "_core/lifecycle.py",
        "SessionLifecycle.roll_owed",
        (compare("end", ">=", ">"),),
        "A roll is owed from the very instant at which the session ends, in ERROR too.",
        ("tests/runtime/test_manager.py::test_in_error_too_a_roll_is_owed_from_the_very_end_of_the_session",),
    ),
    Mutant(
        "_core/lifecycle.py",
        "SessionLifecycle._complete",
        (drop_assignment("catching_up"),),
        "Transitions that a roll has delayed are marked as catch-up.",
        ("tests/runtime/test_manager_roll.py::test_fault_39_a_roll_that_overruns_the_next_open",),
    ),
    Mutant(
        "_core/lifecycle.py",
        "_age",
        (argument("max", 0, "abs({})"),),
        "Data from the future counts as of now.",
        ("tests/runtime/test_manager_data.py::test_fault_07_data_from_the_future_counts_as_now",),
    ),
    Mutant(
        "_core/lifecycle.py",
        "SessionLifecycle.can_trade",
        (drop_operand("on_break"),),
        "can_trade is False on a break.",
        ("tests/runtime/test_manager.py::test_a_break_in_progress_is_known_from_the_start",),
    ),
    # ---- progress through a session ----
    Mutant(
        "_core/progress.py",
        "Progress.take_transition",
        (compare("wall", "<", "<="),),
        "At exactly a boundary the next state holds.",
        ("tests/runtime/test_departures.py::test_at_exactly_the_close_the_market_is_closed",),
    ),
    Mutant(
        "_core/timeline.py",
        "_position",
        (compare("boundary", "<", "<="),),
        "Intervals are half-open: a boundary belongs to what it begins.",
        ("tests/core/test_timeline.py::test_fault_12_the_position_at_any_instant",),
    ),
    Mutant(
        "_core/progress.py",
        "Progress.observe",
        (assigned("delta", "None"),),
        "A step of the wall clock is reported.",
        ("tests/runtime/test_manager_time.py::test_a_step_over_a_break_walks_it",),
    ),
    Mutant(
        "_model/clock.py",
        "Reading.step_since",
        (compare("STEP", "<", "<="),),
        "A step of exactly a second is one.",
        ("tests/runtime/test_clock.py::test_a_step_is_a_second_or_more",),
    ),
    Mutant(
        "_core/progress.py",
        "Progress.observe",
        (insert_in_if("delta", "if delta < timedelta(0): self.state = NOT_STARTED"),),
        "A step back undoes nothing and rolls nothing twice.",
        (
            "tests/runtime/test_manager_data.py::test_a_step_of_the_wall_clock_alone_never_causes_a_timeout",
            "tests/runtime/test_manager_time.py::test_fault_21_the_wall_clock_steps_back",
        ),
    ),
    Mutant(
        "_core/progress.py",
        "Progress.fire",
        (assigned("catch_up", "False"),),
        "A transition that is applied late says catch_up=True.",
        ("tests/runtime/test_manager.py::test_recover_walks_the_session_again_marked_as_catch_up",),
    ),
    Mutant(
        "_core/progress.py",
        "Progress.fire",
        (never("PRE_MARKET"),),
        "A feed that never starts is noticed.",
        ("tests/runtime/test_manager_data.py::test_the_watch_begins_at_the_open",),
    ),
    Mutant(
        "_core/staleness.py",
        "StalenessTimer.suspend",
        (drop_assignment("since"),),
        "No data is expected on a break.",
        ("tests/runtime/test_manager_data.py::test_fault_15_no_timeout_at_lunch",),
    ),
    Mutant(
        "_core/progress.py",
        "Progress.take_transition",
        (insert_first("if self.state in (ACTIVE, TIMEOUT) and self._listen(): return True"),),
        "Where the stale deadline equals the close, the close wins.",
        ("tests/runtime/test_manager_data.py::test_fault_27_where_silence_and_close_fall_together_the_close_wins",),
    ),
    Mutant(
        "_core/progress.py",
        "Progress.fire",
        (drop_if("NOT_STARTED"),),
        "Every session has its breaks.",
        ("tests/runtime/test_manager_data.py::test_fault_15_the_breaks_of_every_day",),
    ),
    # ---- the driver and the manager ----
    Mutant(
        "_runtime/driver.py",
        "Driver._attempt",
        (argument("end_roll", 1, "None"),),
        "A roll that raises has failed.",
        ("tests/runtime/test_manager_roll.py::test_a_failed_roll_is_tried_again_at_growing_intervals",),
    ),
    Mutant(
        "_runtime/driver.py",
        "Driver._attempt",
        (never("takes_back_cancellation", nth=1),),
        "A roll that the manager's own cancellation cuts off has not failed: its intent stays as it is.",
        ("tests/runtime/test_manager_roll.py::test_fault_37_cancelled_by_a_scope_during_the_roll",),
    ),
    Mutant(
        "_runtime/callbacks.py",
        "takes_back_cancellation",
        (returns("True", "False"),),
        "A foreign cancellation of the roll's task ends that attempt only.",
        (
            "tests/runtime/test_manager_roll.py::test_fault_31_a_roll_whose_own_task_is_cancelled_natively_is_not_lost_in_silence",
        ),
    ),
    Mutant(
        "_runtime/driver.py",
        "Driver._attempt",
        (always("takes_back_cancellation", nth=2),),
        "A cancellation of the roll's task after its last await ends nothing.",
        ("tests/journal/test_journal_faults.py::test_fault_38_cancelled_just_after_the_roll_returned",),
    ),
    Mutant(
        "_runtime/callbacks.py",
        "takes_back_cancellation",
        (drop_operand("current_effective_deadline"),),
        "A cancellation of the manager does not count as a failure of the roll.",
        ("tests/runtime/test_manager_roll.py::test_fault_37_cancelled_by_a_scope_during_the_roll",),
    ),
    Mutant(
        "_runtime/driver.py",
        "Driver._poll_host",
        (never("roll_expired"),),
        "An attempt that has expired is cancelled.",
        ("tests/runtime/test_manager_roll.py::test_fault_33_a_roll_that_takes_too_long_is_cancelled",),
    ),
    Mutant(
        "_runtime/driver.py",
        "Driver._was_rolled",
        (always("resumed"),),
        "was_rolled is asked before a resumed roll is awaited.",
        ("tests/runtime/test_manager_journal.py::test_was_rolled_true_is_not_run_again",),
    ),
    Mutant(
        "_runtime/driver.py",
        "Driver._was_rolled",
        (drop_operand("resumed"),),
        "was_rolled is asked of a roll that an earlier run has begun, and of no other.",
        ("tests/runtime/test_manager_journal.py::test_was_rolled_is_not_asked_about_a_roll_that_this_run_begins",),
    ),
    Mutant(
        "_runtime/driver.py",
        "Driver.leave",
        (drop_call("stop"),),
        "Leaving lets an attempt under way finish, and starts no other.",
        ("tests/runtime/test_manager_roll.py::test_leaving_starts_no_retry",),
    ),
    Mutant(
        "_runtime/manager.py",
        "SessionBoundaryManager._refuse_inside",
        (never("inside"),),
        "A call from inside the roll that would wait for the roll raises ReentrancyError at once.",
        ("tests/runtime/test_manager.py::test_fault_50_waiting_calls_inside_the_roll_are_refused",),
    ),
    Mutant(
        "_runtime/lifespan.py",
        "Lifespan._claim",
        (drop_raise("AlreadyStartedError"),),
        "A manager runs once only.",
        ("tests/runtime/test_manager.py::test_fault_51_started_twice",),
    ),
    Mutant(
        "_runtime/lifespan.py",
        "Lifespan._leave",
        (call_becomes("cancel", "self.stop()"),),
        "Leaving by an exception does not wait for the roll.",
        ("tests/runtime/test_manager.py::test_an_error_of_the_body_does_not_wait_for_the_roll",),
    ),
    # ---- a group ----
    Mutant(
        "_core/lifecycle.py",
        "SessionLifecycle.adopt",
        (never("step_since"),),
        "A member of a cohort still notices a step of the clock since its own last reading.",
        ("tests/runtime/test_group.py::test_a_drift_that_one_has_not_seen_is_a_step_for_that_one_alone",),
    ),
    Mutant(
        "_runtime/cohorts.py",
        "CohortResult._tell",
        (call_becomes("kind", "event"),),
        "Each member's events carry its own name.",
        ("tests/runtime/test_group.py::test_alike_members_cross_together_and_are_told_apart",),
    ),
    Mutant(
        "_runtime/cohorts.py",
        "CohortResult._tell",
        (drop_operand("heard"),),
        "A member that follows another publishes to its own readers.",
        ("tests/runtime/test_group.py::test_alike_members_tell_their_own_readers_where_nothing_is_logged",),
    ),
    Mutant(
        "_runtime/cohorts.py",
        "CohortResult.__init__",
        (drop_operand("events"),),
        "Followers take over transitions only: each times its own data.",
        ("tests/runtime/test_group.py::test_after_a_step_back_each_is_timed_by_what_it_has_heard_itself",),
    ),
    Mutant(
        "_core/progress.py",
        "Progress.adopt",
        (always("opened"),),
        "Each member keeps the instant at which it opened.",
        ("tests/runtime/test_group.py::test_on_a_break_each_keeps_its_own_open",),
    ),
    Mutant(
        "_runtime/group.py",
        "SessionGroup.add",
        (drop_operand("stopping", nth=1),),
        "A group that is stopping refuses new members.",
        ("tests/runtime/test_group.py::test_a_group_that_is_leaving_takes_in_nobody",),
    ),
    Mutant(
        "_core/progress.py",
        "Progress.is_plain",
        (drop_operand("halted"),),
        "A halted member belongs to no cohort.",
        ("tests/runtime/test_group.py::test_in_step_or_alone_a_member_does_the_same",),
    ),
    Mutant(
        "_runtime/driver.py",
        "Driver._iterate",
        (drop_operand("step_since"),),
        "Every member notices a step of the clock, whichever read the clock first.",
        ("tests/runtime/test_group.py::test_a_step_is_news_to_every_member",),
    ),
    Mutant(
        "_runtime/subscriptions.py",
        "in_time_order",
        (drop_call("sort"),),
        "A group publishes events in the order of time.",
        ("tests/runtime/test_group.py::test_events_come_in_the_order_of_time",),
    ),
    Mutant(
        "_runtime/driver.py",
        "Driver._may_roll",
        (drop_operand("iter"),),
        "Rolls that wait for their turn are served in the order of arrival.",
        ("tests/runtime/test_group.py::test_who_waits_goes_before_who_comes",),
    ),
    Mutant(
        "_runtime/driver.py",
        "Driver._poll_host",
        (drop_call("_admit_next_roll"),),
        "A member that stops waiting for its turn frees the place for the next.",
        ("tests/runtime/test_group.py::test_an_intent_that_cannot_be_written_frees_its_place",),
    ),
    Mutant(
        "_runtime/driver.py",
        "Driver._remove",
        (never("tasks"),),
        "A member has left when its handlers have ended.",
        ("tests/runtime/test_group.py::test_remove_waits_for_a_roll_under_way_and_for_handlers",),
    ),
    Mutant(
        "_runtime/driver.py",
        "Driver.leave",
        (always("_lasting"),),
        "A group goes on when a member leaves, even the last one.",
        ("tests/runtime/test_group.py::test_an_empty_group_waits_for_members",),
    ),
    # ---- the hours ----
    Mutant(
        "_core/lifecycle.py",
        "SessionLifecycle.ending",
        (returns("ENDED", "None"),),
        "A session that is closed at run time is not opened again by a restart.",
        ("tests/runtime/test_manager_hours.py::test_a_closure_is_journalled_as_the_end_of_the_session",),
    ),
    Mutant(
        "_core/lifecycle.py",
        "SessionLifecycle.plan_override",
        (never("rounds"),),
        "No session is inserted between the current one and the target of the roll under way.",
        ("tests/runtime/test_manager_hours.py::test_a_session_cannot_be_put_before_one_that_is_being_rolled_to",),
    ),
    Mutant(
        "_core/lifecycle.py",
        "SessionLifecycle.change_schedule",
        (drop_assignment("target"),),
        "A roll under way leads into its session as it is by then.",
        ("tests/runtime/test_manager_hours.py::test_other_hours_for_the_target_of_a_roll_under_way",),
    ),
    Mutant(
        "_core/lifecycle.py",
        "SessionLifecycle.change_schedule",
        (drop_assignment("called_off"),),
        "A session that is closed while the roll to it is under way is passed over.",
        ("tests/runtime/test_manager_hours.py::test_closing_the_target_of_a_roll_under_way",),
    ),
    Mutant(
        "_core/schedule_change.py",
        "cut_short",
        (drop_raise("OverrideRefused"),),
        "A session that has closed is not closed again.",
        (
            "tests/runtime/test_manager_hours.py::test_what_contradicts_the_past_or_the_schedule_is_refused_and_changes_nothing",
        ),
    ),
    Mutant(
        "_schedules/snapshot_format.py",
        "_sessions",
        (drop_operand("opens"),),
        "A snapshot whose sessions overlap is refused.",
        ("tests/schedules/test_snapshot.py::test_a_bad_line_is_named",),
    ),
    Mutant(
        "_schedules/snapshot_format.py",
        "_sessions",
        (never("by_night"),),
        "An hour that is skipped, or comes twice, on its day is refused.",
        ("tests/schedules/test_snapshot.py::test_a_bad_line_is_named",),
    ),
    Mutant(
        "_schedules/local_hours.py",
        "in_words",
        (argument("LocalTimeOfDay", 0, "0"),),
        "A session that opens on the evening before comes back as it was.",
        ("tests/schedules/test_snapshot.py::test_what_is_loaded_is_what_was_written",),
    ),
    Mutant(
        "_schedules/snapshot.py",
        "SnapshotSchedule.sessions",
        (drop_call("_require_known", nth=2),),
        'Beyond its last day a snapshot knows nothing, which is not "closed".',
        ("tests/schedules/test_snapshot.py::test_beyond_its_days_it_knows_nothing",),
    ),
    Mutant(
        "_schedules/snapshot.py",
        "SnapshotSchedule.with_session",
        (never("earlier"),),
        "Hours that would run into a neighbour are refused.",
        ("tests/schedules/test_snapshot.py::test_a_session_that_runs_into_a_neighbour_is_refused",),
    ),
    Mutant(
        "_schedules/snapshot.py",
        "SnapshotSchedule.check",
        (drop_filter("own"),),
        "Dates whose hours come from overrides are not reported as differences.",
        ("tests/schedules/test_snapshot.py::test_check_tells_where_the_calendar_no_longer_agrees",),
    ),
    Mutant(
        "_core/schedule_change.py",
        "hold_past",
        (drop_raise("OverrideRefused", nth=1),),
        "An hour that has passed is never changed.",
        (
            "tests/runtime/test_manager_hours.py::test_what_contradicts_the_past_or_the_schedule_is_refused_and_changes_nothing",
        ),
    ),
    Mutant(
        "_core/alarms.py",
        "AlarmScheduler._replace",
        (assigned("gone_off", "0"),),
        "An alarm that has gone off does not go off again when its session's hours change.",
        (
            "tests/runtime/test_manager_hours.py::test_an_alarm_of_a_break_that_is_over_does_not_go_off_again_with_one_that_moves",
        ),
    ),
    Mutant(
        "_core/progress.py",
        "Progress._is_catch_up",
        (drop_operand("called_off"),),
        "Transitions of a session that is called off are marked as catch-up.",
        ("tests/runtime/test_manager_hours.py::test_fault_19_a_closure_of_the_session_of_the_day_ends_it_now",),
    ),
    Mutant(
        "_schedules/corrections.py",
        "corrected",
        (always("before"),),
        "A correction acts only where the calendar has exactly the wrong hours.",
        ("tests/schedules/test_corrections.py::test_nothing_is_touched_where_upstream_says_something_else",),
    ),
    Mutant(
        "_schedules/exchange.py",
        "ExchangeSchedule.__init__",
        (drop_call("_hold_apart"),),
        "Overrides cannot make sessions overlap.",
        ("tests/schedules/test_overrides.py::test_overrides_that_cannot_be_are_refused_at_construction",),
    ),
    # ---- the events ----
    Mutant(
        "_runtime/subscriptions.py",
        "Subscription.put",
        (drop_assignment("_overrun"),),
        "A reader that misses events gets a SubscriberOverrun.",
        ("tests/runtime/test_stream.py::test_fault_49_a_reader_that_falls_behind_is_overrun",),
    ),
    Mutant(
        "_runtime/subscriptions.py",
        "Subscription.put",
        (compare("_limit", "<", "<="),),
        "A reader gets `limit` unread events and not one more.",
        ("tests/runtime/test_stream.py::test_fault_49_a_reader_that_falls_behind_is_overrun",),
    ),
    Mutant(
        "_runtime/subscriptions.py",
        "Subscription.__anext__",
        (call_becomes("popleft", "self._events.pop()"),),
        "Events come in the order in which they happened.",
        ("tests/runtime/test_stream.py::test_events_come_in_order_and_end",),
    ),
)
