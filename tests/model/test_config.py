"""Settings: every value that is refused, every one that is taken, and the waits between attempts."""

import math
from datetime import timedelta
from fractions import Fraction

import hypothesis.strategies as st
import pytest
from hypothesis import example, given
from msgspec.structs import fields, replace

from session_lifecycle import (
    AdaptiveTimeout,
    ConfigurationError,
    EarlyClose,
    LifecycleConfig,
    MissedSessions,
    RetryPolicy,
    StaleWhen,
)

ZERO, TINY, SECOND, LONGEST = timedelta(0), timedelta(microseconds=1), timedelta(seconds=1), timedelta(days=3650)

# Each duration: its default, whether zero is allowed, whether None is (for "never").
DURATIONS = {
    "data_timeout": (timedelta(seconds=300), False, True),
    "check_interval": (SECOND, False, False),
    "pre_market": (timedelta(hours=5, minutes=30), True, False),
    "post_market_roll_delay": (timedelta(minutes=30), True, False),
    "roll_timeout": (timedelta(minutes=5), False, True),
    "error_after_timeout": (None, False, True),
    "journal_timeout": (timedelta(seconds=5), False, False),
    "RetryPolicy.initial": (SECOND, False, False),
    "RetryPolicy.maximum": (timedelta(seconds=30), False, False),
    "AdaptiveTimeout.floor": (None, False, False),
    "AdaptiveTimeout.ceiling": (None, False, False),
    "AdaptiveTimeout.half_life": (timedelta(minutes=10), False, False),
}
# What cannot be as long as the longest duration, or as short as the shortest, because of another's default.
BELOW_OTHERS = ("RetryPolicy.initial", "AdaptiveTimeout.floor")
ABOVE_OTHERS = ("RetryPolicy.maximum", "AdaptiveTimeout.ceiling")
NO_DURATIONS = (
    -TINY,
    timedelta.min,
    LONGEST + TINY,
    timedelta.max,
    300,
    0,
    1.5,
    math.nan,
    math.inf,
    True,
    False,
    "300",
    "",
    [],
    (SECOND,),
)
NO_COUNTS = (0, -1, True, False, 1.0, math.nan, "3", None, SECOND)


LEARNT = AdaptiveTimeout(SECOND, 60 * SECOND)
Settings = LifecycleConfig | RetryPolicy | AdaptiveTimeout


def build(field: str, value: object) -> Settings:
    """Build what the field belongs to."""
    owner, _, name = field.rpartition(".")
    if owner == "AdaptiveTimeout":
        return AdaptiveTimeout(**({"floor": SECOND, "ceiling": 60 * SECOND} | {name: value}))
    return RetryPolicy(**{name: value}) if owner else LifecycleConfig(**{name: value})


def assert_refused(field: str, value: object, rule: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        build(field, value)
    error = caught.value
    assert (error.field, error.rule) == (field, rule)
    assert error.value is value
    assert str(error) == f"{field} = {value!r} is refused: {rule}"
    assert isinstance(error, ValueError)


def test_the_defaults() -> None:
    """Every setting and its default: a change of any of them changes what applications do."""
    config = LifecycleConfig()
    assert {field.name: getattr(config, field.name) for field in fields(config)} == {
        "auto_roll": True,
        "missed_sessions": MissedSessions.LATEST,
        "max_catch_up_sessions": 10,
        "roll_retry": RetryPolicy(attempts=3, initial=SECOND, factor=2, maximum=30 * SECOND),
        "stale_when": StaleWhen.ALL,
        "trade_on_standby": False,
        "require_first_tick": True,
        "data_timeouts": {},
        "early_close": EarlyClose.VENUE,
        **{name: default for name, (default, *_) in DURATIONS.items() if "." not in name},
    }
    assert (RetryPolicy(), [policy.name for policy in MissedSessions]) == (config.roll_retry, ["LATEST", "EACH"])
    assert [(rule.name, rule.value) for rule in StaleWhen] == [("ALL", "all"), ("ANY", "any")]


def test_an_adaptive_timeout_needs_its_bounds_only() -> None:
    """Floor and ceiling have no defaults, and come first; the factor is 3 and the half-life ten minutes."""
    assert [field.name for field in fields(AdaptiveTimeout)] == ["floor", "ceiling", "factor", "half_life"]
    half_life, _, _ = DURATIONS["AdaptiveTimeout.half_life"]
    assert AdaptiveTimeout(floor=SECOND, ceiling=60 * SECOND, factor=3, half_life=half_life) == LEARNT
    for bounds in ({}, {"floor": SECOND}, {"ceiling": SECOND}):
        with pytest.raises(TypeError):
            AdaptiveTimeout(**bounds)


@pytest.mark.parametrize("field", DURATIONS)
def test_fault_05_durations(field: str) -> None:
    """A duration is a timedelta above zero; zero and None are taken only where they mean something."""
    _, zero, never = DURATIONS[field]
    rule = f"must be a timedelta {'of zero or more' if zero else 'above zero'}, at most 3650 days"
    rule += ", or None for never" if never else ""
    for value in (*NO_DURATIONS, *([] if zero else [ZERO]), *([] if never else [None])):
        assert_refused(field, value, rule)
    allowed: list[object] = [SECOND]
    allowed += [] if field in BELOW_OTHERS else [LONGEST]
    allowed += [] if field in ABOVE_OTHERS else [TINY]
    allowed += [ZERO] * zero + [None] * never
    for value in allowed:
        assert getattr(build(field, value), field.rpartition(".")[2]) == value


@pytest.mark.parametrize("field", ["max_catch_up_sessions", "RetryPolicy.attempts"])
def test_fault_05_counts(field: str) -> None:
    """A count is an int of at least 1: no bool, no float, no text."""
    for value in NO_COUNTS:
        assert_refused(field, value, "must be a whole number of at least 1")
    for value in (1, 10**9):
        assert getattr(build(field, value), field.rpartition(".")[2]) == value


@pytest.mark.parametrize("field", ["RetryPolicy.factor", "AdaptiveTimeout.factor"])
@pytest.mark.parametrize("value", [0, 0.999, -2, math.nan, math.inf, -math.inf, True, "2", None, SECOND, 2 + 0j])
def test_fault_05_factors(field: str, value: object) -> None:
    """A factor is a finite number of at least 1."""
    assert_refused(field, value, "must be a finite number of at least 1")


@pytest.mark.parametrize("field", ["RetryPolicy.factor", "AdaptiveTimeout.factor"])
def test_factors_from_1_on(field: str) -> None:
    """A factor is taken from 1 on, as a whole number or a float, and kept as it is."""
    for value in (1, 1.0, math.nextafter(1, 2), 1e308):
        assert getattr(build(field, value), "factor") is value  # noqa: B009 -- of either kind


def test_fault_05_a_factor_beyond_every_float() -> None:
    """A whole factor that no float can hold is taken, or refused as any other bad value."""
    try:
        assert RetryPolicy(factor=10**400).delay_after(2) == timedelta(seconds=30)
    except ConfigurationError as error:
        assert error.field == "RetryPolicy.factor"  # noqa: PT017 -- either way is right


def test_fault_05_a_maximum_below_the_initial_wait() -> None:
    """The longest wait cannot be shorter than the first; the message tells both."""
    rule = "must be at least initial (0:01:00)"
    with pytest.raises(ConfigurationError, match=r"RetryPolicy\.maximum = .* is refused: ") as caught:
        RetryPolicy(initial=60 * SECOND)
    assert (caught.value.field, caught.value.value, caught.value.rule) == ("RetryPolicy.maximum", 30 * SECOND, rule)
    assert RetryPolicy(initial=SECOND, maximum=SECOND).delay_after(9) == SECOND


def test_fault_05_a_ceiling_below_the_floor() -> None:
    """The longest adaptive timeout cannot be shorter than the shortest; they may be the same, and the message tells."""
    with pytest.raises(ConfigurationError, match=r"AdaptiveTimeout\.ceiling = .* is refused: ") as caught:
        AdaptiveTimeout(SECOND, SECOND - TINY)
    error = caught.value
    assert (error.field, error.value, error.rule) == (
        "AdaptiveTimeout.ceiling",
        SECOND - TINY,
        "must be at least floor (0:00:01)",
    )
    assert AdaptiveTimeout(SECOND, SECOND).ceiling == AdaptiveTimeout(TINY, LONGEST).floor * 10**6 == SECOND


@pytest.mark.parametrize("value", [*NO_COUNTS, "all", "ANY", StaleWhen, MissedSessions.LATEST, math.inf])
def test_fault_05_quorums(value: object) -> None:
    """A quorum of feeds is a whole number of at least 1; a rule is a `StaleWhen`, not its name, nor None."""
    assert_refused("stale_when", value, "must be a StaleWhen, or a whole number of at least 1")


@pytest.mark.parametrize("value", [None, [], 300, [("overnight", SECOND)]])
def test_timeouts_of_phases_are_a_dict(value: object) -> None:
    """From the names of phases to durations above zero, or None for never."""
    assert_refused("data_timeouts", value, "must be a dict of phases' names to timedeltas")
    assert LifecycleConfig(data_timeouts={"overnight": SECOND, "call": None}).data_timeouts["call"] is None


@pytest.mark.parametrize(
    ("name", "timeout"),
    [("", SECOND), ("a b", SECOND), (3, SECOND), ("close", SECOND), ("nøtt", SECOND), ("call", ZERO), ("call", 300)],
)
def test_a_timeout_of_what_is_no_phase_or_no_duration_is_refused(name: object, timeout: object) -> None:
    """The message has the name, or which one the duration is of."""
    with pytest.raises(ConfigurationError, match=r"data_timeouts") as caught:
        LifecycleConfig(data_timeouts={name: timeout})
    wrong = caught.value.field, caught.value.value
    assert wrong == (("data_timeouts['call']", timeout) if name == "call" else ("data_timeouts", name))


@pytest.mark.parametrize("value", [*StaleWhen, 1, 2, 10**9])
def test_a_rule_or_a_quorum_is_taken(value: StaleWhen | int) -> None:
    """Both rules, and any number of feeds, more than there are too, say when the session is TIMEOUT."""
    assert LifecycleConfig(stale_when=value).stale_when is value


@pytest.mark.parametrize(
    ("field", "values", "rule"),
    [
        ("auto_roll", (1, 0, None, "yes"), "must be a bool"),
        ("trade_on_standby", (1, 0, None, "yes"), "must be a bool"),
        ("early_close", ("venue", True, None, 0), "must be an EarlyClose"),
        ("require_first_tick", (1, 0, None, "yes"), "must be a bool"),
        ("roll_retry", (None, 3, RetryPolicy), "must be a RetryPolicy"),
        ("missed_sessions", (None, "latest", "EACH", MissedSessions), "must be a MissedSessions"),
    ],
)
def test_fault_05_other_kinds(field: str, values: tuple[object, ...], rule: str) -> None:
    """A switch is a bool, a policy is of its own type: nothing is coerced."""
    for value in values:
        assert_refused(field, value, rule)


@pytest.mark.parametrize("value", [LifecycleConfig(), RetryPolicy(), LEARNT])
def test_settings_are_frozen(value: Settings) -> None:
    """Settings cannot be changed or added to, and can be compared and hashed."""
    name = fields(value)[0].name
    before = getattr(value, name)
    with pytest.raises(AttributeError):
        setattr(value, name, before)
    with pytest.raises(AttributeError):
        value.unheard_of = 1
    assert not hasattr(value, "__dict__")
    again = replace(value)
    assert again is not value
    assert (value, hash(value)) == (again, hash(again))


def test_a_replaced_setting_is_validated() -> None:
    """`msgspec.structs.replace` gives a changed copy, which is validated like any other."""
    assert replace(LifecycleConfig(), auto_roll=False) == LifecycleConfig(auto_roll=False)
    with pytest.raises(ConfigurationError, match="check_interval"):
        replace(LifecycleConfig(), check_interval=ZERO)
    with pytest.raises(ConfigurationError, match="ceiling"):
        replace(LEARNT, floor=61 * SECOND)


# ---- from_env ----


class Recorded(dict[str, str]):
    """An environment that notes which values are asked for; names may be listed."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.asked: set[str] = set()

    def get(self, key: str, default: object = None) -> object:
        self.asked.add(key)
        return super().get(key, default)

    def __getitem__(self, key: str) -> str:
        raise AssertionError(key)

    items = values = __getitem__


def test_an_empty_environment_gives_the_defaults() -> None:
    """What is not set keeps its default, and four variables are read, no other."""
    environment = Recorded({"SECRET": "x", "SESSION_TIMEOUT_SECOND": "5"})
    assert LifecycleConfig.from_env(environment) == LifecycleConfig()
    assert environment.asked == {
        "SESSION_AUTO_ROLL",
        "SESSION_TIMEOUT_SECONDS",
        "SESSION_BOUNDARY_CHECK_INTERVAL",
        "SESSION_POST_MARKET_ROLL_DELAY",
    }


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an argument the variables are those of the process."""
    monkeypatch.setenv("SESSION_TIMEOUT_SECONDS", "42")
    monkeypatch.setenv("SESSION_PRE_MARKET", "rubbish that nobody reads")
    assert LifecycleConfig.from_env() == LifecycleConfig(data_timeout=timedelta(seconds=42))


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("SESSION_TIMEOUT_SECOND", "SESSION_TIMEOUT_SECONDS"),
        ("SESSION_TIMEOUTSECONDS", "SESSION_TIMEOUT_SECONDS"),
        ("SESION_AUTO_ROLL", "SESSION_AUTO_ROLL"),
        ("session_auto_roll", "SESSION_AUTO_ROLL"),
        ("SESSION_BOUNDRY_CHECK_INTERVAL", "SESSION_BOUNDARY_CHECK_INTERVAL"),
        ("SESSION_POSTMARKET_ROLL_DELAY", "SESSION_POST_MARKET_ROLL_DELAY"),
    ],
)
def test_a_misspelt_name_is_a_line_of_the_log(caplog: pytest.LogCaptureFixture, name: str, near: str) -> None:
    """It sets nothing, and the log says which name is meant, without the value."""
    with caplog.at_level("WARNING", logger="session_lifecycle"):
        assert LifecycleConfig.from_env({name: "s3cret", "PATH": "/bin"}) == LifecycleConfig()
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("session_lifecycle", "WARNING")
    assert record.getMessage() == f"the environment variable {name} is not read; did you mean {near}?"


def test_the_names_of_other_programs_are_not_misspelt(caplog: pytest.LogCaptureFixture) -> None:
    """A desktop's and a web application's, and ours themselves."""
    others = ("SESSION_MANAGER", "SESSION_TIMEOUT", "SESSION_SECRET", "SESSION_COOKIE_SECURE", "TIMEOUT_SECONDS", "")
    LifecycleConfig.from_env(dict.fromkeys(others, "x") | {"SESSION_AUTO_ROLL": "no", "SESSION_TIMEOUT_SECONDS": "5"})
    assert not caplog.records


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("SESSION_TIMEOUT_SECONDS", "60", "data_timeout", timedelta(seconds=60)),
        ("SESSION_TIMEOUT_SECONDS", "0.25", "data_timeout", timedelta(milliseconds=250)),
        ("SESSION_TIMEOUT_SECONDS", " 1e3 ", "data_timeout", timedelta(seconds=1000)),
        ("SESSION_BOUNDARY_CHECK_INTERVAL", "5", "check_interval", timedelta(seconds=5)),
        ("SESSION_POST_MARKET_ROLL_DELAY", "90", "post_market_roll_delay", timedelta(minutes=90)),
        ("SESSION_POST_MARKET_ROLL_DELAY", "0.5", "post_market_roll_delay", timedelta(seconds=30)),
        ("SESSION_POST_MARKET_ROLL_DELAY", "0", "post_market_roll_delay", ZERO),
        *(("SESSION_AUTO_ROLL", text, "auto_roll", True) for text in ("true", "True", " YES\n", "on", "1")),
        *(("SESSION_AUTO_ROLL", text, "auto_roll", False) for text in ("false", "FALSE", "no", "Off", "0")),
    ],
)
def test_a_variable_sets_its_field(variable: str, text: str, field: str, value: object) -> None:
    """Each variable sets one field, in its own unit, and leaves the others at their defaults."""
    assert LifecycleConfig.from_env({variable: text}) == LifecycleConfig(**{field: value})


RUBBISH = ("", " ", "abc", "nan", "NaN", "inf", "-inf", "infinity", "-1", "-0.001", "1e400", "1e20", "9" * 400,
           "5s", "1:30", "5,5", "0x10", "None", "1e-9x")  # fmt: skip


@pytest.mark.parametrize(
    ("variable", "rule", "more"),
    [
        ("SESSION_TIMEOUT_SECONDS", "must be a number of seconds, above zero, at most 3650 days", ("0", "-0", "1e-9")),
        (
            "SESSION_BOUNDARY_CHECK_INTERVAL",
            "must be a number of seconds, above zero, at most 3650 days",
            ("0", "-0", "1e-9"),
        ),
        ("SESSION_POST_MARKET_ROLL_DELAY", "must be a number of minutes, zero or more, at most 3650 days", ()),
        ("SESSION_AUTO_ROLL", "must be one of true, yes, on, 1, false, no, off, 0", ("2", "y", "truе", "enable", "01")),
    ],
)
def test_fault_05_rubbish_in_a_variable(variable: str, rule: str, more: tuple[str, ...]) -> None:
    """Rubbish in the environment is refused under the variable's own name, never taken for a default."""
    for text in (*RUBBISH, *more):
        with pytest.raises(ConfigurationError) as caught:
            LifecycleConfig.from_env({variable: text})
        assert (caught.value.field, caught.value.value, caught.value.rule) == (variable, text, rule)
        assert str(caught.value) == f"{variable} = {text!r} is refused: {rule}"


@given(
    st.sampled_from(["SESSION_TIMEOUT_SECONDS", "SESSION_POST_MARKET_ROLL_DELAY"]), st.text() | st.floats().map(repr)
)
@example("SESSION_TIMEOUT_SECONDS", "315360001")
def test_fault_05_any_text_is_a_setting_or_refused(variable: str, text: str) -> None:
    """Whatever a variable holds, the outcome is a valid configuration or ConfigurationError, nothing else."""
    try:
        config = LifecycleConfig.from_env({variable: text})
    except ConfigurationError as error:
        assert error.field == variable  # noqa: PT017 -- the other outcome is right too
    else:
        assert config.data_timeout is not None
        assert config.data_timeout > ZERO
        assert config.post_market_roll_delay >= ZERO


# ---- the waits between attempts ----


@pytest.mark.parametrize(
    ("policy", "seconds"),
    [
        (RetryPolicy(), [1, 2, 4, 8, 16, 30, 30]),
        (RetryPolicy(factor=1), [1, 1, 1, 1]),
        (RetryPolicy(factor=1.5, maximum=timedelta(seconds=3)), [1, 1.5, 2.25, 3, 3]),
        (RetryPolicy(initial=30 * SECOND), [30, 30]),
        (RetryPolicy(factor=30), [1, 30, 30]),
    ],
)
def test_the_waits_double_up_to_the_maximum(policy: RetryPolicy, seconds: list[float]) -> None:
    """The wait after attempt n is initial × factor ** (n − 1), and at most the maximum."""
    assert [policy.delay_after(n + 1).total_seconds() for n in range(len(seconds))] == seconds


waits = st.timedeltas(TINY, timedelta(days=400)) | st.sampled_from([TINY, SECOND, LONGEST])
policies = st.builds(
    lambda one, other, factor: RetryPolicy(initial=min(one, other), maximum=max(one, other), factor=factor),
    waits,
    waits,
    st.sampled_from([1, 1.0000001, 1.4, 2, 10, 1e300]) | st.floats(1, 1e308),
)


@given(policies, st.integers(1, 400))
@example(RetryPolicy(attempts=10**6, factor=1e300), 2)
@example(RetryPolicy(maximum=LONGEST), 10**4)
@example(RetryPolicy(initial=TINY, factor=1.4), 60)
def test_waits_follow_the_formula(policy: RetryPolicy, attempt: int) -> None:
    """Whatever the policy, the wait is what exact arithmetic gives, to a microsecond and a part in a billion."""
    most = policy.maximum // TINY
    exact = min(Fraction(policy.initial // TINY) * Fraction(policy.factor) ** (attempt - 1), Fraction(most))
    assert abs(policy.delay_after(attempt) // TINY - exact) <= 1 + exact / 10**9
    assert policy.initial <= policy.delay_after(attempt) <= policy.delay_after(attempt + 1) <= policy.maximum


def test_the_millionth_wait_is_found_at_once() -> None:
    """A wait that has reached its maximum is not computed step by step any more."""
    policy = RetryPolicy(attempts=10**6)
    assert policy.delay_after(10**6) == policy.maximum
