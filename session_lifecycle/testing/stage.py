"""Play a script: simulated time, the application's manager, and the faults when they are due."""

import inspect
import logging
import traceback
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import date, datetime, timedelta
from typing import Any, Final, TypeVar, cast

import anyio
from anyio.abc import TaskGroup

from session_lifecycle._model.config import LifecycleConfig
from session_lifecycle._model.errors import ConfigurationError, LifecycleError, ScheduleExhausted, describe
from session_lifecycle._model.events import Event, HandlerFailed, RollFailed
from session_lifecycle._model.session import end_of
from session_lifecycle._model.states import SessionState
from session_lifecycle._runtime.arguments import require_async
from session_lifecycle._runtime.event_log import LOGGER
from session_lifecycle._runtime.feed import AdaptiveFeed
from session_lifecycle._runtime.host import RollSession
from session_lifecycle._runtime.manager import SessionBoundaryManager
from session_lifecycle._runtime.subscriptions import Subscription
from session_lifecycle._schedules.base import Schedule
from session_lifecycle.testing.clock import SimulatedClock
from session_lifecycle.testing.plan import Act, DataFeed, Restart, RollFault, ScriptPlan
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


class Stage:
    """One run of a script: its clock, the current application, and the record of all that happened."""

    app: Any
    manager: SessionBoundaryManager

    def __init__(self, plan: ScriptPlan, script: str) -> None:
        self.clock: Final = SimulatedClock(plan.days.start)
        self._plan = plan
        self._script = script
        self._end = plan.days.end
        self._acts = deque(sorted(plan.acts, key=lambda act: act.at))
        self._injected = {id(fault.error) for faults in plan.roll_faults.values() for fault in faults}
        self._faults = {day: deque(faults) for day, faults in plan.roll_faults.items()}
        self._made: list[SessionBoundaryManager] = []
        self._runs: list[list[Event]] = []
        self._rolls: list[RollAttempt] = []
        self._refused: list[Refused] = []
        self._lines: list[Line] = []
        self._failure: Exception | None = None
        self._down: timedelta | None = None  # how long the killed application stays down
        self._playing: anyio.CancelScope  # cancelled when the application fails

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
            self.manager,
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
            stopped = anyio.Event()
            tasks.start_soon(self._read, self.manager.events(), stopped)
            try:
                async with self._entered(tasks, stopped):
                    await self._perform(tasks)
            except BaseException as error:
                if not _Killed.among(error):
                    if not isinstance(error, Exception):
                        raise
                    self._failure = self._failure or error  # raised by the application
            await self.clock.advance(_NO_TIME)  # reads the last events
            tasks.cancel_scope.cancel()
        if self._failure is not None:
            raise self._failure

    def _make(self, factory: Callable[[type[SessionBoundaryManager]], object]) -> None:
        """Create the application, and find its manager."""
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
                super().__init__(stage._plan.days.schedule, stage._faulty(roll_session), **options)
                stage._made.append(self)
                stage._play_until_the_end_of(options.get("config", LifecycleConfig()))

        self._made.clear()
        self.app = factory(Scripted)
        if len(self._made) != 1:
            rule = f"must create one manager of the class that it is called with; it has created {len(self._made)}"
            raise ConfigurationError("factory", factory, rule)
        self.manager = self._made[0]

    def _play_until_the_end_of(self, config: LifecycleConfig) -> None:
        """Extend the script until the last session has ended, by the application's configuration, and been rolled."""
        schedule, last, following = self._plan.days.schedule, self._plan.days.sessions[-1], None
        with suppress(ScheduleExhausted):
            following = schedule.next_session(last.date)
        self._end = max(self._end, end_of(last, following, config.post_market_roll_delay) + _AFTERWARDS)

    @asynccontextmanager
    async def _entered(self, tasks: TaskGroup, stopped: anyio.Event) -> AsyncGenerator[None]:
        """Run the application inside the block: enter it, call its `run()`, or enter its manager."""
        app, manager = self.app, self.manager
        if hasattr(app, "__aenter__"):
            async with app:
                yield
        elif hasattr(app, "run"):
            scope = anyio.CancelScope()
            tasks.start_soon(self._host, app.run, scope)
            try:
                await self.clock.advance(_NO_TIME)
                yield
                manager.stop()
                await stopped.wait()  # waits for a roll under way
                await self.clock.advance(_NO_TIME)
            finally:
                scope.cancel()
        else:
            async with manager:
                yield

    async def _host(self, run: Callable[[], Any], scope: anyio.CancelScope) -> None:
        with scope:
            await self._checked(run)

    async def _checked(self, call: Callable[[], Any]) -> None:
        """Call a function of the application, sync or async. When it fails, the script ends."""
        try:
            outcome = call()
            if inspect.isawaitable(outcome):
                await outcome
        except Exception as error:  # raised by the application
            self._failure = self._failure or error
            self._playing.cancel()

    def _faulty(self, roll_session: RollSession) -> RollSession:
        """Return the application's roll with the script's faults."""

        async def roll(next_date: date) -> None:
            session, began = self.manager.session.date, self.clock.now()
            faults = self._faults.get(session)
            fault = faults.popleft() if faults else RollFault()
            reached, error = False, None
            try:
                if fault.delay:
                    await self.clock.sleep(fault.delay)
                if fault.error is None or fault.after:
                    reached = True
                    await roll_session(next_date)
                if fault.error is not None:
                    raise fault.error.with_traceback(None)  # noqa: TRY301 -- as the roll would; a traceback of an earlier attempt is dropped
            except BaseException as raised:
                error = raised
                raise
            finally:
                self._rolls.append(RollAttempt(session, next_date, began, self.clock.now(), reached, error))

        return roll

    async def _read(self, events: Subscription, stopped: anyio.Event) -> None:
        run: list[Event] = []
        self._runs.append(run)
        async for event in events:
            run.append(event)
            self._lines.append(Line(event.observed_at, event.summary() + self._trace(event)))
        stopped.set()

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

    async def _pass_to(self, instant: datetime) -> None:
        if self.clock.now() < instant:
            await self.clock.advance_to(instant)

    async def _do(self, act: Act) -> None:
        self._lines.append(Line(self.clock.now(), f"script: {act.text}"))
        if isinstance(act, Restart):
            self._down = act.down
            raise _Killed
        if act.do is None:
            return
        try:
            outcome = act.do(self)
            if inspect.isawaitable(outcome):
                with self.clock.jumping():  # in case it waits for time to pass
                    await outcome
        except LifecycleError as error:
            if self._plan.strict:
                raise
            self._refused.append(Refused(self.clock.now(), act.text, error))
            self._lines.append(Line(self.clock.now(), f"refused: {describe(error)}"))
        await self.clock.advance(_NO_TIME)

    async def _feed(self, data: DataFeed, scope: anyio.CancelScope) -> None:
        """Deliver data while the market is open, except during the script's silences."""
        with scope:
            while (due := self._data_due(data.feed)) is not None:
                if due > self.clock.now():
                    await self.clock.sleep_until(due, None)
                    continue
                stored = self._only_stored(data)
                await self._checked(lambda: self._deliver(data))
                await self.clock.sleep(data.interval * (self._intervals_to_skip(data.interval) if stored else 1))

    def _deliver(self, data: DataFeed) -> object:
        manager, now = self.manager, self.clock.now()
        if data.into is not None:
            return data.into(self.app)
        if data.feed is None:
            manager.record_data_received()
        feeds = [feed for feed in manager.feeds if data.feed in (None, feed.name)]
        if data.feed is not None and not feeds:
            raise ConfigurationError("data_every", data.feed, "must be a feed of the manager when the data arrives")
        for feed in feeds:
            if self._silent_until(feed.name, now) is None:
                feed.record()
        return None

    def _only_stored(self, data: DataFeed) -> bool:
        """Whether data only stores its arrival: no feed is stale, and no gap between messages is measured."""
        manager = self.manager
        if data.into is not None or manager.state is SessionState.TIMEOUT or manager.stale_feeds:
            return False
        return not any(isinstance(feed, AdaptiveFeed) for feed in manager.feeds)

    def _intervals_to_skip(self, interval: timedelta) -> int:
        """Return the number of intervals to skip: only the last message before a task wakes is needed."""
        idle = self.clock.idle_for()
        return 1 if idle is None else max(-(-idle // interval) - 1, 1)

    def _data_due(self, feed: str | None) -> datetime | None:
        """Return the first instant from now on at which data is due, or None beyond the end of the schedule."""
        due = self.clock.now()
        while True:
            try:
                session = self.manager.schedule.session_at(due)
            except ScheduleExhausted:
                return None
            pause = next((end for start, end in session.breaks if start <= due < end), None)
            later = session.open if due < session.open else pause or self._silent_until(feed, due)
            if later is None:
                return due
            due = later

    def _silent_until(self, feed: str | None, t: datetime) -> datetime | None:
        """Return the end of the silence at an instant, of a feed or (None) of all, or None outside of silences."""
        return next((s.end for s in self._plan.silences if s.feed in (None, feed) and s.start <= t < s.end), None)
