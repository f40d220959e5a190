"""Every transition of the state machine, declared once, as one table.

Rule of this file: a transition that is not in `TRANSITIONS` does not exist. The schedule leads a session along its
legs, from NOT_STARTED to ENDED, and the roll enters the next session at NOT_STARTED. Missing data leads from ACTIVE to
TIMEOUT and fresh data leads back; the close takes the session from either, since a market without data closes too.
Every state but ERROR can fail. One trigger alone leaves ERROR: to ENDED where a roll is owed (the failed roll is done
first, and the next session waits for it), otherwise to NOT_STARTED, from where the session is gone through again.

The table is declared to a synchronous `transitions.Machine` without automatic transitions, so there is no back door.
That machine is the authority: at import every trigger is fired in every state, through the documented API alone, and
the answers are kept in `_DESTS`, which `dest_of` looks up. There is one declaration, and a transition costs two dict
lookups.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from transitions import Machine

from session_lifecycle._model.errors import IllegalTransition
from session_lifecycle._model.legs import SCHEDULE_TRANSITIONS
from session_lifecycle._model.states import SessionState

NOT_STARTED: Final = SessionState.NOT_STARTED
ACTIVE: Final = SessionState.ACTIVE
ENDED: Final = SessionState.ENDED
TIMEOUT: Final = SessionState.TIMEOUT
ERROR: Final = SessionState.ERROR


def roll_owed(*, roll_owed: bool) -> bool:
    """Answer the condition of `recover`. The function's name is the label in the diagram."""
    return roll_owed


TRANSITIONS: Final[tuple[Mapping[str, Any], ...]] = (
    # The legs of the session (see `LEGS`): start_pre_market, open_market, close_market and end_session.
    *(
        {"trigger": trigger, "source": [source, TIMEOUT] if source is ACTIVE else source, "dest": dest}
        for trigger, source, dest in SCHEDULE_TRANSITIONS
    ),
    {"trigger": "roll", "source": ENDED, "dest": NOT_STARTED},
    {"trigger": "data_timeout", "source": ACTIVE, "dest": TIMEOUT},
    {"trigger": "data_resumed", "source": TIMEOUT, "dest": ACTIVE},
    {"trigger": "fail", "source": [s for s in SessionState if s is not ERROR], "dest": ERROR},
    {"trigger": "recover", "source": ERROR, "dest": ENDED, "conditions": roll_owed},
    {"trigger": "recover", "source": ERROR, "dest": NOT_STARTED, "unless": roll_owed},
)
"""The state machine. Values are plain `transitions` configuration."""

_SETTINGS: Final[Mapping[str, Any]] = {
    "states": SessionState,
    "initial": NOT_STARTED,
    "auto_transitions": False,
}


class _Model:
    """What the machine of `transitions` moves. The machine adds the attributes."""

    state: SessionState
    trigger: Callable[..., bool]


def _dests() -> dict[SessionState, dict[str, tuple[SessionState | None, SessionState | None]]]:
    """Return what the machine of `transitions` does in each state, for each trigger that it has there."""
    logger = logging.getLogger("transitions")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # each step is logged at INFO or below, and importing logs nothing
    try:
        return _fired_everywhere()
    finally:
        logger.setLevel(level)


def _fired_everywhere() -> dict[SessionState, dict[str, tuple[SessionState | None, SessionState | None]]]:
    model = _Model()
    machine = Machine(model=model, transitions=[dict(each) for each in TRANSITIONS], **_SETTINGS)

    def fired(state: SessionState, trigger: str, *, roll_owed: bool) -> SessionState | None:
        machine.set_state(state)
        return model.state if model.trigger(trigger, roll_owed=roll_owed) else None

    return {
        state: {
            trigger: (fired(state, trigger, roll_owed=False), fired(state, trigger, roll_owed=True))
            for trigger in machine.get_triggers(state)
        }
        for state in SessionState
    }


_DESTS: Final = _dests()
"""For each state and trigger, the destination without and with a roll owed. Derived from the machine, never written."""


def allowed_in(state: SessionState) -> tuple[str, ...]:
    """Return the triggers that lead out of a state."""
    return tuple(_DESTS[state])


def dest_of(state: SessionState, trigger: str, *, roll_owed: bool = False) -> SessionState:
    """Return the state that a trigger leads to.

    Raises:
        IllegalTransition: the table has no such transition, or no such trigger at all.
    """
    dests = _DESTS[state].get(trigger)
    dest = None if dests is None else dests[roll_owed]
    if dest is None:
        raise IllegalTransition(state, trigger, allowed_in(state))
    return dest


class SessionMachine:
    """One session's state, moved by triggers along the table and in no other way."""

    __module__ = "session_lifecycle"

    __slots__ = ("_state",)

    def __init__(self, initial: SessionState = SessionState.NOT_STARTED) -> None:
        if not isinstance(initial, SessionState):
            msg = f"initial must be a SessionState, not {initial!r}"
            raise TypeError(msg)
        self._state = initial

    def __repr__(self) -> str:
        return f"<SessionMachine {self.state.name}>"

    @property
    def state(self) -> SessionState:
        """The present state."""
        return self._state

    @property
    def allowed(self) -> tuple[str, ...]:
        """The triggers that lead out of the present state."""
        return allowed_in(self._state)

    def fire(self, trigger: str, *, roll_owed: bool = False) -> SessionState:
        """Take the transition of this trigger and return the new state.

        `roll_owed` matters for `recover` only: whether it leads to ENDED or to NOT_STARTED.

        Raises:
            IllegalTransition: the table has no such transition from here, or no such trigger at all. Nothing has
                changed.
        """
        self._state = dest_of(self._state, trigger, roll_owed=bool(roll_owed))
        return self._state

    @staticmethod
    def mermaid() -> str:
        """Return the state diagram as Mermaid text (`stateDiagram-v2`), drawn by `transitions` from the machine."""
        from transitions.extensions import GraphMachine  # slow to import, and needed for nothing else

        drawn = GraphMachine(
            transitions=[dict(each) for each in TRANSITIONS],
            graph_engine="mermaid",
            show_conditions=True,
            **_SETTINGS,
        )
        lines: list[str] = drawn.get_graph().source.splitlines()
        # The styles mark the present state; a diagram of the table has none.
        styles = ("classdef ", "class ")
        kept = [line for line in lines[lines.index("stateDiagram-v2") :] if not line.strip().lower().startswith(styles)]
        kept = [line for line in kept if line.strip()]
        return "\n".join(kept) + "\n"
