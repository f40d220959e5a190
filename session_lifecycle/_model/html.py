"""Tables in HTML, which a notebook shows for a value: `_repr_html_` of IPython."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime, tzinfo


def html_table(caption: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; every text is escaped."""
    from html import escape  # loads the table of HTML's entities, which only a notebook needs

    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def local_text(instant: datetime, zone: tzinfo, day: date) -> str:
    """Return a local time, with seconds where it has some, and with its weekday where its day is not `day`."""
    local = instant.astimezone(zone)
    text = f"{local:%H:%M:%S}" if local.second else f"{local:%H:%M}"
    return text if local.date() == day else f"{local:%a} {text}"
