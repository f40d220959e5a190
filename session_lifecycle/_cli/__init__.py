"""The commands of `python -m session_lifecycle`: one module each in `commands`, what they show in `views`.

They need the extra `cli`. Nothing else of the package imports them, and what is slow to import they import when they
run: `--help` and `diagram` load no calendar.
"""
