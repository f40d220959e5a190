"""Years of trading days with everything going wrong, from one seed: see `python -m tests.labs.simulation --help`.

`world` drives the package's own members through made-up readings of the clocks, without an event loop; `managed` does
the same to whole managers in simulated time. Both note down all that is done and told, and `checker` holds it, as it is
noted, to rules that are written from the promises in words and know nothing of how they are kept.
"""
