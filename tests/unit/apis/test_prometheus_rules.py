"""The ready-made rules for Prometheus, against what the server really shows."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, ProcessCollector

from milvane.apis.metrics import show_all

ROOT = Path(__file__).parent.parent.parent.parent
FOLDER = ROOT / "deploy" / "prometheus"
GIVEN = {"up": {"job", "instance"}}
"""What Prometheus itself adds; `job` and `instance` it adds to everything."""
ENDINGS = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",)}
WORDS = {"by", "on", "and", "or", "unless"}

RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((FOLDER / "milvane.rules.yml").read_text())["groups"]
    for rule in group["rules"]
]


def shown() -> dict[str, set[str]]:
    """List the names that `/metrics` has, each with its labels."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    labels = dict(GIVEN)
    for metric in [*show_all(), *registry.collect()]:
        own = set(metric.samples[0].labels) if metric.samples else set()
        for ending in ENDINGS.get(metric.type, ("",)):
            labels[f"{metric.name}{ending}"] = own | {"job", "instance", "le"}
    return labels


def metrics_in(expression: str) -> Iterator[tuple[str, set[str]]]:
    """List the metrics of an expression, each with the labels that it is chosen by."""
    bare = re.sub(r'"[^"]*"|\[[^]]*]|by \([^)]*\)', "", expression)
    for name, rest in re.findall(r"([a-zA-Z_:][\w:]*)\s*(\{[^}]*}|\()?", bare):
        if rest != "(" and name not in WORDS:
            yield name, set(re.findall(r"(\w+)\s*[=!]", rest))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_rule_is_about_metrics_that_there_are(rule: dict[str, Any]) -> None:
    """Every name and every label that a rule uses is shown by the server."""
    known = shown()
    recorded = {each["record"]: each["expr"] for each in RULES if "record" in each}
    expression = rule["expr"]
    for name, own in recorded.items():
        expression = expression.replace(name, f"({own})")
    named = [*metrics_in(expression)]
    assert named
    for name, labels in named:
        assert name in known, f"{name} is not among the metrics"
        assert labels <= known[name], f"{name} has no label {labels - known[name]}"
    grouped = {
        label.strip()
        for found in re.findall(r"by \(([^)]*)\)", expression)
        for label in found.split(",")
    }
    assert grouped <= set().union(*(known[name] for name, _ in named))


@pytest.mark.parametrize(
    "rule", [rule for rule in RULES if "alert" in rule], ids=lambda r: r["alert"]
)
def test_alert_says_how_bad_it_is_and_is_explained(rule: dict[str, Any]) -> None:
    """With a sentence for the person on call, and a paragraph in the docs."""
    assert rule["labels"]["severity"] in ("info", "warning", "critical")
    assert set(rule["annotations"]) == {"summary", "description"}
    page = (ROOT / "docs" / "how-to" / "watch-and-alert.md").read_text()
    assert f"`{rule['alert']}`" in page


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Prometheus is not on this machine")
def test_rules_decide_as_their_examples_say() -> None:
    """Prometheus's own tool walks through them."""
    run = subprocess.run(
        ["promtool", "test", "rules", "milvane.rules.test.yml"],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
