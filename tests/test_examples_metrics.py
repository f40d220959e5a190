"""Alert rules and the dashboard beside the example of metrics: they read metrics that it has, and their tools agree."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from session_lifecycle import SessionState
from tests.helpers.documents import page

DEPLOY = Path(__file__).parents[1] / "examples/deploy"
ALERTS = (DEPLOY / "alerts.yml").read_text(encoding="utf-8")
DASHBOARD = json.loads((DEPLOY / "dashboard.json").read_text(encoding="utf-8"))
PROMTOOL = os.environ.get("PROMTOOL") or shutil.which("promtool")


def metrics() -> Any:
    """Return the metrics of the example, made as it makes them."""
    spec = importlib.util.spec_from_file_location("prometheus_metrics", DEPLOY.parent / "prometheus_metrics.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SessionMetrics()


def samples() -> dict[str, set[str]]:
    """Return the names that a scrape has, each with the labels of its metric."""
    found: dict[str, set[str]] = {}
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",), "stateset": ("",)}
    for family in metrics().registry.collect():
        for suffix in suffixes[family.type]:
            found[f"{family.name}{suffix}"] = set()
    return found


def expressions() -> list[str]:
    """Return every expression of the rules and of the dashboard."""
    rules = re.findall(r"(?m)^        expr: (.*)$", ALERTS)
    shown = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    assert len(rules) == ALERTS.count("- alert:") >= 8
    assert len(shown) == len(DASHBOARD["panels"]) >= 10
    return [*rules, *shown]


def test_every_expression_reads_metrics_that_the_example_has() -> None:
    """A name that is misspelt is an alert that never fires; states are those of the machine."""
    known = set(samples())
    for expression in expressions():
        used = set(re.findall(r"\bsession_[a-z_]+(?=[{\[) ]|$)", re.sub(r'"[^"]*"', "", expression)))
        assert used, expression
        assert used <= known, expression
    states = set(re.findall(r'session_state="(\w+)"', " ".join(expressions())))
    assert states
    assert states <= {state.name for state in SessionState}


def test_the_dashboard_shows_every_metric_once_and_its_panels_do_not_overlap() -> None:
    """Each panel has an id and a place of its own, in 24 columns, and asks the data source that was chosen."""
    text = json.dumps(DASHBOARD["panels"])
    families = {family.name for family in metrics().registry.collect()}
    assert {name for name in families if name not in text} == set()
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells, panel["title"]
        taken |= cells
        assert panel["datasource"]["uid"] == "${datasource}"
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert [each["name"] for each in DASHBOARD["templating"]["list"]] == ["datasource", "manager"]


@pytest.mark.skipif(PROMTOOL is None, reason="needs promtool, which comes with Prometheus")
@pytest.mark.parametrize("arguments", [("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")])
def test_the_rules_pass_prometheus_own_tool(arguments: tuple[str, ...]) -> None:
    """As expressions, and in what they fire on."""
    assert PROMTOOL is not None
    result = subprocess.run([PROMTOOL, *arguments], cwd=DEPLOY, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_guide_names_the_files() -> None:
    """All of the folder, in the section on metrics or the one on systemd."""
    text = page("operating")
    assert {path.name for path in DEPLOY.iterdir() if f"deploy/{path.name})" not in text} == set()
