"""The table of the legs, against all that must agree with it."""

from inspect import signature
from typing import get_args

from session_lifecycle import Boundaries, LifecycleConfig, Session, SessionMachine, SessionState, SpecialHours
from session_lifecycle._model.alarm import Anchor
from session_lifecycle._model.legs import (
    ANCHORS,
    FACTS,
    HOURS,
    LEGS,
    REQUIRED_FACTS,
    SCHEDULE_TRANSITIONS,
    Label,
    StateValue,
)


def test_the_boundaries_are_those_of_the_legs() -> None:
    """`Boundaries` has one instant for each leg, in their order."""
    assert Boundaries._fields == tuple(leg.boundary for leg in LEGS)


def test_every_leg_leads_to_the_next() -> None:
    """The state machine takes each leg's trigger from its state to the next leg's, and from the last one to ENDED."""
    after = [*(leg.state for leg in LEGS[1:]), SessionState.ENDED]
    assert [SessionMachine(leg.state).fire(leg.trigger) for leg in LEGS] == after
    assert [(leg.trigger, leg.state) for leg in LEGS] == [each[:2] for each in SCHEDULE_TRANSITIONS]
    assert [dest for _, _, dest in SCHEDULE_TRANSITIONS] == after


def test_a_leg_names_fields_that_there_are() -> None:
    """The fact is a field of `Session`; its default, where it may be None, one of the configuration or another fact."""
    facts, durations = signature(Session).parameters, signature(LifecycleConfig).parameters
    for leg in LEGS:
        assert leg.fact in facts
        assert (leg.default is None) is (facts[leg.fact].default is not None)
        assert leg.default is None or leg.default in durations or leg.default in facts


def test_the_hours_are_the_fields_of_a_session() -> None:
    """`HOURS` has every field of `Session` but the date, and so have special hours, besides their days and reason."""
    assert set(HOURS) == {*FACTS, "breaks", "phases"} == set(signature(Session).parameters) - {"date"}
    assert set(HOURS) == set(signature(SpecialHours).parameters) - {"date", "until", "weekdays", "reason"}
    assert len(set(HOURS)) == len(HOURS)
    required = [name for name, each in signature(Session).parameters.items() if each.default is each.empty]
    assert [*REQUIRED_FACTS] == required[1:]


def test_the_types_name_what_the_table_has() -> None:
    """The labels and the values of states that are declared as types are those of the table."""
    assert get_args(Label) == tuple(leg.label for leg in LEGS)
    assert get_args(StateValue) == (*(leg.state.value for leg in LEGS), SessionState.ENDED.value)


def test_alarms_have_every_boundary_as_an_anchor() -> None:
    """The anchors are the boundaries of the legs, with those of breaks between the open and the close."""
    assert get_args(Anchor) == ANCHORS
    boundaries = [leg.boundary for leg in LEGS]
    assert [anchor for anchor in ANCHORS if not anchor.startswith("break")] == boundaries
