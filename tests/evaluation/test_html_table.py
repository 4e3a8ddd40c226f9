from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from rich.table import Table
from rich.text import Text

from singleshot.evaluation.coco import coco_report
from singleshot.evaluation.html_table import html_table
from singleshot.evaluation.maxf import MaxfReport
from singleshot.evaluation.miou import MiouReport
from singleshot.evaluation.voc import voc_report
from singleshot.metrics.mean_iou import figures as iou_figures
from singleshot.metrics.road_maxf import RoadFigures
from singleshot.structures import Dataset, Detections


def rows_of(html: str) -> list[list[str]]:
    """The texts of all rows; fails where the HTML is not well-formed."""
    root = ElementTree.fromstring(f"<div>{html}</div>")
    return [[cell.text or "" for cell in row] for row in root.iter("tr")]


def perfect(data: Dataset) -> list[Detections]:
    """What is annotated, as detections of score 1."""
    found = []
    for sample in data.samples:
        names = data.label_map.names_of(sample.class_ids)
        scores = np.ones(len(names), np.float32)
        found.append(Detections(sample.boxes_xyxy.astype(np.float32), scores, sample.class_ids, names, (99, 99)))
    return found


def test_a_table_keeps_its_texts_its_alignment_and_its_mean_in_bold() -> None:
    table = Table(title="AP")
    table.add_column("class")
    table.add_column("AP", justify="right")
    table.add_row(Text("<b>&"), "0.500")
    table.add_row("mean", "0.500", style="bold")
    html = html_table(table, "1 < 2")
    assert rows_of(html) == [["class", "AP"], ["<b>&", "0.500"], ["mean", "0.500"]]
    assert "&lt;b&gt;&amp;" in html and "<p>1 &lt; 2</p>" in html and "<caption>AP</caption>" in html
    assert html.count("<th") - html.count("<thead") == 4 and html.count("text-align: right") == 3


def test_a_table_without_rows_has_a_header_alone() -> None:
    table = Table()
    table.add_column("class")
    assert rows_of(html_table(table)) == [["class"]]


def test_the_reports_of_detections_show_the_scores_of_each_class_and_the_interval(data: Dataset) -> None:
    html = voc_report(perfect(data), data, metric="voc12", resamples=20)._repr_html_()
    rows = rows_of(html)
    assert rows[0][:3] == ["class", "objects", "all"] and rows[-1][0] == "mean"
    assert [row[0] for row in rows[1:-1]] == ["car", "bus"] and rows[1][2] == "1.000"
    assert "mAP (voc12) 1.000 on 5 images, 95 % interval 1.000 to 1.000" in html
    html = coco_report(perfect(data), data)._repr_html_()
    assert [rows_of(html)[3][place] for place in (0, 2)] == ["mean", "1.000"]
    assert "mAP (coco) 1.000 on 5 images" in html


def test_a_split_without_any_detection_is_a_table_of_zeros(data: Dataset) -> None:
    none = np.empty(0, np.int64)
    nothing = Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32), none, none.astype(object), (9, 9))
    rows = rows_of(voc_report([nothing] * len(data), data)._repr_html_())
    assert rows[1][2] == "0.000" and rows[-1][2] == "0.000"


def test_the_reports_of_masks_show_the_scores_of_each_class() -> None:
    matrix = np.array([[6, 2, 0], [0, 2, 0]])
    report = MiouReport(iou_figures(matrix, ("road", "car")), 1, matrix)
    rows = rows_of(report._repr_html_())
    assert rows[1][:2] == ["road", "0.750"] and rows[2][:2] == ["car", "0.500"] and rows[3][0] == "mean IoU"
    road = RoadFigures(0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 128, 3)
    html = MaxfReport({"urban": road}, None, 3)._repr_html_()
    assert rows_of(html)[1][:2] == ["urban", "0.5000"] and "Road, in the image (3 images)" in html


@pytest.mark.parametrize("name", ["VocReport", "CocoReport", "MiouReport", "MaxfReport"])
def test_every_report_shows_itself(name: str) -> None:
    from singleshot.evaluation import coco, maxf, miou, voc

    home = next(module for module in (voc, coco, miou, maxf) if hasattr(module, name))
    assert callable(getattr(home, name)._repr_html_)
