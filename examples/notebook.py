"""Hours in a notebook: schedules that show themselves, and sessions as a pandas DataFrame in three lines.

Run it from anywhere, with the package installed, or open it in Jupyter (with jupytext), VS Code or Spyder, where each
`# %%` begins a cell:

    python examples/notebook.py

Expect the sessions of a week of Hong Kong as a table, the hours that each is open, and what a schedule says of itself:
in a notebook as HTML, here as text.

Shortcomings: pandas is not needed by the library's interface, only by exchange_calendars below it.
"""

# %% The sessions of a week, in pandas: three lines.
from datetime import date

import pandas as pd  # type: ignore[import-untyped]

from session_lifecycle import ExchangeSchedule

hong_kong = ExchangeSchedule("XHKG")
week = hong_kong.sessions(date(2025, 12, 22), date(2025, 12, 29))
table = pd.DataFrame({"open": session.open, "close": session.close, "date": session.date} for session in week)
print(table.set_index("date"))  # pyright: ignore[reportUnknownMemberType]

# %% How long each of them is open, breaks left out.
for session in week:
    breaks = sum((end - start for start, end in session.breaks), session.open - session.open)
    print(f"{session.date:%a %d}  {session.close - session.open - breaks}")

# %% The last expression of a cell is shown: a schedule and a session as a table.
print(repr(hong_kong.session_on(date(2025, 12, 24))))
hong_kong  # noqa: B018 # pyright: ignore[reportUnusedExpression] -- what a notebook shows
