"""A detector's figures on a page: AP by class, curves with their operating points, confusion, kinds of errors.

AP judges a ranking; a user has to pick a threshold on it. So every class's curve carries the points of four
thresholds, and a chart shows how AP falls as the threshold rises: high thresholds look better and score worse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from singleshot.evaluation.coco import CocoReport
from singleshot.evaluation.judge import THRESHOLDS
from singleshot.evaluation.report import Figures, Report
from singleshot.metrics.curves import operating_point
from singleshot.metrics.error_kinds import FATES, KINDS, Errors
from singleshot.metrics.voc_ap import ClassResult, above
from singleshot.reporting import page
from singleshot.reporting.charts import Frame, Line, Mark, chart, mark_legend, thinned
from singleshot.reporting.page import Html

MOST_CURVES = 40
MOST_IN_MATRIX = 24
PAIRS = 20
CURVES_NOTE = (
    "Recall is the share of objects that are found, precision the share of shown boxes that are right. The marks are "
    "score thresholds: pick the one whose point you can live with."
)
MEANINGS = {
    "right": "overlaps an object of its class by at least 0.5, and is the first to",
    "duplicate": "on an object that was found already: a stricter NMS would drop it",
    "wrong class": "a good box with another object's name: look at the labels, and at classes that look alike",
    "poor box": "the right class, overlap 0.1 to 0.5: default boxes that fit (singleshot data anchors), larger input",
    "background": "on nothing: pictures without objects teach the difference",
    "ignored": "on a difficult object, which counts neither way",
}


def class_table(report: Report, coco: CocoReport | None = None) -> Html:
    """AP of every class, worst first, beside precision and recall at a threshold of 0.5; classes without objects last.

    Args:
        report: by VOC's protocol.
        coco: by COCO's, whose AP then stands in front.
    """
    columns = ["class", "objects", *([] if coco is None else ["AP (coco)"]), f"AP ({report.metric})"]
    columns += ["precision at 0.5", "recall at 0.5"]
    own: Figures = report if coco is None else coco
    rows = []
    for name, result in sorted(report.curves.items(), key=lambda row: (own.ap[row[0]] is None, own.ap[row[0]] or 0)):
        recall, precision = operating_point(result, 0.5) or (None, None)
        if result.num_ground_truths and recall is None:
            recall = 0.0
        row: list[object] = [name, result.num_ground_truths, *([] if coco is None else [coco.ap[name]])]
        rows.append([*row, result.ap, precision, recall])
    mean: list[object] = ["mean", report.ground_truths, *([] if coco is None else [coco.map]), report.map, "", ""]
    return page.table(columns, [*rows, mean], sums=1)


def size_table(report: Report) -> Html:
    """The mAP by the size of objects; nothing where it was not asked for."""
    rows = [
        (f"{low:g}–{'…' if high == float('inf') else f'{high:g}'} px", band.ground_truths, band.map)
        for band in report.ap_by_size
        for low, high in [band.size_px]
    ]
    return page.table(("√area of object", "objects", "mAP"), rows) if rows else Html("")


def curves(report: Report) -> Html:
    """A small chart for each class, most objects first, with the points of the thresholds."""
    judged = [(name, result) for name, result in report.curves.items() if result.ap is not None]
    judged.sort(key=lambda row: -row[1].num_ground_truths)
    charts = [page.figure(_curve(name, result)) for name, result in judged[:MOST_CURVES]]
    left = len(judged) - len(charts)
    note = page.paragraph(f"{left} classes with fewer objects are not drawn; their AP is in the table.", "soft")
    return page.joined(
        [
            page.paragraph(CURVES_NOTE, "soft"),
            mark_legend([f"{threshold:g}" for threshold in THRESHOLDS]),
            Html(f"<div class='charts'>{''.join(charts)}</div>"),
            note if left > 0 else Html(""),
        ]
    )


def _curve(name: str, result: ClassResult) -> Html:
    marks = []
    for shape, threshold in enumerate(THRESHOLDS):
        point = operating_point(result, threshold)
        if point is not None:
            said = f"score ≥ {threshold:g}: recall {point[0]:.2f}, precision {point[1]:.2f}"
            marks.append(Mark(*point, shape, said))
    start = result.precision[:1] if len(result.precision) else np.zeros(1)
    line = thinned(Line(name, np.append(0.0, result.recall), np.append(start, result.precision), tuple(marks)))
    title = f"{name}  AP {result.ap:.3f}"
    return chart([line], Frame(title, "recall (precision upwards)", (0.0, 1.0), (0.0, 1.0), width=340, height=250))


def threshold_chart(report: Report) -> Html:
    """AP, and mean precision and recall, against the score threshold."""
    results = [result for result in report.curves.values() if result.ap is not None]
    steps = np.linspace(0.0, 0.95, 20)
    steps[0] = 0.01
    rows = np.array([_at(results, float(step), report) for step in steps]).reshape(-1, 3)
    names = (f"mAP ({report.metric})", "mean precision", "mean recall")
    lines = [Line(name, steps, rows[:, column]) for column, name in enumerate(names)]
    shown = [(f"{threshold:g}", figures.map) for threshold, figures in report.at_thresholds.items()]
    return page.joined(
        [
            page.figure(chart(lines, Frame("Against the score threshold", "score threshold", (0.0, 1.0), (0.0, 1.0)))),
            page.table(("threshold", *(name for name, _ in shown)), [("mAP", *(value for _, value in shown))]),
        ]
    )


def _at(results: Sequence[ClassResult], threshold: float, report: Report) -> tuple[float, float, float]:
    """mAP, mean precision and mean recall of the classes; precision of those that show anything, NaN if none does."""
    points = [operating_point(result, threshold) for result in results]
    precisions = [point[1] for point in points if point is not None]
    return (
        _mean([above(result, threshold, metric=report.metric).ap or 0.0 for result in results]),
        _mean(precisions),
        _mean([0.0 if point is None else point[0] for point in points]),
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def confusion(errors: Errors, names: Sequence[str]) -> Html:
    """The whole matrix for a few classes; for many, the pairs that are mistaken most often."""
    if len(names) <= MOST_IN_MATRIX:
        return page.matrix(names, "nothing there", "missed", errors.confusion.tolist())
    wrong = errors.confusion[:-1, :-1] * (1 - np.eye(len(names), dtype=np.int64))
    pairs = np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]
    rows = [
        (names[true], names[found], int(wrong[true, found]), int(errors.confusion[true].sum()))
        for true, found in (divmod(int(pair), len(names)) for pair in pairs)
        if wrong[true, found]
    ]
    return page.table(("is", "is called", "times", "objects of that class"), rows, words=(0, 1))


def kinds_table(by_threshold: Mapping[float, Errors]) -> Html:
    """How many detections of each kind there are at each threshold, and what became of the objects."""
    columns = [f"at {threshold:g}" for threshold in by_threshold]
    found = [errors.count() for errors in by_threshold.values()]
    fates = [errors.count_objects() for errors in by_threshold.values()]
    kinds = [(kind, *(count[kind] for count in found), MEANINGS[kind]) for kind in KINDS]
    return page.joined(
        [
            page.table(("detections", *columns, ""), kinds, words=(0, len(columns) + 1)),
            page.table(("objects", *columns), [(fate, *(count[fate] for count in fates)) for fate in FATES]),
        ]
    )
