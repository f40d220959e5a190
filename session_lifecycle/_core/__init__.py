"""The part that decides: no await, no log, no clock."""
