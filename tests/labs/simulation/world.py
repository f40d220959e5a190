"""Spells in a life: calm ones, in which nothing goes wrong and each deadline is met, sleepy ones, and storms.

Calm spells are held against `replay`. In sleepy ones nobody looks but once or twice in a session. In a storm faults are
drawn from the life's one seed; once it is over, the machine must find back to where the clock is.
"""

from collections.abc import Callable
from typing import Any

from session_lifecycle import Session, SessionState
from session_lifecycle._model.config import Resolution
from tests.labs.simulation.checker import Violation
from tests.labs.simulation.faults import (
    DAY,
    DURING,
    FAULTS,
    HOOKS,
    HOUR,
    MICROSECOND,
    MINUTE,
    ROLLS,
    SECOND,
    ZERO,
)
from tests.labs.simulation.life import Life
from tests.labs.simulation.torn import Crash

ACTIVE, ENDED, TIMEOUT, ERROR = SessionState.ACTIVE, SessionState.ENDED, SessionState.TIMEOUT, SessionState.ERROR


class World(Life):
    """A life that runs by itself."""

    def run(self) -> None:
        """Live until the known sessions are nearly over."""
        self.start()
        while self.wall < self.hours.edges[self.last][0]:
            draw = self.rng.random()
            if draw < self.storms:
                self.storm(self.rng.randrange(3, 60))
                self.settle()
            elif draw < self.storms + 0.1:
                self.calm(self.rng.randrange(2, 40))
            else:
                self.sleep(self.rng.randrange(2, 80))
        self.figures["sessions"] += self.last - self.first
        self.figures["skipped silently"] += self._unlisted()
        self.figures["crashes"] += sum(n for fault, n in self.faults.items() if fault.startswith("crash"))
        self.note("gone")

    def _unlisted(self) -> int:
        """Count the sessions that were passed over and told of nowhere."""
        index = self.hours.index
        entered = sorted(index[day] for day in self.entered)
        between = set(range(entered[0], entered[-1])).difference(entered)
        return sum(self.hours.sessions[i].date not in self.listed for i in between)

    def quiet_look(self) -> None:
        """Look where nothing goes wrong: data comes where its silence would be an ERROR, and people do their part."""
        lifecycle = self.member.lifecycle
        if self.config.error_after_timeout is not None and lifecycle.state in (ACTIVE, TIMEOUT):
            self.hear_data()
        else:
            self.serve()
        while lifecycle.state is ENDED and not self.config.auto_roll and self.ask_roll():
            pass

    def settle(self) -> None:
        """Let faults cease. Within a session the machine must be where the clock is."""
        self.armed.clear()
        self.script.clear()
        self.stormy = False
        hours = self.hours
        if self.rng.random() < 0.5 and hours.owner(self.wall - self.drift) >= self.checker.i - 3:
            self.step(-self.drift)
        self.drift = ZERO  # from here on this clock is right
        if self.attempt is not None and self.attempt.ends_at is not None:
            self.attempt.ends_at = self.mono
        self.serve()
        lifecycle = self.member.lifecycle
        limit = hours.ends[min(self.checker.furthest() + 1, self.last + 20)]
        while True:
            self.quiet_look()
            if lifecycle.state is ERROR:
                self.recover(Resolution.RETRY)
            state, scheduled = lifecycle.state, lifecycle.scheduled_state
            if (state is scheduled or (state is TIMEOUT and scheduled is ACTIVE)) and (
                lifecycle.session.date == hours.sessions[hours.owner(self.wall)].date and self.attempt is None
            ):
                return
            if self.wall >= limit:
                self.note("overdue", state, lifecycle.session.date)
            self.pass_time(min(self.due(), limit - self.wall))

    def calm(self, sessions: int) -> None:
        """Meet each deadline, with nothing going wrong, and hold the edges against `replay`."""
        end = min(self.hours.owner(self.wall) + sessions, self.last)
        self.note("calm_begins")
        while self.hours.owner(self.wall) < end:
            self.pass_time(self.due())
            self.quiet_look()
        self.note("calm_ends")

    def sleep(self, sessions: int) -> None:
        """Look but once or twice in a session, late: a blocked loop, or a machine that is suspended."""
        rng, hours = self.rng, self.hours
        at = hours.owner(self.wall)
        for i in range(at, min(at + sessions, self.last)):
            if rng.random() < 0.1:
                self.pass_time((hours.ends[i] - self.wall) * rng.random())
                self.quiet_look()
            self.pass_time(hours.ends[i] - self.wall + (hours.edges[i + 1][1] - hours.ends[i]) * rng.random())
            self.quiet_look()

    def storm(self, looks: int) -> None:
        """Let things go wrong."""
        self.stormy = True
        left = 0
        for _ in range(looks):
            if self.wall >= self.hours.edges[self.last][0]:
                break
            if left == 0:
                left = self._arm()
            left -= 1
            try:
                self._stormy_look()
            except Crash:
                self.leave(crash=True)
                self.restart()

    def _arm(self) -> int:
        """Draw what goes wrong next; return for how many looks."""
        rng, armed = self.rng, self.armed
        armed.clear()
        looks = rng.randrange(3, 8)
        for _ in range(rng.choice((1, 2, 2, 3, 4))):
            fault = rng.choice(FAULTS)
            if fault in HOOKS:
                armed[fault] = 0
                if fault in DURING:
                    self.script.append(rng.choice(("roll raises late", "roll is slow", "roll hangs")))
            elif fault in ROLLS:
                self.script.extend([fault] * (5 if fault == "roll fails for good" else 1))
            else:
                armed[fault] = rng.randrange(looks)
        return looks

    def _stormy_look(self) -> None:
        rng, lifecycle = self.rng, self.member.lifecycle
        left = self.due()
        draw = rng.random()
        if draw < 0.1:
            left *= rng.random()
        elif draw < 0.2:
            left += rng.random() * 10 * MINUTE
        self.pass_time(left)
        for fault, looks in list(self.armed.items()):
            if fault in HOOKS:
                continue
            if looks:
                self.armed[fault] = looks - 1
            else:
                del self.armed[fault]
                if self._inject(fault):
                    self.faults[fault] += 1
                lifecycle = self.member.lifecycle
        self.serve()
        if self.attempt is not None and self.armed and self._interrupt():
            return
        if lifecycle.state is ERROR:
            if rng.random() < 0.5:
                decisions = tuple(Resolution) if lifecycle.roll_owed else (Resolution.RETRY,)
                self.recover(rng.choice(decisions))
        elif lifecycle.state is ENDED and not self.config.auto_roll and rng.random() < 0.7:
            self.ask_roll()
        elif rng.random() < 0.1:
            self.hear_data()

    def _inject(self, fault: str) -> bool:  # noqa: PLR0911 -- likewise
        """Let a fault happen now; return whether it could."""
        rng = self.rng
        match fault:
            case "clock steps forward":
                return self.step(rng.choice((SECOND, MINUTE, HOUR, 12 * HOUR)) * (1 + rng.random()))
            case "clock steps over days":
                return self.step(rng.random() * 15 * DAY)
            case "clock steps over years":
                delta = rng.random() * 3650 * DAY
                if not self.step(delta):
                    return False
                if rng.random() < 0.8:  # and somebody notices
                    self.serve()
                    self.step(-delta)
            case "clock steps back":
                return self.step(-rng.choice((SECOND, MINUTE, HOUR, HOUR, 10 * HOUR, DAY, 7 * DAY)))
            case "looks late":
                self.pass_time(rng.random() * 12 * HOUR)
            case "looks late by days":
                self.pass_time(rng.random() * 5 * DAY)
            case "crash between looks":
                self.faults[fault] += 1
                raise Crash
            case "cancelled":
                self.leave(crash=False)
                self.restart()
            case "stopped":
                self._stop()
            case "failed by hand":
                self.fail()
            case "ended by hand":
                return self.end_session()
            case "old data":
                since = self.hours.since(self.wall) + rng.choice((-MICROSECOND, ZERO, MICROSECOND))
                self.hear_data(since if rng.random() < 0.5 else self.wall - rng.random() * 2 * HOUR)
            case "future data":
                self.hear_data(self.wall + rng.random() * 2 * DAY)
            case "data out of order":
                for _ in range(3):
                    self.hear_data(self.wall - rng.random() * 10 * MINUTE)
            case _:
                return False
        return True

    def _interrupt(self) -> bool:
        """Let somebody come in between while an attempt is under way; return whether the process is another now."""
        if self._hit("failed during a roll"):
            self.fail()
        if self._hit("stopped during a roll"):
            self._stop()
        elif self._hit("cancelled during a roll"):
            self.leave(crash=False)
            self.restart()
        else:
            return False
        return True

    def _stop(self) -> None:
        """Stop: an attempt under way may finish, none follows."""
        self.note("look", self.wall, self.mono)
        self.note("asked", "stop")
        self.member.lifecycle.stop()
        self.serve()
        while self.attempt is not None:
            self.pass_time(self.due())
            self.serve()
        self.leave(crash=False)
        self.restart()


def live(
    seed: int,
    calendar: str,
    sessions: tuple[Session, ...],
    log: Callable[[tuple[Any, ...]], None] | None = None,
    storms: float = 0.4,
) -> World:
    """Live one life, and return the world with its figures.

    Raises:
        Violation: with the last lines of the log in its notes.
    """
    world = World(seed, calendar, sessions, log, storms)
    try:
        world.run()
    except (Exception, Violation) as error:
        error.add_note("\n".join(["the last that happened:", *(f"  {line}" for line in world.recent)]))
        error.add_note(f"{world.config}\njournal: {world.journal is not None}")
        raise
    return world
