"""Small changes that each break one promise, to see that a test notices: `python -m tests.labs.mutants`.

`operators` are the kinds of change, made in the syntax tree; `catalogue` is the list, by file, function and operator,
put together from the modules `of_...`; `trials` makes each in a copy of the project and runs its tests there.
"""
