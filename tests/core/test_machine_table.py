"""Every state × trigger, against a table written out by hand and independent of the one that runs."""

import pytest
from transitions import Machine, MachineError

from session_lifecycle import IllegalTransition, SessionMachine, SessionState
from session_lifecycle._core.machine import TRANSITIONS

# A row is a state; its edges are trigger → destination. `recover` has one destination with a roll owed, one without.
TABLE: dict[str, dict[str, str]] = {
    "NOT_STARTED": {"start_pre_market": "PRE_MARKET", "fail": "ERROR"},
    "PRE_MARKET": {"open_market": "ACTIVE", "fail": "ERROR"},
    "ACTIVE": {"close_market": "POST_MARKET", "data_timeout": "TIMEOUT", "fail": "ERROR"},
    "TIMEOUT": {"close_market": "POST_MARKET", "data_resumed": "ACTIVE", "fail": "ERROR"},
    "POST_MARKET": {"end_session": "ENDED", "fail": "ERROR"},
    "ENDED": {"roll": "NOT_STARTED", "fail": "ERROR"},
    "ERROR": {},
}
RECOVER = {True: "ENDED", False: "NOT_STARTED"}
TRIGGERS = (
    "start_pre_market",
    "open_market",
    "close_market",
    "end_session",
    "roll",
    "data_timeout",
    "data_resumed",
    "fail",
    "recover",
)
CASES = [(state, trigger, owed) for state in TABLE for trigger in TRIGGERS for owed in (False, True)]
LEGAL = [case for case in CASES if case[1] in TABLE[case[0]] or case[:2] == ("ERROR", "recover")]
ILLEGAL = [case for case in CASES if case not in LEGAL]
UNKNOWN = (
    *(f"to_{state}" for state in TABLE),  # what transitions would add by itself
    *TABLE,
    "to",
    "trigger",
    "initial",
    "may_fail",
    "FAIL",
    "fail ",
    "",
    "__init__",
    None,
    3,
    SessionState.ERROR,
)


def named(state: str) -> SessionState:
    return SessionState[state]


def everything(machine: SessionMachine) -> tuple[object, ...]:
    """Return all that a machine consists of, its model's slots included."""
    slots = [getattr(machine, slot) for slot in machine.__slots__]
    return (machine.state, *slots)


def assert_refused(machine: SessionMachine, trigger: str, allowed: set[str], **kwargs: bool) -> IllegalTransition:
    before, state = everything(machine), machine.state
    with pytest.raises(IllegalTransition) as caught:
        machine.fire(trigger, **kwargs)
    assert everything(machine) == before
    error = caught.value
    assert (error.state, error.trigger, set(error.allowed)) == (state, trigger, allowed)
    assert len(error.allowed) == len(allowed)
    return error


def allowed_in(state: str) -> set[str]:
    return {*TABLE[state], *(["recover"] if state == "ERROR" else [])}


@pytest.mark.parametrize("owed", [False, True])
@pytest.mark.parametrize("trigger", TRIGGERS)
@pytest.mark.parametrize("state", TABLE)
def test_it_does_what_a_machine_of_transitions_does(state: str, trigger: str, owed: bool) -> None:
    """Cell by cell, the machine and one that `transitions` builds from the same declaration go to the same state."""

    class Model:
        state: SessionState

    model = Model()
    declared = [dict(edge) for edge in TRANSITIONS]
    Machine(model, SessionState, named(state), declared, auto_transitions=False)
    machine = SessionMachine(named(state))
    try:
        model.trigger(trigger, roll_owed=owed)
    except MachineError:
        with pytest.raises(IllegalTransition):
            machine.fire(trigger, roll_owed=owed)
    else:
        assert machine.fire(trigger, roll_owed=owed) is model.state
    assert machine.state is model.state
    theirs = {name for name in TRIGGERS if getattr(model, f"may_{name}")(roll_owed=owed)}
    assert set(machine.allowed) == theirs


def test_the_table_covers_all_seven_states() -> None:
    """There are seven states, and each has a row."""
    assert [state.name for state in SessionState] == [
        "NOT_STARTED",
        "PRE_MARKET",
        "ACTIVE",
        "POST_MARKET",
        "ENDED",
        "TIMEOUT",
        "ERROR",
    ]
    assert set(TABLE) == {state.name for state in SessionState}


def test_there_are_nine_triggers() -> None:
    """The transitions name these nine triggers and no other."""
    assert {edge["trigger"] for edge in TRANSITIONS} == set(TRIGGERS)
    assert len(TRIGGERS) == 9


def test_every_combination_is_held() -> None:
    """Seven states × nine triggers, each with a roll owed and without, fall into legal and illegal ones."""
    assert (len(CASES), len(LEGAL), len(ILLEGAL)) == (7 * 9 * 2, 15 * 2, 48 * 2)


@pytest.mark.parametrize(("state", "trigger", "owed"), LEGAL)
def test_an_edge_of_the_table_is_taken(state: str, trigger: str, owed: bool) -> None:
    """An edge of the table leads where the table says, and whether a roll is owed matters for `recover` alone."""
    machine = SessionMachine(named(state))
    dest = named(RECOVER[owed] if trigger == "recover" else TABLE[state][trigger])
    assert machine.fire(trigger, roll_owed=owed) is dest
    assert machine.state is dest


@pytest.mark.parametrize(("state", "trigger", "owed"), ILLEGAL)
def test_fault_11_any_other_edge_is_refused(state: str, trigger: str, owed: bool) -> None:
    """A trigger without an edge from the present state raises, says what is possible, and changes nothing."""
    error = assert_refused(SessionMachine(named(state)), trigger, allowed_in(state), roll_owed=owed)
    assert str(error) == (
        f"{trigger!r} is not possible in {state}; from here: {', '.join(error.allowed)}. Nothing was changed"
    )


@pytest.mark.parametrize("state", TABLE)
@pytest.mark.parametrize("trigger", UNKNOWN, ids=repr)
def test_fault_11_an_unknown_trigger_is_refused(state: str, trigger: str) -> None:
    """A trigger that the table does not know, such as an automatic `to_ACTIVE`, is refused in every state."""
    assert_refused(SessionMachine(named(state)), trigger, allowed_in(state))


@pytest.mark.parametrize("state", TABLE)
def test_a_refused_trigger_leaves_every_edge_open(state: str) -> None:
    """After every possible refusal the machine still takes each of its legal edges."""
    for trigger in allowed_in(state):
        machine = SessionMachine(named(state))
        for refused in sorted(set(TRIGGERS) - allowed_in(state)):
            assert_refused(machine, refused, allowed_in(state))
        assert machine.fire(trigger) is named(RECOVER[False] if trigger == "recover" else TABLE[state][trigger])


@pytest.mark.parametrize("state", TABLE)
def test_what_is_allowed_can_be_asked(state: str) -> None:
    """A machine names the triggers that its state has an edge for, each once."""
    assert sorted(SessionMachine(named(state)).allowed) == sorted(allowed_in(state))


def test_machines_are_independent() -> None:
    """Moving one machine, or being refused by it, moves no other."""
    one, other = SessionMachine(), SessionMachine(SessionState.ACTIVE)
    one.fire("start_pre_market")
    assert_refused(one, "roll", allowed_in("PRE_MARKET"))
    assert (one.state, other.state) == (SessionState.PRE_MARKET, SessionState.ACTIVE)


def test_a_machine_starts_not_started() -> None:
    """Without an initial state the machine is NOT_STARTED."""
    assert SessionMachine().state is SessionState.NOT_STARTED
    assert repr(SessionMachine()) == "<SessionMachine NOT_STARTED>"


@pytest.mark.parametrize("initial", ["ACTIVE", "active", None, 3, SessionState], ids=repr)
def test_an_initial_of_another_type_is_refused(initial: object) -> None:
    """Only a member of SessionState can be the initial state."""
    with pytest.raises(TypeError, match="initial must be a SessionState, not"):
        SessionMachine(initial)


def test_the_state_cannot_be_set() -> None:
    """Firing a trigger is the only public way to move a machine."""
    machine = SessionMachine()
    with pytest.raises(AttributeError):
        machine.state = SessionState.ACTIVE
    with pytest.raises(AttributeError):
        machine.to_ACTIVE = None
    assert machine.state is SessionState.NOT_STARTED
    assert {name for name in dir(machine) if not name.startswith("_")} == {"allowed", "fire", "mermaid", "state"}


def test_the_diagram_shows_the_table() -> None:
    """The Mermaid text has exactly the table's edges, the initial state, and all seven states."""
    kind, *lines = [line.strip() for line in SessionMachine.mermaid().splitlines()]
    assert kind == "stateDiagram-v2"
    edges = [tuple(part.strip() for part in line.replace(" --> ", ":").split(":")) for line in lines if "-->" in line]
    expected = [(state, dest, trigger) for state, row in TABLE.items() for trigger, dest in row.items()]
    expected += [("ERROR", "ENDED", "recover [roll_owed]"), ("ERROR", "NOT_STARTED", "recover [!roll_owed]")]
    assert sorted(edges) == sorted([*expected, ("[*]", "NOT_STARTED")])
    assert [line for line in lines if line.startswith("state ")] == [
        f'state "{state.name}" as {state.name}' for state in SessionState
    ]
    assert not [line for line in lines if "class" in line.lower()]
