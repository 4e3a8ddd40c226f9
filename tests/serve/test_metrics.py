from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from singleshot.serve.metrics import Histogram, Metrics, ModelState
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
    text = Metrics(["a"]).text(held_bytes=0, states=[ModelState(0, True, 0)])
    assert 'singleshot_predict_duration_seconds_count{model="a"} 0\n' in text
    assert 'singleshot_worker_up{model="a"} 1\n' in text


def test_each_models_figures_have_its_name_and_hostile_names_stay_inside_their_quotes() -> None:
    metrics = Metrics(["a", 'b"} 1\nx{y="\\'])
    metrics.models["a"].add_batch(3, 0.2)
    text = metrics.text(held_bytes=7, states=[ModelState(2, True, 0), ModelState(0, False, 5)])
    assert 'singleshot_batch_size_images_sum{model="a"} 3.000000' in text
    assert 'singleshot_queued_images{model="a"} 2' in text
    assert r'singleshot_worker_restarts_total{model="b\"} 1\nx{y=\"\\"} 5' in text
    assert text.count("singleshot_worker_up{") == 2 and "singleshot_upload_held_bytes 7" in text


def test_names_follow_the_conventions_of_prometheus() -> None:
    """Base unit as a suffix, `_total` on counters and nowhere else, HELP and TYPE before the first sample."""
    metrics = Metrics(["a"])
    metrics.responses[200] += 1
    kinds: dict[str, str] = {}
    for line in metrics.text(held_bytes=0, states=[ModelState(0, True, 0)]).splitlines():
        if line.startswith("# TYPE"):
            _, _, name, kind = line.split()
            assert name.startswith("singleshot_") and name not in kinds
            assert (kind == "counter") == name.endswith("_total")
            if kind == "histogram" or "bytes" in name:
                assert name.endswith(("_seconds", "_bytes", "_images"))
            assert not any(word in name for word in ("milliseconds", "_ms", "megabytes", "_mb", "pictures"))
            kinds[name] = kind
        elif not line.startswith("# HELP"):
            sample = re.match(r"[a-z_]+", line)
            assert sample and re.sub(r"_(bucket|sum|count)$", "", sample[0]) in kinds
    assert len(kinds) == 9


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is missing: apt-get install prometheus")
def test_promtool_has_nothing_to_criticise() -> None:
    metrics = Metrics(["a", 'b"} 1\nx{y="\\'])
    metrics.responses[200] += 1
    for each in metrics.models.values():
        each.add_batch(3, 0.2)
        each.seconds.add(0.1)
    text = metrics.text(held_bytes=7, states=[ModelState(2, True, 0), ModelState(0, False, 5)])
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_metrics_follow_the_prometheus_format_and_count_responses(stub: Stub) -> None:
    def seen() -> dict[str, float]:
        head, _, text = stub.ask(get("/metrics")).partition(b"\r\n\r\n")
        assert b"content-type: text/plain; version=0.0.4" in head
        form = re.compile(r"# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{[a-z]+=\"[^\"]*\"(,[a-z]+=\"[^\"]*\")*\})? -?[0-9.e+]+")
        lines = text.decode().splitlines()
        assert [line for line in lines if not form.fullmatch(line)] == []
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[0] != "#"}

    before = seen()
    stub.post(jpeg(), "Content-Type: image/jpeg")
    stub.post(jpeg(), "Content-Type: text/plain")
    after = seen()
    count = 'singleshot_predict_duration_seconds_count{model="stub.safetensors"}'
    assert after[count] == before[count] + 1
    assert after['singleshot_http_responses_total{code="415"}'] >= 1
