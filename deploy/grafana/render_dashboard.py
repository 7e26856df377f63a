"""Write dashboard.json from panels.py; with ``--check`` only report whether it is up to date."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from panels import ROWS, Panel

PAGE = Path(__file__).parent / "dashboard.json"
DATASOURCE = {"type": "prometheus", "uid": "prometheus"}
FULL_WIDTH, HEIGHT = 24, 8
SUMMARIES = {"stat", "gauge", "bargauge"}  # show the last value, not its history


def dashboard() -> dict[str, Any]:
    """Return the whole dashboard, in Grafana's classic schema."""
    return {
        "uid": "tamis",
        "title": "tamis",
        "tags": ["tamis"],
        "schemaVersion": 41,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [run_variable()]},
        "annotations": {"list": [alerts()]},
        "panels": list(placed()),
    }


def run_variable() -> dict[str, Any]:
    """Return the variable that selects runs at the top of the page."""
    return {
        "name": "run",
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": "label_values(tamis_run_rows, run)", "refId": "run"},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def alerts() -> dict[str, Any]:
    """Return the annotation that marks firing alerts on every graph."""
    return {
        "name": "alerts",
        "datasource": DATASOURCE,
        "enable": True,
        "iconColor": "red",
        "expr": 'max by (alertname, severity) (ALERTS{alertstate="firing", alertname=~"Tamis.*"})',
        "titleFormat": "{{alertname}}",
        "textFormat": "{{severity}}",
    }


def placed() -> list[dict[str, Any]]:
    """Return every row and panel with its position: panels fill a line from the left, then the next."""
    found: list[dict[str, Any]] = []
    y = 0
    for title, panels in ROWS.items():
        found.append({"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": place(0, y, 24, 1)})
        x, y = 0, y + 1
        for panel in panels:
            if x + panel.width > FULL_WIDTH:
                x, y = 0, y + HEIGHT
            found.append(rendered(panel) | {"gridPos": place(x, y, panel.width, HEIGHT)})
            x += panel.width
        y += HEIGHT
    return [panel | {"id": number} for number, panel in enumerate(found, 1)]


def place(x: int, y: int, width: int, height: int) -> dict[str, int]:
    """Return a panel's position on the page."""
    return {"x": x, "y": y, "w": width, "h": height}


def rendered(panel: Panel) -> dict[str, Any]:
    """Return a panel without its position."""
    shares = {"max": 1} if panel.unit == "percentunit" else {}
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0, **shares}
    options: dict[str, Any] = {}
    if panel.kind in SUMMARIES:
        options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "orientation": "horizontal"}
    else:
        stacking = {"mode": "normal" if panel.is_stacked else "none"}
        defaults["custom"] = {"fillOpacity": 25 if panel.is_stacked else 5, "showPoints": "never", "stacking": stacking}
        options = {
            "legend": {"showLegend": True, "displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.meaning,
        "datasource": DATASOURCE,
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": DATASOURCE,
                "expr": query.expr,
                "legendFormat": query.legend,
            }
            for number, query in enumerate(panel.queries)
        ],
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
    }


def page() -> str:
    """Return the file's text."""
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(None if PAGE.exists() and PAGE.read_text() == page() else f"{PAGE} is stale: run {__file__}")
    PAGE.write_text(page())
