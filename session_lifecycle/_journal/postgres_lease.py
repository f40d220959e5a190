"""The lease of one replica: whether it leads, by its own clock alone, and which term it leads under.

A lease decides only when another replica may begin. That no two replicas write is decided by the server, which refuses
a record of a term that is over.
"""

import os
import secrets
import socket
import sys
import time
from math import ceil
from typing import Final

import anyio


def uptime() -> float:
    """Return seconds by a clock that cannot be set, and that counts a suspend where the system has one.

    That is CLOCK_BOOTTIME on Linux, and CLOCK_MONOTONIC on macOS, by its manual page clock_gettime(3). By Linux's
    CLOCK_MONOTONIC a host that wakes from a suspend would hold a lease that ended long ago.
    """
    if sys.platform == "win32":
        return time.monotonic()
    return time.clock_gettime(_CLOCK)


if sys.platform != "win32":
    _CLOCK: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Lease:
    """The lease of a journal's name, held by one open journal of one process or by another one.

    Args:
        name: of the journal.
        seconds: how long it lasts from the instant before its renewal was sent.
    """

    def __init__(self, name: str, seconds: float) -> None:
        self._pid = os.getpid()
        self.name = name
        self.seconds = seconds
        self.holder = f"{socket.gethostname()}/{self._pid}/{secrets.token_hex(8)}"
        self.term = 0
        self.tenure = 0
        self.sent = 0.0
        self.settling = False
        self.reason = "this replica has not led yet"
        self.failure = ""
        """What the last renewal failed with, after a colon; empty where it has succeeded."""
        self.ended = anyio.Event()
        self._leading = False
        self._deadline = 0.0
        self._known_term = 0

    @property
    def leads(self) -> bool:
        """Whether this replica may write: it holds the lease, which is not over, in the process that acquired it."""
        return self._leading and uptime() < self._deadline and os.getpid() == self._pid

    @property
    def known_term(self) -> int:
        """The term of the present leader, as far as it is known here."""
        return max(self.term, self._known_term)

    @property
    def remaining(self) -> float:
        """The seconds for which this replica still leads, none where it does not."""
        return max(0.0, self._deadline - uptime()) if self._leading else 0.0

    @property
    def rest(self) -> int:
        """The same in milliseconds, at least one: how long the server may wait for the COMMIT of a roll."""
        return max(1, ceil(1000 * min(self.remaining, self.seconds)))

    def learn_term(self, term: int) -> None:
        """Keep the term of a leader elsewhere."""
        self._known_term = max(self._known_term, term)

    def gain(self, term: int, sent: float) -> None:
        """Lead from now on under `term`, which was asked for at `sent`, by `uptime`."""
        self.expire()
        if not self._leading:
            self._leading = True
            self.ended = anyio.Event()
        self.term = term
        self.sent = sent
        self.failure = ""
        self._deadline = sent + self.seconds

    def change_term(self, term: int, sent: float) -> None:
        """Go on under a later term of its own, which was asked for at `sent`. A lead that was lost stays lost."""
        self.expire()
        self.term = term
        self.extend(sent)

    def extend(self, sent: float) -> None:
        """Lead for longer: a renewal that was sent at `sent`, by `uptime`, has succeeded."""
        if self._leading:
            self.sent = max(self.sent, sent)
            self._deadline = self.sent + self.seconds
            self.failure = ""

    def expire(self) -> None:
        """Lose the lead if the lease is over."""
        if self._leading and not self.leads:
            self.lose(f"the lease of {self.seconds:g} s ran out before it could be renewed{self.failure}")

    def lose(self, reason: str) -> None:
        """Lead no more. What was asked for under this tenure is refused, even if the lead is gained again."""
        if self._leading:
            self._leading = False
            self.tenure += 1
            self.reason = reason
            self.ended.set()
