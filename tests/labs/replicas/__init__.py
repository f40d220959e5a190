"""A laboratory in which replicas share a journal in PostgreSQL, fail in every way, and their books are audited."""
