"""Which callbacks the calling task is inside of, over tasks and nesting."""

import anyio
import pytest

from session_lifecycle._runtime.callbacks import CallbackScope, inside

ONE, OTHER = object(), object()


def where() -> tuple[bool, bool, bool]:
    """Return whether this is inside a callback of the one owner, of the other, of any."""
    return inside(ONE), inside(OTHER), inside()


def test_outside_is_inside_no_callback() -> None:
    """Without a scope, no callback is being awaited."""
    assert where() == (False, False, False)


def test_a_scope_holds_for_its_owner() -> None:
    """Inside a scope the code is its owner's alone; after it, it is free."""
    with CallbackScope(ONE) as scope:
        assert where() == (True, False, True)
        assert scope.holds(ONE)
    assert where() == (False, False, False)
    assert not scope.holds(None)


def test_scopes_nest() -> None:
    """Code of one owner that runs another's is inside both, until the inner one ends."""
    with CallbackScope(ONE):
        with CallbackScope(OTHER):
            assert where() == (True, True, True)
            with CallbackScope(ONE):
                assert where() == (True, True, True)
            assert where() == (True, True, True)
        assert where() == (True, False, True)
    assert where() == (False, False, False)


def test_an_exception_ends_a_scope() -> None:
    """A scope ends however its code ends, and lets the exception through."""
    with pytest.raises(KeyError), CallbackScope(ONE):
        raise KeyError
    assert where() == (False, False, False)


def test_owners_are_told_apart_by_identity() -> None:
    """Two owners that are equal are still two."""
    mine, equal = [1], [1]
    with CallbackScope(mine):
        assert inside(mine)
        assert not inside(equal)


@pytest.mark.anyio
async def test_a_task_started_inside_is_inside() -> None:
    """A child task inherits the scope, for as long as that lasts: waiting in it would deadlock as well."""
    seen: list[tuple[bool, bool, bool]] = []

    async def child() -> None:
        seen.append(where())

    with CallbackScope(ONE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child)
    assert seen == [(True, False, True)]


@pytest.mark.anyio
async def test_a_task_that_outlives_the_scope_is_free() -> None:
    """A background task that the code leaves behind is inside no callback once the scope has ended."""
    seen: list[tuple[bool, bool, bool]] = []
    ended = anyio.Event()

    async def background() -> None:
        seen.append(where())
        await ended.wait()
        seen.append(where())
        with CallbackScope(OTHER):
            seen.append(where())

    async with anyio.create_task_group() as tasks:
        with CallbackScope(ONE):
            tasks.start_soon(background)
            await anyio.wait_all_tasks_blocked()
        ended.set()
    assert seen == [(True, False, True), (False, False, False), (False, True, True)]


@pytest.mark.anyio
async def test_a_task_started_outside_is_outside() -> None:
    """A scope in one task does not affect a task beside it, nor the one that started it."""
    seen: list[tuple[bool, bool, bool]] = []
    begun, over = anyio.Event(), anyio.Event()

    async def inner() -> None:
        with CallbackScope(ONE):
            begun.set()
            await over.wait()
            seen.append(where())

    async def beside() -> None:
        await begun.wait()
        seen.append(where())
        over.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(inner)
        tasks.start_soon(beside)
        await begun.wait()
        assert where() == (False, False, False)
    assert seen == [(False, False, False), (True, False, True)]


@pytest.mark.anyio
async def test_a_cancelled_scope_ends() -> None:
    """A cancellation ends the scope too."""
    with anyio.CancelScope() as scope, CallbackScope(ONE):
        scope.cancel()
        await anyio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert where() == (False, False, False)
