"""`singleshot serve`: a model behind an address, for programs and, with its page, for people."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from singleshot.errors import ConfigError


def serve(
    weights: Annotated[Path, typer.Argument(help="A weights file.")],
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.", min=0, max=65535)] = 8000,
    token: Annotated[
        str | None,
        typer.Option(help="What callers must show; needed beyond this machine.", envvar="SINGLESHOT_TOKEN"),
    ] = None,
    allow_host: Annotated[list[str] | None, typer.Option(help="A name under which it may be called.")] = None,
    batch_size: Annotated[
        int, typer.Option(help="Most pictures that go through the network together.", min=1, max=4096)
    ] = 8,
    latency_ms: Annotated[float, typer.Option(help="How long a picture waits for others.", min=0, max=60_000)] = 10.0,
    queue: Annotated[int, typer.Option(help="Pictures that may wait; more get 503.", min=1, max=1_000_000)] = 64,
    max_body_mb: Annotated[float, typer.Option(help="Largest upload, in MiB.", min=0.01, max=4096)] = 20.0,
    max_megapixels: Annotated[
        float, typer.Option(help="Largest picture, in millions of pixels.", min=0.01, max=10_000)
    ] = 24.0,
) -> None:
    """Serve a model: POST a picture to /v1/predict, or open the page in a browser.

    SIGTERM and Ctrl-C let what is under way be answered first.
    """
    from singleshot.cli import progress

    try:
        import fastapi  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"{error.name} is not installed", remedy="pip install 'singleshot[web]'") from error
    from singleshot.serve.server import serve as run
    from singleshot.serve.settings import Settings

    settings = Settings(
        host=host,
        port=port,
        token=token,
        allowed_hosts=tuple(allow_host or ()),
        batch_size=batch_size,
        latency_s=latency_ms / 1000,
        queue_size=queue,
        max_body_bytes=round(max_body_mb * 2**20),
        max_pixels=round(max_megapixels * 1e6),
    )

    def ready(address: str, facts: dict[str, Any]) -> None:
        kind = "segmenter" if facts["task"] == "segmentation" else "detector"
        what = f"{facts['name']}, a {kind} of {len(facts['classes'])} classes, at {address} (Ctrl-C ends it)"
        progress.out.print(what, soft_wrap=True, markup=False, highlight=False)

    number = run(_found(weights), settings, ready)
    raise typer.Exit(128 + number)


def _found(weights: Path) -> Path:
    """The file that is meant. Looking names up takes torch, and so seconds; a file that is there needs none of it."""
    if weights.is_file() and os.access(weights, os.R_OK):
        return weights
    from singleshot.cli import progress
    from singleshot.prediction.locate import find_weights

    with progress.transfer(f"fetching {weights}") as observer:
        return find_weights(weights, observer=observer)
