"""The part that awaits: clocks, driver, manager and group, on anyio."""
