"""The server's metrics in the text format of Prometheus.

A dozen numbers do not need a client library; the format is documented at prometheus.io, "Exposition formats", 0.0.4.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

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

    def lines(self, name: str) -> list[str]:
        """Return the cumulative counts, the sum and the number of values."""
        lines, total = [], 0
        for bound, count in zip([*map("{:g}".format, self._bounds), "+Inf"], self._counts, strict=True):
            total += count
            lines.append(f'{name}_bucket{{le="{bound}"}} {total}')
        return [*lines, f"{name}_sum {self._sum:.6f}", f"{name}_count {total}"]


class Metrics:
    """Everything the server counts. Used by the event loop's thread only."""

    def __init__(self) -> None:
        self.responses: Counter[int] = Counter()
        self.seconds = Histogram(SECONDS)
        self.batch_sizes = Histogram(BATCH_SIZES)
        self.batch_seconds = Histogram(SECONDS)

    def text(self, *, waiting: int, held_bytes: int, worker_up: bool, worker_restarts: int) -> str:
        """Return all metrics, and the current values given here."""
        lines = ["# HELP singleshot_responses_total Responses by status.", "# TYPE singleshot_responses_total counter"]
        lines += [f'singleshot_responses_total{{status="{s}"}} {n}' for s, n in sorted(self.responses.items())]
        for name, help_text, histogram in (
            ("singleshot_predict_seconds", "From a request's head to its answer, of answered pictures.", self.seconds),
            ("singleshot_batch_pictures", "Pictures in a batch.", self.batch_sizes),
            ("singleshot_batch_seconds", "Decoding and inference of a batch.", self.batch_seconds),
        ):
            lines += [f"# HELP {name} {help_text}", f"# TYPE {name} histogram", *histogram.lines(name)]
        for name, metric_type, help_text, value in (
            ("singleshot_queue_pictures", "gauge", "Pictures that wait for a batch.", waiting),
            ("singleshot_held_bytes", "gauge", "Bytes of uploads in memory.", held_bytes),
            ("singleshot_worker_up", "gauge", "1 while the network answers.", int(worker_up)),
            (
                "singleshot_worker_restarts_total",
                "counter",
                "Times the network's process was replaced.",
                worker_restarts,
            ),
        ):
            lines += [f"# HELP {name} {help_text}", f"# TYPE {name} {metric_type}", f"{name} {value}"]
        return "\n".join(lines) + "\n"
