"""Writes ``rules.yaml``, the alert rules as the Prometheus operator takes them, from ``alerts.yaml``: ``make k8s-rules``."""

from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent


def rules() -> str:
    """Return the PrometheusRule that holds the groups of ``alerts.yaml``."""
    groups: dict[str, Any] = yaml.safe_load((HERE / "alerts.yaml").read_text(encoding="utf-8"))
    resource = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "headwater"},
        "spec": groups,
    }
    return "# Made from alerts.yaml by make k8s-rules.\n" + yaml.safe_dump(resource, sort_keys=False, width=120)


if __name__ == "__main__":
    (HERE / "rules.yaml").write_text(rules(), encoding="utf-8")
