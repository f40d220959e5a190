"""How a script runs an application: one with a body, several managers, a group."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import date, time
from typing import Any

import anyio
import pytest

from session_lifecycle import (
    BreakStarted,
    ConfigurationError,
    Halted,
    LifecycleConfig,
    ManagerStopped,
    SessionBoundaryManager,
    SessionGroup,
    SpecialHours,
    StateChanged,
    UnexpectedData,
)
from session_lifecycle.testing import Script
from tests.helpers.builders import MONDAY, utc
from tests.helpers.harness import (
    ACTIVE,
    ENDED,
    ERROR,
    HOUR,
    MINUTE,
    POST_MARKET,
    TIMEOUT,
    TUESDAY,
)
from tests.helpers.scripts import (
    QUOTES,
    SCRIPT,
    WEEK,
    App,
    edges,
    play,
)

# ---- how an application is run ----


class Entered(App):
    """An application that is an async context manager."""

    left: str | None = None

    async def __aenter__(self) -> None:
        await self.manager.__aenter__()

    async def __aexit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self.left = "in peace" if kind is None else kind.__name__
        await self.manager.__aexit__(kind, *rest)


class Hosted(App):
    """An application that runs until its manager stops."""

    left: str | None = None

    async def run(self) -> None:
        try:
            async with self.manager:
                async for event in self.manager.events():
                    if isinstance(event, BreakStarted):
                        self.quote()
            self.left = "in peace"
        except BaseException as error:
            self.left = type(error).__name__
            raise


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("kind", [Entered, Hosted])
def test_an_application_is_run_as_it_is_made_to_be(kind: type[Any], backend: str) -> None:
    """Entered and left; or hosted until its manager has stopped."""
    result = play(QUOTES, kind, backend=backend)
    assert len(edges(result)) == 5
    assert result.app.left == "in peace"


@pytest.mark.parametrize(("kind", "error"), [(Entered, "_Killed"), (Hosted, "CancelledError")])
def test_an_application_that_is_killed_is_not_asked(kind: type[Any], error: str) -> None:
    """It gets an exception that none of its own code catches, or is cancelled."""
    apps: list[Any] = []

    def factory(manager_class: type[SessionBoundaryManager]) -> Any:
        apps.append(kind(manager_class))
        return apps[-1]

    result = play(QUOTES.restart("12:30"), factory)
    assert [app.left for app in apps] == [error, "in peace"]
    assert result.runs[0][-1] == result.of(BreakStarted)[0]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_application_may_have_task_groups_of_its_own(backend: str) -> None:
    """Neither a kill nor a failure is lost in the group that they leave it in, and its own failure is that group."""

    class Grouped(App):
        broken = False

        @asynccontextmanager
        async def entered(self) -> AsyncIterator[None]:
            async with anyio.create_task_group() as tasks, self.manager:
                tasks.start_soon(self.manager.wait_for, POST_MARKET)
                yield
                if self.broken:
                    raise KeyError("positions")

        async def __aenter__(self) -> None:
            self.context = self.entered()
            await self.context.__aenter__()

        async def __aexit__(self, *error: object) -> bool | None:
            return await self.context.__aexit__(*error)

    class Broken(Grouped):
        broken = True

    assert len(play(QUOTES.restart("12:30"), Grouped, backend=backend).runs) == 2
    with pytest.raises(ZeroDivisionError):
        play(QUOTES.call("10:00", lambda app: 1 / 0), Grouped, backend=backend)
    with pytest.raises(ExceptionGroup) as caught:
        play(QUOTES, Broken, backend=backend)
    assert caught.group_contains(KeyError, match="positions")


def test_a_manager_alone_is_an_application() -> None:
    """The factory may return it."""

    async def roll(next_date: date) -> None:
        """Roll nothing."""

    result = play(SCRIPT, lambda manager_class: manager_class("XNYS", roll))
    assert result.app is result.manager


def test_a_roll_under_way_at_the_end_is_waited_for() -> None:
    """Leaving takes as long as it takes, in simulated time."""

    class Late(Hosted):
        config = LifecycleConfig(post_market_roll_delay=2 * HOUR, roll_timeout=None)

        async def roll(self, next_date: date) -> None:
            await self.manager.clock.sleep(6 * HOUR)
            self.rolled.append(next_date)

    result = play(QUOTES, Late)
    assert result.app.rolled == [TUESDAY]
    assert len(edges(result)) == 5


def test_the_play_goes_on_until_the_session_has_ended_by_the_application_s_configuration() -> None:
    """And for an hour more, in which it is rolled."""

    class Late(App):
        config = LifecycleConfig(post_market_roll_delay=10 * HOUR)

    result = play(QUOTES, Late)
    assert edges(result)[-1] == "02:00:01 NOT_STARTED"
    assert result.manager.clock.now() == utc(2024, 3, 5, 8)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_the_application_raises_is_raised(backend: str) -> None:
    """As it is, from its own task, from its data's function, and from its factory."""

    class Broken(Hosted):
        async def run(self) -> None:
            async with self.manager:
                await self.manager.wait_for(ACTIVE)
                raise KeyError("positions")

    def quote(app: App) -> None:
        raise KeyError("quote")

    def factory(manager_class: type[SessionBoundaryManager]) -> None:
        raise KeyError("factory")

    with pytest.raises(KeyError, match="positions"):
        play(QUOTES, Broken, backend=backend)
    with pytest.raises(KeyError, match="quote"):
        play(SCRIPT.data_every(MINUTE, into=quote), backend=backend)
    with pytest.raises(KeyError, match="factory"):
        play(QUOTES, factory, backend=backend)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_application_may_wait_for_a_state_that_does_not_come(backend: str) -> None:
    """The end of the script stops its manager under it: that is no failure, also where a group has raised it."""

    class Watching(Hosted):
        async def run(self) -> None:
            async with self.manager, anyio.create_task_group() as tasks:
                tasks.start_soon(self.manager.wait_for, ERROR)
                await self.manager.wait_for(ERROR)

    assert edges(play(QUOTES, Watching, backend=backend))[-1] == edges(play(QUOTES, Hosted, backend=backend))[-1]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_the_application_raises_at_the_end_is_raised(backend: str) -> None:
    """As it is, and also beside what says that the manager has stopped; and that it has stopped, where it was early."""

    class Broken(Hosted):
        async def run(self) -> None:
            async with anyio.create_task_group() as tasks, self.manager:
                tasks.start_soon(self.manager.wait_for, ERROR)
                with suppress(ManagerStopped):
                    await self.manager.wait_for(ERROR)
                raise KeyError("positions")

    class Early(Hosted):
        async def run(self) -> None:
            async with self.manager:
                self.manager.stop()
                await self.manager.wait_for(ERROR)

    with pytest.raises(ExceptionGroup) as caught:
        play(QUOTES, Broken, backend=backend)
    assert caught.value.subgroup(KeyError) is not None
    with pytest.raises(ManagerStopped):
        play(QUOTES, Early, backend=backend)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_play_can_be_cancelled(backend: str) -> None:
    """From outside, as anything else; nothing comes of it, and the library logs again."""

    async def main() -> bool:
        with anyio.CancelScope() as scope:
            await QUOTES.call("10:00", lambda app: scope.cancel()).run(App)
        return scope.cancelled_caught

    assert anyio.run(main, backend=backend)
    assert logging.getLogger("session_lifecycle").filters == []


def test_an_application_that_ends_early_has_ended() -> None:
    """Its manager has stopped, and the day goes by without it."""

    class Brief(Hosted):
        async def run(self) -> None:
            async with self.manager:
                await self.manager.wait_for(ACTIVE)

    assert edges(play(SCRIPT, Brief)) == ["04:00:00 PRE_MARKET", "09:30:00 ACTIVE"]


@pytest.mark.parametrize(("count", "said"), [(0, "factory = .* must create a manager .* none"), (2, "name = None")])
def test_an_application_has_managers_of_different_names(count: int, said: str) -> None:
    """None, or two of the same name, is refused."""

    def factory(manager_class: type[SessionBoundaryManager]) -> list[App]:
        return [App(manager_class) for _ in range(count)]

    with pytest.raises(ConfigurationError, match=said):
        play(SCRIPT, factory)


# ---- several managers, and a group ----


class Desks:
    """Two managers, run on their own."""

    def __init__(self, manager_class: type[SessionBoundaryManager]) -> None:
        self.managers = [manager_class("XLON", self.roller(name), name=name) for name in ("a", "b")]
        self.rolled: list[tuple[str, date]] = []

    def roller(self, name: str) -> Callable[[date], Any]:
        async def roll(next_date: date) -> None:
            self.rolled.append((name, next_date))

        return roll


class Grouped(Desks):
    """Two managers in a group, which is entered."""

    async def __aenter__(self) -> None:
        self.group = SessionGroup(self.managers)
        await self.group.__aenter__()

    async def __aexit__(self, *error: object) -> None:
        await self.group.__aexit__(*error)


class Served(Desks):
    """Two managers in a group that is run until both have stopped."""

    async def run(self) -> None:
        group = SessionGroup(self.managers)
        async with anyio.create_task_group() as tasks:
            await tasks.start(group.run)
            with anyio.CancelScope(shield=True):
                async for _ in self.managers[0].events():
                    pass
            group.stop()


def grouped(manager_class: type[SessionBoundaryManager]) -> SessionGroup:
    return SessionGroup(Desks(manager_class).managers)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("factory", [Desks, Grouped, Served, grouped])
def test_several_managers_are_played(factory: Any, backend: str) -> None:
    """Data and the clock are for all of them, calls and faults of the roll for all or for the one that is selected."""
    script = QUOTES.halt("10:00", "10:05").for_manager("b").halt("11:00", "11:05", reason="b").roll_fails()
    script = script.for_manager(None).roll_fails().call("14:00", lambda app: None)
    result = play(script, factory, backend=backend)
    result.assert_legal()
    assert [(each.name, each.reason) for each in result.of(Halted)] == [
        ("a", "halted by the script"),
        ("b", "halted by the script"),
        ("b", "b"),
    ]
    assert not [each for each in result.of(StateChanged) if each.dest is TIMEOUT]
    assert len(result.of(StateChanged, "a")) == len(result.of(StateChanged, "b")) == 5
    assert {each: [a.succeeded for a in result.rolls if a.name == each] for each in "ab"} == {
        "a": [False, True],
        "b": [False, False, True],
    }
    assert list(result.managers) == ["a", "b"]
    assert result.manager is result.managers["a"]
    assert result.state_at("16:30", name="b") is ENDED
    with pytest.raises(ConfigurationError, match=r"state_at = None .* must be the name of a manager"):
        result.state_at("16:30")
    shown = repr(result)
    assert "10:00:00  b: 2024-03-04 trading halted" in shown
    assert "11:00:00  script: halt('b') of b" in shown
    assert repr(script) in shown


def test_hours_of_one_of_several_managers_are_its_own() -> None:
    """The other one goes on, and data comes to it alone."""
    script = QUOTES.for_manager("a").apply("10:00", SpecialHours(MONDAY, close=time(14)))
    result = play(script, grouped)
    result.assert_legal()
    closes = {each.name: each.observed_at for each in result.of(StateChanged) if each.dest is POST_MARKET}
    assert closes == {"a": utc(2024, 3, 4, 19), "b": utc(2024, 3, 4, 21)}
    assert not result.of(UnexpectedData)


def test_a_manager_may_join_a_running_group() -> None:
    """Its events are read, its roll is the script's, and calls reach it."""

    class Growing(Grouped):
        def __init__(self, manager_class: type[SessionBoundaryManager]) -> None:
            super().__init__(manager_class)
            self.manager_class = manager_class

        async def grow(self) -> None:
            await self.group.add(self.manager_class("XLON", self.roller("c"), name="c"))

    result = play(SCRIPT.call("10:00", Growing.grow).for_manager("c").halt("11:00").roll_fails(), Growing)
    result.assert_legal()
    assert [each.name for each in result.of(Halted)] == ["c"]
    assert [each.succeeded for each in result.rolls if each.name == "c"] == [False, True]
    assert ("c", TUESDAY) in result.app.rolled


def test_what_one_of_several_managers_refuses_is_its_own() -> None:
    """The others do what they are asked."""
    script = Script(WEEK, MONDAY, strict=False).for_manager("a").end_session("10:00", "x")
    result = play(script.for_manager(None).halt("11:00"), grouped)
    assert [(each.name, each.what) for each in result.refused] == [("a", "halt('halted by the script')")]
    assert [each.name for each in result.of(Halted)] == ["b"]


def test_a_manager_that_is_not_there_is_refused_when_it_is_called() -> None:
    """With the names that there are."""
    with pytest.raises(ConfigurationError, match=r"for_manager = 'c' .* \['a', 'b'\]"):
        play(SCRIPT.for_manager("c").halt("10:00"), Desks)


def test_a_roll_that_is_not_async_is_refused_as_ever() -> None:
    """Though another one is put before it."""

    def roll(next_date: date) -> None:
        """Roll nothing, and block."""

    with pytest.raises(TypeError, match="roll_session"):
        play(SCRIPT, lambda manager_class: manager_class("XNYS", roll))


def test_the_library_s_log_is_silent_meanwhile(caplog: pytest.LogCaptureFixture) -> None:
    """The diary has it all; a property that fails would print each example's."""
    caplog.set_level(logging.DEBUG)
    play(QUOTES.roll_fails(3))
    assert caplog.messages == []
    logging.getLogger("session_lifecycle").warning("as before")
    assert caplog.messages == ["as before"]
