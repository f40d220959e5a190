"""The output of the commands: plans, bands, boards and pictures."""
