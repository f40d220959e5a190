"""A timetable of Airflow that runs a DAG at the end of every session, half days, holidays and late opens included.

Run it from anywhere, with the package and Airflow 3 installed (pip install apache-airflow):

    python examples/airflow_timetable.py

Expect the next four runs of a DAG that starts on 2024-07-01, in New York time: on Monday and Tuesday half an hour after
the close at 16:00, on Wednesday, a half day, at 13:30, and then on Friday, past the holiday. Then what the
scheduler would store of the timetable. The logical date of a run is the open, for CMES on the evening before.

In earnest this file lies in Airflow's folder of plugins, and a DAG says when it runs, and rolls what is owed:

    @dag(schedule=SessionTimetable("XNYS"), start_date=datetime(2024, 7, 1, tzinfo=UTC), catchup=False)
    def desk():
        @task
        def roll():
            anyio.run(run_due, SessionBoundaryManager("XNYS", roll_books, journal=PostgresJournal(CONNINFO, "desk")))

        roll()

With `run_due` a run that Airflow starts twice, late or by a person rolls nothing twice, and `catchup` is not needed:
one run rolls whatever is owed.

Shortcomings: the end of the session is half an hour after the close, as `LifecycleConfig` has it by default. The
scheduler builds the calendar in its own process. Where the calendar ends, no further run is scheduled: keep
exchange_calendars up to date.
"""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from airflow.plugins_manager import AirflowPlugin
from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction, Timetable
from pendulum import DateTime, instance

from session_lifecycle import ExchangeSchedule, LifecycleConfig, ScheduleExhausted, Session, Timeline

NEW_YORK = ZoneInfo("America/New_York")


class SessionTimetable(Timetable):
    """One run for each session of an exchange, at its end. The data interval is from the open to the end."""

    def __init__(self, calendar: str) -> None:
        """Take the name of a calendar, such as XNYS."""
        self.calendar = calendar
        self._timeline = Timeline(ExchangeSchedule(calendar), LifecycleConfig())

    @property
    def summary(self) -> str:
        """What Airflow shows in its list of DAGs."""
        return f"sessions of {self.calendar}"

    def serialize(self) -> dict[str, Any]:
        """Return what `deserialize` needs."""
        return {"calendar": self.calendar}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> "SessionTimetable":
        """Return the timetable that was serialized."""
        return cls(data["calendar"])

    def infer_manual_data_interval(self, *, run_after: DateTime) -> DataInterval:
        """Return the interval of the last session that had ended when a person started the run."""
        session = self._timeline.at(run_after).session
        while self._end(session) > run_after and (previous := self._timeline.previous(session)) is not None:
            session = previous
        return self._interval(session)

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """Return the next run: at the end of the session after the last one, within the DAG's own dates."""
        earliest = restriction.earliest
        if not restriction.catchup:
            earliest = max(each for each in (earliest, instance(datetime.now(UTC))) if each is not None)
        after = None if last_automated_data_interval is None else last_automated_data_interval.end
        start = max((each for each in (earliest, after) if each is not None), default=None)
        if start is None:
            return None
        try:
            session = self._timeline.schedule.session_at(start)
            while self._end(session) < start or (after is not None and self._end(session) <= after):
                session = self._timeline.schedule.next_session(session.date)
        except ScheduleExhausted:
            return None
        interval = self._interval(session)
        if restriction.latest is not None and interval.end > restriction.latest:
            return None
        return DagRunInfo.interval(interval.start, interval.end)

    def _end(self, session: Session) -> datetime:
        return self._timeline.boundaries(session).end

    def _interval(self, session: Session) -> DataInterval:
        return DataInterval(instance(session.open), instance(self._end(session)))


class SessionPlugin(AirflowPlugin):
    """Registers the timetable, so that the scheduler can load it."""

    name = "session_timetable"
    timetables = [SessionTimetable]  # noqa: RUF012 -- as Airflow declares it


def main() -> None:
    """Ask for the next runs, as the scheduler does."""
    timetable = SessionTimetable.deserialize(SessionTimetable("XNYS").serialize())
    dates = TimeRestriction(instance(datetime(2024, 7, 1, tzinfo=UTC)), None, catchup=True)
    last = None
    for _ in range(4):
        run = timetable.next_dagrun_info(last_automated_data_interval=last, restriction=dates)
        assert run is not None
        last = run.data_interval
        begins, ends = (each.astimezone(NEW_YORK) for each in (last.start, last.end))
        print(f"{ends:%a %Y-%m-%d} at {ends:%H:%M}, of the data since {begins:%H:%M}")
    print(timetable.summary, timetable.serialize())


if __name__ == "__main__":
    main()
