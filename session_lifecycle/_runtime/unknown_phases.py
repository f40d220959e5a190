"""Warnings of waiting for a phase that no coming session has."""

from session_lifecycle._core.lifecycle import SessionLifecycle
from session_lifecycle._runtime.event_log import LOGGER


def warn_of_unknown_phase(lifecycle: SessionLifecycle, what: str, name: str) -> None:
    """Log a warning where no coming session has the phase that `what` names."""
    why = lifecycle.unknown_phase(name)
    if why is not None:
        label = lifecycle.name or lifecycle.schedule.name
        LOGGER.warning("%s: %s names a phase that may never come: %s", label, what, why)


def warn_of_unknown_phases(lifecycle: SessionLifecycle) -> None:
    """Log a warning for each phase that the configuration or an alarm names and no coming session has."""
    for what, name in lifecycle.named_phases:
        warn_of_unknown_phase(lifecycle, what, name)
