"""Random sequences of triggers, legal and not, against a naive model."""

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from session_lifecycle import IllegalTransition, SessionMachine, SessionState

# Written from the rules in words, not from the table: (states it leaves, state it enters).
EDGES = {
    "start_pre_market": ("NOT_STARTED", "PRE_MARKET"),
    "open_market": ("PRE_MARKET", "ACTIVE"),
    "close_market": ("ACTIVE TIMEOUT", "POST_MARKET"),
    "end_session": ("POST_MARKET", "ENDED"),
    "roll": ("ENDED", "NOT_STARTED"),
    "data_timeout": ("ACTIVE", "TIMEOUT"),
    "data_resumed": ("TIMEOUT", "ACTIVE"),
    "fail": ("NOT_STARTED PRE_MARKET ACTIVE POST_MARKET ENDED TIMEOUT", "ERROR"),
}


class Progress(RuleBasedStateMachine):
    """A machine and a plain string, moved side by side; a bystander is moved by neither."""

    def __init__(self) -> None:
        super().__init__()
        self.bystander = SessionMachine(SessionState.TIMEOUT)

    @initialize(state=st.sampled_from(SessionState))
    def begin(self, state: SessionState) -> None:
        self.machine, self.expected = SessionMachine(state), state.name

    @rule(trigger=st.sampled_from([*EDGES, "recover"]) | st.text(max_size=12), owed=st.booleans())
    def fire(self, trigger: str, owed: bool) -> None:
        if trigger == "recover":
            sources, dest = "ERROR", "ENDED" if owed else "NOT_STARTED"
        else:
            sources, dest = EDGES.get(trigger, ("", ""))
        if self.expected in sources.split():
            self.expected = dest
            assert self.machine.fire(trigger, roll_owed=owed).name == dest
        else:
            with pytest.raises(IllegalTransition) as caught:
                self.machine.fire(trigger, roll_owed=owed)
            assert (caught.value.state.name, caught.value.trigger) == (self.expected, trigger)
            assert trigger not in caught.value.allowed

    @rule()
    def live_a_day(self) -> None:
        """Walk whatever is left of a session, so that deep states are reached often."""
        for trigger in ("start_pre_market", "open_market", "close_market", "end_session", "roll"):
            self.fire(trigger, owed=False)

    @invariant()
    def agree(self) -> None:
        if hasattr(self, "machine"):
            assert self.machine.state.name == self.expected
            assert self.bystander.state is SessionState.TIMEOUT


class TestWalk(Progress.TestCase):
    """Whatever is fired, in whatever order, the machine is where the naive model says, and refuses what it refuses."""

    settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
