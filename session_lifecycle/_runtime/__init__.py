"""The part that awaits, on anyio: clocks, driver, manager and group."""
