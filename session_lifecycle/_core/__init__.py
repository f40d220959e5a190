"""The decisions of a lifecycle, as pure functions of their inputs: no await, no log, no clock."""
