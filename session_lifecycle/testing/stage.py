"""Play a script: simulated time, the application's manager, and the faults when they are due."""

import inspect
import logging
import traceback
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any, Final, NoReturn, TypeVar, cast

import anyio
from anyio.abc import TaskGroup

from session_lifecycle._model.config import LifecycleConfig
from session_lifecycle._model.errors import (
    ConfigurationError,
    LifecycleError,
    ManagerStopped,
    ScheduleExhausted,
    describe,
)
from session_lifecycle._model.events import Event, HandlerFailed, RollFailed
from session_lifecycle._model.session import end_of
from session_lifecycle._model.states import SessionState
from session_lifecycle._runtime.arguments import require_async
from session_lifecycle._runtime.event_log import LOGGER
from session_lifecycle._runtime.feed import AdaptiveFeed
from session_lifecycle._runtime.host import RollSession
from session_lifecycle._runtime.manager import SessionBoundaryManager
from session_lifecycle._schedules.base import Schedule
from session_lifecycle.testing.clock import SimulatedClock
from session_lifecycle.testing.plan import Act, DataFeed, Restart, RollFault, ScriptPlan
from session_lifecycle.testing.recorder import Recorder, assertion_in, record
from session_lifecycle.testing.result import Line, Refused, Result, RollAttempt, diary

App = TypeVar("App")

_NO_TIME: Final = timedelta(0)
_AFTERWARDS: Final = timedelta(hours=1)


def _drop(_: logging.LogRecord) -> bool:
    return False


class _Killed(BaseException):
    """Ends the application as a power cut would: its `except Exception` does not catch it."""

    @classmethod
    def among(cls, error: BaseException) -> bool:
        """Whether an error is this one, or a group that contains it. Other exceptions of such a group are lost too."""
        if isinstance(error, BaseExceptionGroup):
            return any(map(cls.among, cast("BaseExceptionGroup[BaseException]", error).exceptions))
        return isinstance(error, cls)


def _has_only_stopped(error: BaseException) -> bool:
    """Whether an error, or all of a group, says that a manager has stopped."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_has_only_stopped, cast("BaseExceptionGroup[BaseException]", error).exceptions))
    return isinstance(error, ManagerStopped)


class Stage:
    """One run of a script: its clock, the current application, and the record of all that happened."""

    app: Any

    def __init__(self, plan: ScriptPlan, script: str) -> None:
        self.clock: Final = SimulatedClock(plan.days.start)
        self._plan = plan
        self._script = script
        self._end = plan.days.end
        self._acts = deque(sorted(plan.acts, key=lambda act: act.at))
        self._injected = {id(fault.error) for faults in plan.roll_faults.values() for fault in faults}
        self._faults: dict[tuple[str | None, date], deque[RollFault]] = {}  # those that are left, of each manager
        self._made: dict[str | None, SessionBoundaryManager] = {}
        self._recorders: list[Recorder] = []
        self._running = 0  # how many managers have events that are still to come
        self._runs: list[list[Event]] = []
        self._rolls: list[RollAttempt] = []
        self._refused: list[Refused] = []
        self._lines: list[Line] = []
        self._failure: Exception | None = None
        self._over = False  # whether the script has stopped the managers at its end
        self._down: timedelta | None = None  # how long the killed application stays down
        self._playing: anyio.CancelScope  # cancelled when the application fails
        self._stopped: anyio.Event  # set when no manager has events to come

    async def play(self, factory: Callable[[type[SessionBoundaryManager]], App]) -> Result[App]:
        """Play the script to its end. Its events are in the diary and are not logged."""
        LOGGER.logger.addFilter(_drop)
        try:
            await self._run(factory)
            while self._down is not None:
                await self.clock.advance(self._down)
                await self._run(factory)
        except Exception as error:
            error.add_note(diary(self._script, self._plan.days, self._lines))
            raise
        finally:
            LOGGER.logger.removeFilter(_drop)
        return Result(
            cast("App", self.app),
            dict(self._made),
            tuple(map(tuple, self._runs)),
            tuple(self._rolls),
            tuple(self._refused),
            self._script,
            self._plan.days,
            tuple(self._lines),
        )

    # ---- the application ----

    async def _run(self, factory: Callable[[type[SessionBoundaryManager]], object]) -> None:
        """Run the application until the script kills it, or to the end."""
        self._make(factory)
        self._down = None
        self._playing = anyio.CancelScope()
        async with anyio.create_task_group() as tasks:
            try:
                async with self._entered(tasks):
                    await self._perform(tasks)
            except BaseException as error:
                if not _Killed.among(error):
                    if not isinstance(error, Exception):
                        raise
                    self._failure = self._failure or error  # raised by the application
            tasks.cancel_scope.cancel()
        if self._failure is not None:
            raise self._failure

    def _make(self, factory: Callable[[type[SessionBoundaryManager]], object]) -> None:
        """Create the application, and find its managers."""
        stage = self

        class Scripted(SessionBoundaryManager):
            """A manager with the script's schedule and clock, and faults in its roll."""

            def __init__(
                self,
                schedule: Schedule | str,
                roll_session: RollSession,
                **options: Any,  # noqa: ANN401 -- the class has the types
            ) -> None:
                del schedule  # the script's times refer to the script's own schedule
                require_async("roll_session", "a date", roll_session)
                options["clock"] = stage.clock
                name = options.get("name")
                if name in stage._made:
                    raise ConfigurationError("name", name, "must be another one for each manager of the application")
                super().__init__(stage._plan.days.schedule, stage._faulty(roll_session, name), **options)
                stage._made[name] = self
                stage._play_until_the_end_of(options.get("config", LifecycleConfig()))
                stage._running += 1
                stage._recorders.append(Recorder(stage._record, stage._note_the_end))
                record(self, stage._recorders[-1])

        self._made.clear()
        self._recorders.clear()
        self._running, self._stopped = 0, anyio.Event()
        self._runs.append([])
        self.app = factory(Scripted)
        if not self._made:
            rule = "must create a manager of the class that it is called with; it has created none"
            raise ConfigurationError("factory", factory, rule)

    def _play_until_the_end_of(self, config: LifecycleConfig) -> None:
        """Extend the script until the last session has ended, by the application's configuration, and been rolled."""
        schedule, last, following = self._plan.days.schedule, self._plan.days.sessions[-1], None
        with suppress(ScheduleExhausted):
            following = schedule.next_session(last.date)
        self._end = max(self._end, end_of(last, following, config.post_market_roll_delay) + _AFTERWARDS)

    @asynccontextmanager
    async def _entered(self, tasks: TaskGroup) -> AsyncGenerator[None]:
        """Run the application inside the block: enter it, call its `run()`, or enter its managers."""
        app, managers = self.app, [*self._made.values()]
        if hasattr(app, "__aenter__"):
            async with app:
                yield
        elif hasattr(app, "run"):
            scope = anyio.CancelScope()
            tasks.start_soon(self._host, app.run, scope)
            try:
                await self.clock.advance(_NO_TIME)
                yield
                self._over = True
                for manager in managers:
                    manager.stop()
                await self._stopped.wait()  # waits for a roll under way
                await self.clock.advance(_NO_TIME)
            finally:
                scope.cancel()
        else:
            async with AsyncExitStack() as stack:
                for manager in managers:
                    await stack.enter_async_context(manager)
                yield

    async def _host(self, run: Callable[[], Any], scope: anyio.CancelScope) -> None:
        with scope:
            try:
                await self._checked(run)
            except BaseException as error:
                if not _Killed.among(error):
                    raise
                self._playing.cancel()

    async def _checked(self, call: Callable[[], Any]) -> None:
        """Call a function of the application, sync or async. When it fails, the script ends."""
        try:
            outcome = call()
            if inspect.isawaitable(outcome):
                await outcome
        except Exception as error:  # raised by the application
            if self._over and _has_only_stopped(error):
                return
            self._failure = self._failure or error
            self._playing.cancel()

    def _faults_of(self, name: str | None, session: date) -> deque[RollFault]:
        """Return the faults that are left in the roll of a session, of the manager of that name."""
        key = name, session
        if key not in self._faults:
            planned = self._plan.roll_faults.get(session, ())
            self._faults[key] = deque(fault for fault in planned if fault.manager in (None, name))
        return self._faults[key]

    def _faulty(self, roll_session: RollSession, name: str | None) -> RollSession:
        """Return the roll of the manager of that name with the script's faults."""

        async def roll(next_date: date) -> None:
            session, began = self._made[name].session.date, self.clock.now()
            faults = self._faults_of(name, session)
            fault = faults.popleft() if faults else RollFault()
            reached, error = False, None
            try:
                if fault.delay:
                    await self.clock.sleep(fault.delay)
                if (fault.error is None and fault.down is None) or fault.after:
                    reached = True
                    await roll_session(next_date)
                if fault.down is not None:
                    self._kill(fault.down, "the application is killed in its roll")
                if fault.error is not None:
                    raise fault.error.with_traceback(None)  # noqa: TRY301 -- as the roll would; a traceback of an earlier attempt is dropped
            except BaseException as raised:
                error = raised
                self._take_assertion(raised)
                raise
            finally:
                self._rolls.append(RollAttempt(session, next_date, began, self.clock.now(), reached, error, name))

        return roll

    def _record(self, event: Event) -> None:
        self._runs[-1].append(event)
        self._note(event.summary() + self._trace(event), event.name, event.observed_at)
        if isinstance(event, HandlerFailed):
            self._take_assertion(event.error)

    def _note_the_end(self) -> None:
        self._running -= 1
        if not self._running:
            self._stopped.set()

    def _note(self, text: str, name: str | None = None, at: datetime | None = None) -> None:
        """Write a line of the diary, with the manager's name where there are several."""
        before = f"{name}: " if len(self._made) > 1 and name is not None else ""
        self._lines.append(Line(self.clock.now() if at is None else at, f"{before}{text}"))

    def _kill(self, down: timedelta, text: str) -> NoReturn:
        self._note(f"script: {text}")
        self._down = down
        raise _Killed

    def _take_assertion(self, error: BaseException | None) -> None:
        """End the script where the application's own code has asserted something in vain."""
        if error is not None and id(error) not in self._injected and self._failure is None:
            self._failure = assertion_in(error)
            if self._failure is not None:
                self._playing.cancel()

    def _trace(self, event: Event) -> str:
        """Return the traceback of an error of a handler, or of the application's own roll."""
        error = event.error if isinstance(event, HandlerFailed | RollFailed) else None
        if error is None or isinstance(error, LifecycleError) or id(error) in self._injected:
            return ""
        return "\n" + "".join(traceback.format_exception(error)).rstrip()

    # ---- the script ----

    async def _perform(self, tasks: TaskGroup) -> None:
        """Let time pass, and perform each act of the script when it is due."""
        scopes = [anyio.CancelScope() for _ in self._plan.data]
        for data, scope in zip(self._plan.data, scopes, strict=True):
            tasks.start_soon(self._feed, data, scope)
        try:
            with self._playing:
                await self.clock.advance(_NO_TIME)  # data that is due at once comes before the first act
                while self._acts:
                    await self._pass_to(self._acts[0].at)
                    await self._do(self._acts.popleft())
                await self._pass_to(self._end)
        except Exception as error:  # raised as it is, without the exception groups in between
            self._failure = self._failure or error
            raise _Killed from error
        finally:
            for scope in scopes:
                scope.cancel()
        if self._down is not None:
            raise _Killed

    async def _pass_to(self, instant: datetime) -> None:
        if self.clock.now() < instant:
            await self.clock.advance_to(instant)

    async def _do(self, act: Act) -> None:
        if isinstance(act, Restart):
            self._kill(act.down, act.text)
        of_manager = "" if act.manager is None else f" of {act.manager}"
        self._note(f"script: {act.text}{of_manager}")
        if act.do is not None:
            await self._act(act, None, partial(act.do, self))
        elif act.call is not None:
            for name in self._names(act.manager):
                await self._act(act, name, partial(act.call, self._made[name]))
        else:
            return
        await self.clock.advance(_NO_TIME)

    async def _act(self, act: Act, name: str | None, call: Callable[[], object]) -> None:
        try:
            outcome = call()
            if inspect.isawaitable(outcome):
                with self.clock.jumping():  # in case it waits for time to pass
                    await outcome
        except LifecycleError as error:
            if self._plan.strict:
                raise
            self._refused.append(Refused(self.clock.now(), act.text, error, name))
            self._note(f"refused: {describe(error)}", name)

    def _names(self, name: str | None) -> list[str | None]:
        """Return the names of the managers that a call is for."""
        if name is not None and name not in self._made:
            rule = f"must be the name of a manager of the application, of {[*self._made]}"
            raise ConfigurationError("for_manager", name, rule)
        return [*self._made] if name is None else [name]

    async def _feed(self, data: DataFeed, scope: anyio.CancelScope) -> None:
        """Deliver data while the market is open, except during the script's silences."""
        with scope:
            while (due := self._data_due(data.feed, now := self.clock.now())) is not None:
                if due > now:
                    await self.clock.sleep_until(due, None)
                    continue
                stored = self._only_stored(data)
                await self._checked(partial(self._deliver, data, now))
                await self.clock.sleep(data.interval * (self._intervals_to_skip(data, now) if stored else 1))

    def _deliver(self, data: DataFeed, now: datetime) -> object:
        if data.into is not None:
            return data.into(self.app)
        feeds = [feed for manager in self._made.values() for feed in manager.feeds if data.feed in (None, feed.name)]
        if data.feed is not None and not feeds:
            raise ConfigurationError("data_every", data.feed, "must be a feed of the manager when the data arrives")
        for manager in self._made.values():
            if len(self._made) > 1 and self._open_from(manager, now) != now:
                continue  # its hours differ from those of another manager
            if data.feed is None:
                manager.record_data_received()
            for feed in manager.feeds:
                if feed in feeds and self._silent_until(feed.name, now) is None:
                    feed.record()
        return None

    def _only_stored(self, data: DataFeed) -> bool:
        """Whether data only stores its arrival: no feed is stale, and no gap between messages is measured."""
        managers = self._made.values()
        if data.into is not None or any(each.state is SessionState.TIMEOUT or each.stale_feeds for each in managers):
            return False
        return not any(isinstance(feed, AdaptiveFeed) for manager in managers for feed in manager.feeds)

    def _intervals_to_skip(self, data: DataFeed, now: datetime) -> int:
        """Return the number of intervals to skip: only the last message before a task wakes is needed."""
        idle = self.clock.idle_for()
        skipped = 1 if idle is None else max(-(-idle // data.interval) - 1, 1)
        # After a step of the clock back no task wakes where a silence or a break begins once more, without messages.
        while skipped > 1 and self._data_due(data.feed, due := now + skipped * data.interval) != due:
            skipped //= 2
        return skipped

    def _data_due(self, feed: str | None, due: datetime) -> datetime | None:
        """Return the first instant from `due` on at which data is due, or None beyond the end of the schedule."""
        while True:
            opens = [self._open_from(manager, due) for manager in self._made.values()]
            later = min((t for t in opens if t is not None), default=None)
            if later is None:
                return None
            until = self._silent_until(feed, later)
            if until is None:
                return later
            due = until

    @staticmethod
    def _open_from(manager: SessionBoundaryManager, t: datetime) -> datetime | None:
        """Return the first instant from `t` on at which a manager's market is open, off breaks."""
        while True:
            try:
                session = manager.schedule.session_at(t)
            except ScheduleExhausted:
                return None
            later = next((end for start, end in session.breaks if start <= t < end), max(session.open, t))
            if later == t:
                return t
            t = later

    def _silent_until(self, feed: str | None, t: datetime) -> datetime | None:
        """Return the end of the silence at an instant, of a feed or (None) of all, or None outside of silences."""
        return next((s.end for s in self._plan.silences if s.feed in (None, feed) and s.start <= t < s.end), None)
