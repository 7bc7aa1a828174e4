"""docs/metrics.md, the dashboard and the alert rules speak of the metrics that there are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path

import pytest

from tests.gateway.engines import ENGINE
from tests.gateway.scraping import Exported, exported, scrape

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "metrics.md").read_text()
ALERTS = ROOT / "examples" / "prometheus-alerts.yml"
DASHBOARD = ROOT / "examples" / "grafana-dashboard.json"
METRIC = re.compile(r"\btapring_\w+")
ROW = re.compile(r"^\| `(tapring_\w+)` \| (\w+) \| (.*?) \| (.*?) \| (.*) \|$", re.MULTILINE)
UNITS = ("bytes", "events", "ratio", "seconds")
OF_PROMETHEUS = {"instance", "job"}


@pytest.fixture
def metrics(spawn, recordings, name) -> dict[str, Exported]:
    """Every metric, as a living engine and a dead one make it, by its name."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    engines = [spawn(ENGINE, name, **pipes) for _ in range(2)]
    for engine in engines:
        engine.stdout.readline()
    engines[0].kill()
    engines[0].wait()
    return {each.name: each for each in exported(scrape(name))}


@pytest.fixture
def promtool() -> Callable[..., str]:
    """Run promtool to its end; it has to succeed. Returns what it says."""
    path = shutil.which("promtool")
    if path is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")

    def run(*args: object) -> str:
        command = [path, *map(str, args)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


# ---- the page ----------------------------------------------------------------------------------


def test_the_page_lists_every_metric_as_it_is_exported(metrics) -> None:
    listed = {}
    for name, kind, labels, unit, meaning in ROW.findall(PAGE):
        assert name not in listed
        of = tuple(sorted(re.findall(r"`(\w+)`", labels)))
        listed[name] = Exported(name, kind, of, meaning), unit
    assert listed.keys() == metrics.keys()
    for name, (said, unit) in listed.items():
        assert said._replace(help="") == metrics[name]._replace(help="")
        assert said.help.startswith(metrics[name].help)
        last = name.removesuffix("_total").rpartition("_")[2]
        assert unit == (last if last in UNITS else "-")


def test_what_the_page_says_elsewhere_is_exported(metrics) -> None:
    assert set(METRIC.findall(PAGE)) <= metrics.keys()


def test_prometheus_takes_the_scrape_configuration_of_the_page(promtool, tmp_path) -> None:
    (config,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    token = tmp_path / "tapring.token"
    token.write_text("token")
    shutil.copy(ALERTS, tmp_path)
    file = tmp_path / "prometheus.yml"
    file.write_text(config.replace("/etc/prometheus/tapring.token", str(token)))
    assert "12 rules found" in promtool("check", "config", file)


# ---- the dashboard -----------------------------------------------------------------------------


def board() -> dict:
    return json.loads(DASHBOARD.read_text())


def expressions() -> Iterator[str]:
    for panel in board()["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]


def test_the_dashboard_asks_for_metrics_and_labels_that_are_exported(metrics) -> None:
    asked = set(METRIC.findall(DASHBOARD.read_text()))
    assert len(asked) > 20
    assert asked <= metrics.keys()
    labels = OF_PROMETHEUS | {label for each in metrics.values() for label in each.labels}
    assert labels_of(DASHBOARD.read_text()) <= labels


def labels_of(text: str) -> set[str]:
    """The labels that queries match and group by, and that legends and texts show."""
    text = text.replace('\\"', '"')
    found = set(re.findall(r"[{,] ?(\w+)(?:=~|!=|=)\"", text))
    found |= set(re.findall(r"{{ ?(?:\$labels\.)?(\w+) ?}}", text))
    for group in re.findall(r"\b(?:by|on|group_left) \((.*?)\)", text):
        found |= set(group.split(", "))
    return found


def test_the_dashboard_uses_every_variable_that_it_has_and_no_other() -> None:
    text = DASHBOARD.read_text()
    has = {each["name"] for each in board()["templating"]["list"]}
    uses = set(re.findall(r"\$\{?([a-z]\w*)", text))
    assert has == uses == {"datasource", "engine", "lane", "stage"}


def test_the_panels_of_the_dashboard_have_ids_of_their_own_and_do_not_overlap() -> None:
    panels = board()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for one, other in combinations([panel["gridPos"] for panel in panels], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)
    queries = [panel for panel in panels if panel["type"] != "row"]
    assert all(panel["description"] and panel["targets"] for panel in queries)


def test_prometheus_understands_every_query_of_the_dashboard(promtool, tmp_path) -> None:
    queries = [each.replace("$__rate_interval", "1m") for each in expressions()]
    rules = [{"record": f"query_{index}", "expr": each} for index, each in enumerate(queries)]
    file = tmp_path / "queries.yml"  # JSON is YAML
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(queries)} rules found" in promtool("check", "rules", file)


# ---- the alert rules ---------------------------------------------------------------------------


def test_the_alert_rules_ask_for_metrics_and_labels_that_are_exported(metrics) -> None:
    text = ALERTS.read_text()
    assert set(METRIC.findall(text)) <= metrics.keys()
    labels = OF_PROMETHEUS | {label for each in metrics.values() for label in each.labels}
    assert labels_of(text) <= labels


def test_promtool_finds_no_fault_with_the_alert_rules(promtool) -> None:
    assert "12 rules found" in promtool("check", "rules", ALERTS)


AT = 'job="tapring",instance="host",engine="shop"'
LANE = AT + ',lane="00000001"'
SESSION = LANE + ',stage="raw",session="1"'
UP = 'up{job="tapring",instance="host"}'
ALWAYS, NOTHING = "1x60", "0x60"
# Values of each minute, and the alert that they fire within the hour.
FIRES = {
    "TapringDown": {UP: NOTHING},
    "TapringEngineGone": {f"tapring_lane_up{{{LANE}}}": "1x29 stale"},
    "TapringEngineDied": {f'tapring_dead_lanes{{{AT},ended="died"}}': "_x29 1x30"},
    "TapringEventsDropped": {f"tapring_session_dropped_events_total{{{SESSION}}}": "0x28 0+5x30"},
    "TapringEventsNotWritten": {
        f"tapring_session_oversize_events_total{{{SESSION}}}": NOTHING,
        f"tapring_session_error_events_total{{{SESSION}}}": "0x28 0+1x30",
    },
    "TapringRingNearlyFull": {f"tapring_session_fill_ratio{{{SESSION}}}": "0.9x60"},
    "TapringCostAboveBudget": {
        f"tapring_lane_cost_ratio{{{LANE}}}": "0.05x60",
        f"tapring_lane_budget_ratio{{{LANE}}}": "0.02x60",
    },
    "TapringEventsSkipped": {f"tapring_session_skipped_events_total{{{SESSION}}}": "0+9x60"},
    "TapringFaults": {f"tapring_lane_faults_total{{{LANE}}}": "0x30 1x30"},
    "TapringMisuse": {f"tapring_lane_misuse_total{{{LANE}}}": "0x30 1x30"},
    "TapringSessionsAtTheCap": {
        f"tapring_lane_sessions{{{LANE}}}": "8x60",
        f"tapring_lane_max_sessions{{{LANE}}}": "8x60",
    },
    "TapringLanesRefused": {
        'tapring_lanes_refused{job="tapring",instance="host",reason="damaged"}': ALWAYS,
        'tapring_lanes_refused{job="tapring",instance="host",reason="not-permitted"}': ALWAYS,
    },
}
# One healthy engine, and what has happened more than an hour ago.
QUIET = {
    f"tapring_lane_up{{{LANE}}}": ALWAYS,
    f'tapring_dead_lanes{{{AT},ended="died"}}': "3x60",
    f'tapring_dead_lanes{{{AT},ended="exited"}}': "0+1x60",
    f"tapring_session_dropped_events_total{{{SESSION}}}": "500x60",
    f"tapring_session_oversize_events_total{{{SESSION}}}": "5x60",
    f"tapring_session_error_events_total{{{SESSION}}}": "5x60",
    f"tapring_session_skipped_events_total{{{SESSION}}}": "500x60",
    f"tapring_session_fill_ratio{{{SESSION}}}": "0.5x60",
    f"tapring_lane_cost_ratio{{{LANE}}}": "0.021x60",
    f"tapring_lane_budget_ratio{{{LANE}}}": "0.02x60",
    f"tapring_lane_faults_total{{{LANE}}}": "2x60",
    f"tapring_lane_misuse_total{{{LANE}}}": "2x60",
    f"tapring_lane_sessions{{{LANE}}}": "7x60",
    f"tapring_lane_max_sessions{{{LANE}}}": "8x60",
    'tapring_lanes_refused{job="tapring",instance="host",reason="not-permitted"}': ALWAYS,
}


@pytest.mark.parametrize("alert", [*FIRES, None])
def test_an_alert_fires_for_what_it_is_about_and_for_nothing_else(
    promtool, alert, tmp_path
) -> None:
    """Each rule is asked about the same machine, of which one thing or nothing is wrong."""
    series = QUIET | {UP: ALWAYS} | FIRES.get(alert, {})
    if alert == "TapringEngineGone":
        series = {name: values for name, values in series.items() if "lane=" not in name}
        series |= FIRES[alert]
    names = set(re.findall(r"alert: (\w+)", ALERTS.read_text()))
    assert names == FIRES.keys()
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        # At the 36th minute, which every rule's ``for`` has had the time to reach.
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": "36m",
                "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1}]
                if alert
                else [],
            }
        ],
    }
    file = tmp_path / "test.yml"
    file.write_text(json.dumps({"rule_files": [str(ALERTS)], "tests": [test]}))
    promtool("test", "rules", file)
