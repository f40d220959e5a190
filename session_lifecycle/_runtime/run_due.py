"""`run_due`: a manager for as long as something is due, for cron and serverless functions."""

from session_lifecycle._core.machine import ENDED, ERROR
from session_lifecycle._journal.errors import NotLeadingError
from session_lifecycle._model.errors import ConfigurationError, ManagerStopped, RollFailedError
from session_lifecycle._model.events import Event, RollFailed, RollSucceeded
from session_lifecycle._runtime.manager import SessionBoundaryManager


async def run_due(manager: SessionBoundaryManager) -> tuple[RollSucceeded, ...]:
    """Run a manager until nothing is owed: catch up, roll what is owed, and stop. Return the rolls, oldest first.

    For processes that are started now and then, such as by cron, a scheduler or a serverless function. Start it after
    the end of each session, and again some times after that: where nothing is owed, it rolls nothing. Rolls are owed
    since the journal's session, or since the manager's `session=`. With `auto_roll=False` they are made all the same.

    Two at a time make one roll: on a `SqliteJournal` the second one raises `JournalLocked`; on a `PostgresJournal` it
    finds that the other leads, and returns at once. Where another replica begins to lead before a roll has completed,
    that one completes it, or another start does; the rolls so far are returned. Handlers may finish before it returns.

    Raises:
        ConfigurationError: the manager has neither a journal nor a `session=`, so that nothing would ever be owed.
        RollFailedError: a roll is owed, and the state is ERROR: the last attempt failed, or the journal has an ERROR of
            an earlier run, or more than `max_catch_up_sessions` were missed.
        ManagerStopped: the manager was stopped while a roll was owed.
        AlreadyStartedError: the manager has been started before.
        JournalLocked: another process has the journal open.
        JournalCorrupt, JournalMismatch, JournalUnavailable, JournalWriteFailed, ScheduleExhausted, NotASession,
            ClockFailed: as by `manager.run()`. Nothing was rolled.
    """
    host = manager._host  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] -- they are of one piece
    if host.journal is None and host.declared_session is None:
        rule = "must be given to the manager of run_due(), or session=: without either, nothing is ever owed"
        raise ConfigurationError("journal", None, rule)
    events = manager.events()
    log: list[Event] = []
    async with manager:
        while manager.leads and manager.state is ENDED:
            if not host.lifecycle.config.auto_roll:
                try:
                    await manager.roll()
                except RollFailedError:
                    continue  # raised below, once the manager has stopped
                except NotLeadingError:
                    break  # as where it is rolled automatically
            elif (event := await anext(events, None)) is not None:
                log.append(event)
            else:
                raise ManagerStopped("run_due()", manager.state)
        status, leads = manager.status(), manager.leads
    log += [event async for event in events]  # those that it had no need to wait for
    if leads and status.state is ERROR and status.roll_owed:
        failed = next((event for event in reversed(log) if isinstance(event, RollFailed)), None)
        target, attempts = (None, 0) if failed is None else (failed.next_session, failed.attempt)
        cause = None if failed is None else failed.error
        raise RollFailedError(status.session, target, attempts, status.reason or "") from cause
    return tuple(event for event in log if isinstance(event, RollSucceeded))


run_due.__module__ = "session_lifecycle"
