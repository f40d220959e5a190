"""Every edge of the state machine, once, as one table.

Rule of this file: an edge that is not in `TRANSITIONS` does not exist. The schedule leads a session along NOT_STARTED →
PRE_MARKET → ACTIVE → POST_MARKET → ENDED, and the roll enters the next session at NOT_STARTED. Silence leads from
ACTIVE to TIMEOUT and data leads back; the close takes the session from either, since a silent market closes too. Every
state but ERROR can fail. ERROR is left by one trigger alone, which goes to ENDED where a roll is owed (the failed roll
is done first, and the next session waits for it) and to NOT_STARTED otherwise, from where the session is walked again.

The table is declared to a synchronous `transitions.Machine` with no automatic transitions, so there is no back door.
That machine is the authority: at import it is asked about every trigger in every state, and what it says is kept in
`_EDGES`, which `dest_of` looks up. So there is one declaration, and an edge costs what a dict costs.
"""

from collections.abc import Mapping
from typing import Any, Final

from transitions import EventData, Machine

from session_lifecycle._model.errors import IllegalTransition
from session_lifecycle._model.states import SessionState

NOT_STARTED: Final = SessionState.NOT_STARTED
PRE_MARKET: Final = SessionState.PRE_MARKET
ACTIVE: Final = SessionState.ACTIVE
POST_MARKET: Final = SessionState.POST_MARKET
ENDED: Final = SessionState.ENDED
TIMEOUT: Final = SessionState.TIMEOUT
ERROR: Final = SessionState.ERROR


def roll_owed(event: EventData) -> bool:
    """Tell whether the trigger was fired with a roll owed; its name is the diagram's label."""
    return bool(event.kwargs["roll_owed"])


TRANSITIONS: Final[tuple[Mapping[str, Any], ...]] = (
    {"trigger": "start_pre_market", "source": NOT_STARTED, "dest": PRE_MARKET},
    {"trigger": "open_market", "source": PRE_MARKET, "dest": ACTIVE},
    {"trigger": "close_market", "source": [ACTIVE, TIMEOUT], "dest": POST_MARKET},
    {"trigger": "end_session", "source": POST_MARKET, "dest": ENDED},
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
    "send_event": True,
}


_MACHINE: Final = Machine(model=None, transitions=[dict(edge) for edge in TRANSITIONS], **_SETTINGS)


def _dest(state: SessionState, trigger: str, *, roll_owed: bool) -> SessionState | None:
    """Return where the machine of `transitions` goes from a state by a trigger, None where it refuses."""
    event = EventData(None, _MACHINE.events[trigger], _MACHINE, None, args=(), kwargs={"roll_owed": roll_owed})
    for edge in _MACHINE.get_transitions(trigger, source=state):
        if all(condition.check(event) for condition in edge.conditions):
            return SessionState[edge.dest or state.name]  # without one, an edge would lead nowhere else
    return None


_EDGES: Final = {
    state: {
        trigger: (_dest(state, trigger, roll_owed=False), _dest(state, trigger, roll_owed=True))
        for trigger in _MACHINE.get_triggers(state)
    }
    for state in SessionState
}
"""For each state and trigger, where it leads, and where it leads with a roll owed. Derived, never written."""


def allowed_in(state: SessionState) -> tuple[str, ...]:
    """Return the triggers that a state has an edge for."""
    return tuple(_EDGES[state])


def dest_of(state: SessionState, trigger: str, *, roll_owed: bool = False) -> SessionState:
    """Return where the edge of a trigger leads.

    Raises:
        IllegalTransition: the table has no such edge, or no such trigger at all.
    """
    edge = _EDGES[state].get(trigger)
    dest = None if edge is None else edge[roll_owed]
    if dest is None:
        raise IllegalTransition(state, trigger, allowed_in(state))
    return dest


class SessionMachine:
    """One session's state, moved by triggers along the table and in no other way."""

    __module__ = "session_lifecycle"

    __slots__ = ("_state",)

    def __init__(self, initial: SessionState = SessionState.NOT_STARTED) -> None:
        if not isinstance(initial, SessionState):  # pyright: ignore[reportUnnecessaryIsInstance] -- callers may be untyped
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
        """The triggers that the present state has an edge for."""
        return allowed_in(self._state)

    def fire(self, trigger: str, *, roll_owed: bool = False) -> SessionState:
        """Take the edge of this trigger and return the new state.

        `roll_owed` matters for `recover` only: whether it leads to ENDED or to NOT_STARTED.

        Raises:
            IllegalTransition: the table has no such edge from here, or no such trigger at all. Nothing has changed.
        """
        self._state = dest_of(self._state, trigger, roll_owed=bool(roll_owed))
        return self._state

    @staticmethod
    def mermaid() -> str:
        """Return the state diagram as Mermaid text (`stateDiagram-v2`), drawn by `transitions` from the machine."""
        from transitions.extensions import GraphMachine  # slow to import, and needed for nothing else

        drawn = GraphMachine(
            transitions=[dict(edge) for edge in TRANSITIONS],
            graph_engine="mermaid",
            show_conditions=True,
            **_SETTINGS,
        )
        lines: list[str] = drawn.get_graph().source.splitlines()
        # The styles mark the present state; a diagram of the table has none.
        styles = ("classDef ", "Class ")
        kept = [line for line in lines[lines.index("stateDiagram-v2") :] if not line.strip().startswith(styles)]
        kept = [line for line in kept if line.strip()]
        return "\n".join(kept) + "\n"
