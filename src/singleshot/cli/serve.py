"""`singleshot serve`: models as an HTTP API and a web page."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from singleshot.cli.model_options import Device
from singleshot.errors import ConfigError, UsageError


def serve(
    weights: Annotated[
        list[str],
        typer.Argument(
            help="A weights file, an export, a known name, or owner/name on the hub; for several models NAME=FILE each."
        ),
    ],
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on; 0 chooses a free one.", min=0, max=65535)] = 8000,
    token: Annotated[
        str | None,
        typer.Option(help="Token of all clients; required if other machines can connect.", envvar="SINGLESHOT_TOKEN"),
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Additional host name that clients may use; repeatable.")
    ] = None,
    cors: Annotated[
        list[str] | None,
        typer.Option(help="Origin whose pages may call the server, such as https://app.example.org; repeatable."),
    ] = None,
    public_url: Annotated[
        str | None,
        typer.Option(help="Address by which browsers reach the server through a proxy: https://cells.example.org."),
    ] = None,
    device: Device = "auto",
    batch_size: Annotated[int, typer.Option(help="Maximum images per batch.", min=1, max=4096)] = 8,
    latency_ms: Annotated[
        float,
        typer.Option(help="Milliseconds that an image waits for others to form a batch.", min=0, max=60_000),
    ] = 10.0,
    queue: Annotated[int, typer.Option(help="Images that may wait; further ones get 503.", min=1, max=1_000_000)] = 64,
    max_body_mb: Annotated[float, typer.Option(help="Largest upload, in MiB.", min=0.01, max=4096)] = 20.0,
    max_megapixels: Annotated[
        float, typer.Option(help="Largest image, in millions of pixels.", min=0.01, max=10_000)
    ] = 24.0,
    max_pixels: Annotated[
        int | None, typer.Option(help="Largest image, in pixels; replaces --max-megapixels.", min=1)
    ] = None,
) -> None:
    """Serve models: POST an image to /v1/predict, or open the page in a browser.

    After SIGTERM or Ctrl-C, requests in progress are answered before the server exits.
    """
    from singleshot.cli import terminal

    try:
        import fastapi  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"{error.name} is not installed", remedy="pip install 'singleshot[web]'") from error
    from singleshot.images import allow_pixels, pixel_limit
    from singleshot.serve.server import serve as run
    from singleshot.serve.settings import Settings

    most_pixels = max_pixels or round(max_megapixels * 1e6)
    if most_pixels > pixel_limit():  # the decoder has one limit for all
        allow_pixels(most_pixels)
    settings = Settings(
        host=host,
        port=port,
        token=token,
        allowed_hosts=tuple(allow_host or ()),
        cors_origins=tuple(each.lower() for each in cors or ()),
        public_url=None if public_url is None else public_url.lower().rstrip("/"),
        device=device,
        batch_size=batch_size,
        latency_s=latency_ms / 1000,
        queue_size=queue,
        max_body_bytes=round(max_body_mb * 2**20),
        max_pixels=most_pixels,
    )

    def ready(address: str, models: list[dict[str, Any]]) -> None:
        for place, facts in enumerate(models):
            kind = "segmenter" if facts["task"] == "segmentation" else "detector"
            where = f"{address} (Ctrl-C to stop)" if place == 0 else f"{address}/v1/predict?model={facts['name']}"
            terminal.show(f"{facts['name']}, a {kind} with {len(facts['classes'])} classes, at {where}")

    number = run({name: _locate(path) for name, path in _named(weights).items()}, settings, ready)
    raise typer.Exit(128 + number)


def _named(weights: list[str]) -> dict[str, Path]:
    """Return the models by name: `NAME=FILE`, or a file under its own name.

    Raises UsageError for a name that occurs twice, or has other characters than letters, digits, dot, _ and -.
    """
    named: dict[str, Path] = {}
    for each in weights:
        name, equals, path = each.partition("=")
        if not equals or Path(each).exists():  # a file's own name may have an equals sign
            name, path = Path(each).name, each
        elif not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", name):
            raise UsageError(f"{name!r} is no name for a model", remedy="Use letters, digits, dot, _ and -")
        if name in named:
            raise UsageError(f"two models are called {name}", remedy="Name them: a=FILE b=FILE")
        named[name] = Path(path)
    return named


def _locate(weights: Path) -> Path:
    """Return the weights file. Only names need `find_weights`, which imports torch and so takes seconds."""
    if weights.is_file() and os.access(weights, os.R_OK):
        return weights
    from singleshot.cli import terminal
    from singleshot.prediction.load import find_weights

    with terminal.download(f"fetching {weights}") as observer:
        return find_weights(weights, observer=observer)
