"""A Starlette application whose lifespan runs a manager, with /health and the state as server-sent events.

Run it from anywhere, with the package and Starlette installed:

    python examples/web_app.py                      # asks its own application, in simulated time
    uvicorn --app-dir examples web_app:app          # serves it on the real clock, with uvicorn installed

Expect what `/health` answers before the open, after it, and in ERROR, and the lines that a browser's EventSource would
get from `/events` meanwhile. FastAPI takes the same lifespan and the same functions, as a test holds.

Shortcomings: there is no authentication, so serve it to your own network only. The halt at the end is made up.
"""

import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from session_lifecycle import Clock, LifecycleConfig, SessionBoundaryManager, SessionState
from session_lifecycle.testing import SimulatedClock

BEFORE_THE_OPEN = datetime(2024, 11, 29, 14, 29, tzinfo=UTC)


async def roll_books(_: date) -> None:
    """Move the books."""


async def health(request: Request) -> JSONResponse:
    """Answer 200 while the manager runs and needs no decision, else 503; the body is the whole status."""
    status = request.app.state.market.status()
    well = status.running and status.state is not SessionState.ERROR
    return JSONResponse(status.as_dict(), 200 if well else 503)


async def events(request: Request) -> StreamingResponse:
    """Stream the status at once, and again with each event."""
    market: SessionBoundaryManager = request.app.state.market
    following = market.events()  # from now on, so that nothing is missed behind the first line

    async def lines() -> AsyncIterator[str]:
        yield f"event: Status\ndata: {json.dumps(market.status().as_dict())}\n\n"
        async for event in following:
            yield f"event: {type(event).__name__}\ndata: {json.dumps(event.as_dict())}\n\n"

    return StreamingResponse(lines(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


def lifespan_of_market(clock: Clock | None = None) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    """Return the lifespan. The manager is made once the event loop runs, and left when the server stops."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None, None]:
        config = LifecycleConfig(data_timeout=None)  # no market data in this program
        app.state.market = SessionBoundaryManager("XNYS", roll_books, config=config, clock=clock)
        async with app.state.market:
            yield

    return lifespan


def new_app(clock: Clock | None = None) -> Starlette:
    """Return the application. FastAPI: `FastAPI(lifespan=lifespan_of_market())`, then `app.get("/health")(health)`."""
    routes = [Route("/health", health), Route("/events", events)]
    return Starlette(routes=routes, lifespan=lifespan_of_market(clock))


app = new_app()


async def ask(app: Starlette, path: str, show: Any) -> None:  # noqa: ANN401 -- print, or a list's append
    """Make a GET request of an application in this process, and show the answer's status and each piece of its body."""
    asked = False

    async def receive() -> dict[str, Any]:
        nonlocal asked
        if asked:
            await anyio.sleep_forever()  # the client stays
        asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:  # noqa: ANN401 -- ASGI's own type
        show(message["status"] if message["type"] == "http.response.start" else message["body"].decode())

    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": b"",
        "headers": [],
        "http_version": "1.1",
    }
    await app({**scope, "asgi": {"version": "3.0"}, "scheme": "http"}, receive, send)


async def main() -> None:
    """Ask for the health of a market before and after its open, and when it has failed."""
    clock = SimulatedClock(BEFORE_THE_OPEN)
    app = new_app(clock)
    streamed: list[Any] = []

    async def show_health() -> None:
        answer: list[Any] = []
        await ask(app, "/health", answer.append)
        status = json.loads(answer[1])
        print(f"/health: {answer[0]}, {status['state']}, can_trade={status['can_trade']}, reason={status['reason']}")

    async with app.router.lifespan_context(app), anyio.create_task_group() as tasks:
        tasks.start_soon(ask, app, "/events", streamed.append)
        await clock.advance(timedelta(0))
        await show_health()
        await clock.advance(timedelta(minutes=2))
        await show_health()
        app.state.market.fail("the risk desk has said stop")
        await clock.advance(timedelta(0))
        await show_health()
        tasks.cancel_scope.cancel()
    for piece in streamed[1:]:
        name, data = piece.split("\n")[:2]
        fields = json.loads(data.removeprefix("data: "))
        print(f"/events: {name}, {fields.get('dest') or fields.get('state')}")


if __name__ == "__main__":
    # The lines above show everything; without this, Python would print the library's warnings as well.
    logging.getLogger("session_lifecycle").addHandler(logging.NullHandler())
    anyio.run(main)
