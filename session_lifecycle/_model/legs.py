"""The legs of a session, in their order: the one table that says how a session is divided.

What depends on the division is derived from `LEGS`: the transitions that the schedule implies, the next boundary of a
state, the anchors of alarms, the fields of a snapshot, and the labels and bands of the command line.
"""

from typing import Final, Literal, NamedTuple, get_args

from session_lifecycle._model.states import SessionState

Anchor = Literal["pre_market_start", "open", "break_start", "break_end", "close", "end"]
"""An instant of a session that alarms are counted from. A session with several breaks has several of those."""

ANCHORS: Final[tuple[str, ...]] = get_args(Anchor)


class Leg(NamedTuple):
    """One leg of every session: its state lasts until `boundary`, where `trigger` leads to the next leg's state.

    `fact` is the field of `Session` that holds the boundary, `default` the field of the configuration whose duration
    applies where that is None; a leg without a default always has the fact. `label` is what people read.
    """

    boundary: Anchor
    trigger: str
    state: SessionState
    fact: str
    default: str | None
    label: str


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
