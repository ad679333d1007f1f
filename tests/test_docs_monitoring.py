"""docs/monitoring.md, docs/alerts.yml and the dashboard name the metrics that there are, and the alerts fire."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import REGISTRY
from prometheus_client.metrics_core import Metric

from github.allowance import Allowances
from storage.health import Backlog
from tests.support.alerting import CASES, Case
from tests.support.programs import program
from web.metrics import families

DOCS = Path(__file__).resolve().parent.parent / "docs"
# What Prometheus adds itself, and what its client tells of a process.
FOREIGN = {"up", "process_resident_memory_bytes"}
# Series that a histogram is made of.
PARTS = {"histogram": ("_bucket", "_count", "_sum")}

Described = dict[str, tuple[str, tuple[str, ...]]]


def _labels(family: Metric) -> tuple[str, ...]:
    return tuple(sorted({key for sample in family.samples for key in sample.labels if key != "le"}))


@cache
def metrics() -> Described:
    """All metrics of all processes: name -> type and labels."""
    for package in ("bot", "cli", "github", "storage", "web"):
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
            importlib.import_module(module.name)
    found: Described = {}
    for collector in list(REGISTRY._collector_to_names):
        for family in collector.collect():
            if family.name.startswith("stepgate_"):
                name = f"{family.name}_total" if family.type == "counter" else family.name
                found[name] = (family.type, tuple(sorted(getattr(collector, "_labelnames", ()))))
    allowances = Allowances(now=lambda: 0.0)
    allowances.seen(1, {"x-ratelimit-remaining": "1", "x-ratelimit-limit": "2", "x-ratelimit-reset": "9"})
    full = Backlog(
        1, 1, 1.0, 1.0, 1, {"wanted": 1, "failed": 1}, 1.0, {}, 1.0, 1.0, {}, 1, {"a": 1.0}, {"waiting": 1}, 1.0, 1.0
    )
    for family in [*allowances.collect(), *families(full)]:
        found[family.name] = (family.type, _labels(family))
    return found


def series() -> set[str]:
    """Every name that a query may use."""
    return FOREIGN | {name + part for name, (kind, _) in metrics().items() for part in PARTS.get(kind, ("",))}


def used(expression: str) -> set[str]:
    """Names of series in a query."""
    return set(re.findall(r"\b(?:stepgate_\w+|process_\w+|up)\b", expression))


def rules() -> list[dict[str, Any]]:
    """All alert rules."""
    groups = yaml.safe_load((DOCS / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def queries() -> list[str]:
    """All queries of the dashboard."""
    dashboard = json.loads((DOCS / "grafana-dashboard.json").read_text(encoding="utf-8"))
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def test_every_metric_is_described_as_it_is() -> None:
    """The document's tables have each metric with its type and labels, no other, and a meaning."""
    text = (DOCS / "monitoring.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(stepgate_\w+)` \| (\w+) \| ([^|]*) \| (.+) \|$", text, re.MULTILINE)

    described = {name: (kind, tuple(sorted(re.findall(r"`(\w+)`", labels)))) for name, kind, labels, _ in rows}
    assert described == metrics()
    assert len(rows) == len(described)
    assert all(len(meaning) > 20 for *_, meaning in rows)


def test_alerts_use_metrics_that_exist() -> None:
    """Each rule asks for known series only, and says whom it wakes, what is wrong and what to do."""
    assert len(rules()) == len(CASES)
    for rule in rules():
        assert used(rule["expr"]) <= series(), rule["alert"]
        assert used(rule["expr"]), rule["alert"]
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert set(rule["annotations"]) == {"summary", "action"}
        named = re.findall(r'"python app\.py ([a-z ]+)"', rule["annotations"]["action"])
        assert {name.split()[0] for name in named} <= {"doctor", "deadletters"}


def test_every_alert_has_its_reason() -> None:
    """The document has one line for each alert, with the threshold and why it is that."""
    text = (DOCS / "monitoring.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(Stepgate\w+)` \| ([^|]+) \| (.+) \|$", text, re.MULTILINE)

    assert [name for name, *_ in rows] == [rule["alert"] for rule in rules()] == list(CASES)


def test_the_dashboard_shows_metrics_that_exist() -> None:
    """Its panels ask for known series only, and do not lie on each other."""
    dashboard = json.loads((DOCS / "grafana-dashboard.json").read_text(encoding="utf-8"))
    names = {name for query in queries() for name in used(query)}

    assert len(names) > 20
    assert names <= series()
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]]
    assert len(set(places)) == len(places) == len({panel["id"] for panel in dashboard["panels"]})
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"]} == {"${source}"}


def _given(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"series": name, "values": pattern} for name, pattern in values.items()]


def _checks(name: str, case: Case, rule: dict[str, Any]) -> list[dict[str, Any]]:
    told = {
        key: value.replace("{{ $labels.schedule }}", dict(case.labels).get("schedule", ""))
        for key, value in rule["annotations"].items()
    }
    alert = {"exp_labels": {"severity": rule["labels"]["severity"], **dict(case.labels)}, "exp_annotations": told}
    return [
        {
            "interval": "1m",
            "input_series": _given(given),
            "alert_rule_test": [{"eval_time": f"{case.at}m", "alertname": name, "exp_alerts": expected}],
        }
        for given, expected in ((case.fires, [alert]), (case.quiet, []))
    ]


def test_every_alert_fires_when_it_must_and_only_then(tmp_path: Path) -> None:
    """Prometheus' own evaluation: with the case's series the alert fires, with those of a normal day it does not."""
    promtool = program("promtool")
    files = []
    for rule in rules():  # each by itself: all of them would be evaluated for each case
        name = rule["alert"]
        alone, file = tmp_path / f"{name}.yml", tmp_path / f"{name}.test.yml"
        alone.write_text(yaml.safe_dump({"groups": [{"name": name, "rules": [rule]}]}))
        tests = _checks(name, CASES[name], rule)
        file.write_text(yaml.safe_dump({"rule_files": [str(alone)], "evaluation_interval": "1m", "tests": tests}))
        files.append(str(file))

    for words in (["check", "rules", str(DOCS / "alerts.yml")], ["test", "rules", *files]):
        done = subprocess.run([promtool, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
