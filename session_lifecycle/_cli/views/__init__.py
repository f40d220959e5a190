"""What the commands show: plans, bands, boards and pictures."""
