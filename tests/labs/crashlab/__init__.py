"""A laboratory in which an application with a journal is killed, again and again, and its books are audited."""
