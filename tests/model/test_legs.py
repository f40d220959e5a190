"""The table of the legs, against all that must agree with it."""

from inspect import signature
from typing import get_args

from session_lifecycle import Boundaries, LifecycleConfig, Session, SessionMachine, SessionState
from session_lifecycle._core.timeline import SCHEDULE_TRANSITIONS
from session_lifecycle._model.alarm import Anchor
from session_lifecycle._model.legs import ANCHORS, LEGS


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
    """The fact is a field of `Session`, and the default one of the configuration where the fact may be None."""
    facts, durations = signature(Session).parameters, signature(LifecycleConfig).parameters
    for leg in LEGS:
        assert leg.fact in facts
        assert (leg.default is None) is (facts[leg.fact].default is not None)
        assert leg.default is None or leg.default in durations


def test_alarms_have_every_boundary_as_an_anchor() -> None:
    """The anchors are the boundaries of the legs, with those of breaks between the open and the close."""
    assert get_args(Anchor) == ANCHORS
    boundaries = [leg.boundary for leg in LEGS]
    assert [anchor for anchor in ANCHORS if not anchor.startswith("break")] == boundaries
