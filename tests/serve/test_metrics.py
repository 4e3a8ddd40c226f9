from __future__ import annotations

import re

from singleshot.serve.metrics import Histogram, Metrics
from tests.serve.conftest import Stub, get, jpeg


def test_a_histogram_bucket_includes_its_upper_bound() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 7.0):
        histogram.add(value)
    assert histogram.lines("x") == [
        'x_bucket{le="1"} 2',
        'x_bucket{le="2"} 3',
        'x_bucket{le="+Inf"} 4',
        "x_sum 10.000000",
        "x_count 4",
    ]


def test_metrics_render_before_anything_is_counted() -> None:
    text = Metrics().text(waiting=0, held_bytes=0, worker_up=True, worker_restarts=0)
    assert "singleshot_predict_seconds_count 0\n" in text and "singleshot_worker_up 1\n" in text


def test_metrics_follow_the_prometheus_format_and_count_responses(stub: Stub) -> None:
    def seen() -> dict[str, float]:
        head, _, text = stub.ask(get("/metrics")).partition(b"\r\n\r\n")
        assert b"content-type: text/plain; version=0.0.4" in head
        form = re.compile(r"# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{[a-z]+=\"[^\"]*\"\})? -?[0-9.e+]+")
        lines = text.decode().splitlines()
        assert [line for line in lines if not form.fullmatch(line)] == []
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[0] != "#"}

    before = seen()
    stub.post(jpeg(), "Content-Type: image/jpeg")
    stub.post(jpeg(), "Content-Type: text/plain")
    after = seen()
    assert after["singleshot_predict_seconds_count"] == before["singleshot_predict_seconds_count"] + 1
    assert after['singleshot_responses_total{status="415"}'] >= 1
