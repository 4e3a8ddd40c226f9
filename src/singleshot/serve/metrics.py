"""The server's metrics in the text format of Prometheus.

A dozen numbers do not need a client library; the format is documented at prometheus.io, "Exposition formats", 0.0.4.
Names follow its conventions ("Metric and label naming"): the base unit stands in the name, counters end in `_total`,
and what belongs to one model has the label `model`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from singleshot import __version__

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCH_SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


class Histogram:
    """Counts values by upper bound."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds, self._counts, self._sum = bounds, [0] * (len(bounds) + 1), 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def lines(self, name: str, labels: str = "") -> list[str]:
        """Return the cumulative counts, the sum and the number of values. Labels are written as `key="value"`."""
        lines, total = [], 0
        for bound, count in zip([*map("{:g}".format, self._bounds), "+Inf"], self._counts, strict=True):
            total += count
            lines.append(f'{name}_bucket{{{labels}{"," * bool(labels)}le="{bound}"}} {total}')
        braces = f"{{{labels}}}" if labels else ""
        return [*lines, f"{name}_sum{braces} {self._sum:.6f}", f"{name}_count{braces} {total}"]


@dataclass(frozen=True)
class ModelState:
    """What one model does now.

    Args:
        waiting: images in its queue.
        worker_up: whether its process can answer.
        worker_restarts: how often that was replaced.
    """

    waiting: int
    worker_up: bool
    worker_restarts: int


class ModelMetrics:
    """Everything the server counts for one model. Used by the event loop's thread only."""

    def __init__(self) -> None:
        self.seconds = Histogram(SECONDS)
        self.batch_sizes = Histogram(BATCH_SIZES)
        self.batch_seconds = Histogram(SECONDS)

    def add_batch(self, size: int, seconds: float) -> None:
        """Count a batch of so many images that took so long."""
        self.batch_sizes.add(float(size))
        self.batch_seconds.add(seconds)


class Metrics:
    """Everything the server counts. Used by the event loop's thread only.

    Args:
        models: names of the models.
    """

    def __init__(self, models: Iterable[str] = ("model",)) -> None:
        self.responses: Counter[int] = Counter()
        self.models = {name: ModelMetrics() for name in models}

    def text(self, *, held_bytes: int, states: Sequence[ModelState]) -> str:
        """Return all metrics, and the current values given here; `states` are in the order of the models."""
        escapes = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
        labels = {name: f'model="{name.translate(escapes)}"' for name in self.models}
        lines = _described("singleshot_build_info", "gauge", "1, with the version of the server.")
        lines.append(f'singleshot_build_info{{version="{__version__}"}} 1')
        lines += _described("singleshot_http_responses_total", "counter", "Responses by status code.")
        lines += [f'singleshot_http_responses_total{{code="{s}"}} {n}' for s, n in sorted(self.responses.items())]
        for name, help_text, field in (
            (
                "singleshot_predict_duration_seconds",
                "From a request's head to its response.",
                "seconds",
            ),
            ("singleshot_batch_size_images", "Images in a batch.", "batch_sizes"),
            ("singleshot_batch_duration_seconds", "Decoding and inference of a batch.", "batch_seconds"),
        ):
            lines += _described(name, "histogram", help_text)
            for model, counts in self.models.items():
                lines += getattr(counts, field).lines(name, labels[model])
        lines += _described("singleshot_upload_held_bytes", "gauge", "Bytes of request bodies in memory.")
        lines.append(f"singleshot_upload_held_bytes {held_bytes}")
        for name, kind, help_text, field in (
            ("singleshot_queued_images", "gauge", "Images that wait for a batch.", "waiting"),
            ("singleshot_worker_up", "gauge", "1 while the network answers.", "worker_up"),
            ("singleshot_worker_restarts_total", "counter", "Times the process was replaced.", "worker_restarts"),
        ):
            lines += _described(name, kind, help_text)
            for model, state in zip(self.models, states, strict=True):
                lines.append(f"{name}{{{labels[model]}}} {int(getattr(state, field))}")
        return "\n".join(lines) + "\n"


def _described(name: str, kind: str, help_text: str) -> list[str]:
    return [f"# HELP {name} {help_text}", f"# TYPE {name} {kind}"]
