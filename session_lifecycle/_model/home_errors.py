"""Errors of calls from the wrong thread, event loop or task, and of a driver that was cancelled from outside."""

from session_lifecycle._model.errors import LifecycleError


class WrongThreadError(LifecycleError):
    """A call came from another thread than the event loop's own. Nothing has changed."""

    __module__ = "session_lifecycle"

    def __init__(self, call: str) -> None:
        super().__init__(call)
        self.call = call

    def __str__(self) -> str:
        return (
            f"{self.call} was called in another thread than the event loop's own. Nothing was changed; hand it over: "
            "on asyncio by loop.call_soon_threadsafe(function), or asyncio.run_coroutine_threadsafe(coroutine, loop) "
            "where it is awaited, on trio by trio.lowlevel.current_trio_token().run_sync_soon(function), with a token "
            "taken in the loop, or trio.from_thread.run(function, trio_token=token)"
        )


class WrongLoopError(WrongThreadError):
    """A call came from another event loop than the one it was started in. Nothing has changed."""

    __module__ = "session_lifecycle"

    def __str__(self) -> str:
        return (
            f"{self.call} was called in another event loop than the one that it was started in. Nothing was changed; "
            "use one object in one loop, and hand calls from another loop's thread over: on asyncio by "
            "loop.call_soon_threadsafe(function), on trio by trio.lowlevel.current_trio_token().run_sync_soon(function)"
            ", with a token taken in the loop"
        )


class WrongTaskError(LifecycleError):
    """`async with` was left in another task than it was entered in. The driver has ended, and the journal is free."""

    __module__ = "session_lifecycle"

    def __init__(self, kind: str = "SessionBoundaryManager") -> None:
        super().__init__(kind)
        self.kind = kind

    def __str__(self) -> str:
        return (
            f"`async with` was left in another task than it was entered in: the {self.kind} has been stopped. Where a "
            "framework calls start and stop in tasks of its own (fixtures, exit stacks, hooks of a web server), call "
            "`await start()` and `await aclose()` instead, which work in any task"
        )


class DriverCancelled(LifecycleError):
    """The task that drives a manager or a group was cancelled from outside, while it had not been stopped."""

    __module__ = "session_lifecycle"

    def __init__(self, kind: str = "SessionBoundaryManager") -> None:
        super().__init__(kind)
        self.kind = kind

    def __str__(self) -> str:
        return (
            f"the task that drives the {self.kind} was cancelled from outside, so it has stopped: something in the "
            "application cancels tasks that are not its own, such as all of asyncio.all_tasks(). Cancel your own tasks "
            f"only, and make a new {self.kind}"
        )
