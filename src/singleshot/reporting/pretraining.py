"""The page of a pre-training: the loss of each level and the linear probe, so that one sees whether it learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from singleshot import weights
from singleshot.pretraining.pretrain import Pretrained
from singleshot.provenance import origin_rows
from singleshot.reporting import page
from singleshot.reporting.charts import Frame, Line, chart, thinned
from singleshot.reporting.page import Html
from singleshot.reporting.training import Row, read_log

PROBE = "probe_r2"


def write_report(run: Pretrained) -> Path:
    """Write `report.html` into the run's folder, replacing an earlier one, and return it."""
    rows = read_log(run.folder / "log.csv")
    levels = [name for name in (rows[-1] if rows else {}) if name.startswith("stride ")]
    charts = [
        _chart(rows, levels, "Loss by level (smooth L1 of standardised features)"),
        _chart(rows, [PROBE], "Linear probe: R² on images kept from training"),
        _chart(rows, ["lr"], "Learning rate"),
        _chart(rows, ["images_per_second"], "Crops per second"),
    ]
    start, end = run.probe or (None, None)
    lead = page.tiles(
        [("probe R², start", start), ("probe R², end", end), ("images", run.images), ("steps", run.steps)]
    )
    text = page.paragraph(
        "The probe fits the teacher's scores by a linear map of the backbone's averaged features, on images that the "
        "backbone has not trained on. While it rises, more steps help; where it is flat, more images would."
    )
    facts = [("weights", str(run.weights)), ("SHA-256", run.sha256), ("seconds", f"{run.seconds:.0f}")]
    origin = origin_rows(weights.read_any(run.weights).provenance)
    sections = [
        page.section("Course", Html(f"<div class='charts'>{''.join(charts)}</div>"), text),
        page.section("Origin", page.table(("", ""), [*facts, *origin], words=(0, 1))),
    ]
    return page.write(run.folder / "report.html", page.document("Pre-training of a backbone", lead, sections))


def _chart(rows: list[Row], names: list[str], title: str) -> Html:
    """Return a chart of some columns of the log against the step; nothing for columns without two numbers."""
    lines = []
    for name in names:
        points = [(row["step"], row[name]) for row in rows if row.get(name) is not None and row.get("step") is not None]
        if len(points) > 1:
            x, y = (np.array(values, float) for values in zip(*points, strict=True))
            lines.append(thinned(Line(name, x, y)))
    if not lines:
        return Html("")
    return page.figure(chart(lines, Frame(title, "step", None, (0.0, float(max(line.x[-1] for line in lines))))))
