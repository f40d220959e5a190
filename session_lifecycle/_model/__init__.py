"""Words and values: states, errors, events, configuration. Imports nothing else of the package."""
