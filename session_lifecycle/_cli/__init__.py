"""The commands of `python -m session_lifecycle`: one module each in `commands`, their output in `views`.

They need the extra `cli`. Nothing else of the package imports them. Modules that are slow to import are imported when a
command runs: `--help`, `--json-schema` and `diagram` load no calendar.
"""
