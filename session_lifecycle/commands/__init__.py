"""The commands of `python -m session_lifecycle`, one module each, and in `common` what they share.

They need the extra `cli`. Nothing else of the package imports them, and what is slow to import they import when they
run: `--help` and `diagram` load no calendar.
"""
