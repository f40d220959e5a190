"""The legs of a session, in their order: the one table that says how a session is divided.

What depends on the division is derived from `LEGS`: the transitions that the schedule implies, the next boundary of a
state, the anchors of alarms, the fields of files of hours, and the labels and bands of the command line.
"""

from typing import Final, Literal, get_args

import msgspec

from session_lifecycle._model.states import SessionState

Anchor = Literal["pre_market_start", "open", "break_start", "break_end", "close", "end"]
"""The instant of a session from which an alarm is counted. A session with several breaks has several break anchors."""

ANCHORS: Final[tuple[str, ...]] = get_args(Anchor)

PHASES: Final = ("overnight", "pre_market", "opening_auction", "continuous", "closing_auction", "post_market")
"""The names of phases that venues have in common. A phase may also have a name of its own."""


def is_phase_name(name: object) -> bool:
    """Return whether a phase may have that name. No boundary's is one: where it is given, an instant is meant."""
    return isinstance(name, str) and name.isidentifier() and name.isascii() and name not in ANCHORS


StateValue = Literal["not_started", "pre_market", "active", "post_market", "ended"]
"""The value of a state that schedule and clock alone imply: that of a leg, or ENDED."""

Label = Literal["not started", "pre-market", "active", "post-market"]
"""What people read for the state of a leg."""


class Leg(msgspec.Struct, frozen=True):
    """One leg of every session: its state lasts until `boundary`, where `trigger` leads to the next leg's state.

    `fact` is the field of `Session` that holds the boundary. `default` names what applies where that is None: a
    duration of the configuration, or another fact; a leg without a default always has its fact. `label` is what people
    read.
    """

    boundary: Anchor
    trigger: str
    state: SessionState
    fact: str
    default: str | None
    label: Label


LEGS: Final = (
    Leg(
        "pre_market_start",
        "start_pre_market",
        SessionState.NOT_STARTED,
        "pre_market_start",
        "pre_market",
        "not started",
    ),
    Leg("open", "open_market", SessionState.PRE_MARKET, "open", None, "pre-market"),
    Leg("close", "close_market", SessionState.ACTIVE, "close", None, "active"),
    Leg("end", "end_session", SessionState.POST_MARKET, "post_market_end", "post_market_roll_delay", "post-market"),
)
"""Every leg of a session, in the order of `Boundaries`. After the last one the session is ENDED."""

SCHEDULE_TRANSITIONS: Final = tuple(
    (leg.trigger, leg.state, dest)
    for leg, dest in zip(LEGS, [*(leg.state for leg in LEGS[1:]), SessionState.ENDED], strict=True)
)
"""The (trigger, source, dest) that a session's boundaries fire, in the order of `Boundaries`."""

REQUIRED_FACTS: Final = tuple(leg.fact for leg in LEGS if leg.default is None)
"""The instants that every session has: `open` and `close`."""

FACTS: Final = (*REQUIRED_FACTS, *(leg.fact for leg in LEGS if leg.default is not None))
"""The fields of `Session` that hold an instant, the required ones first."""

HOURS: Final = (*REQUIRED_FACTS, "breaks", *FACTS[len(REQUIRED_FACTS) :], "phases")
"""The fields of `Session` that hold its hours, in the order in which files and messages name them."""
