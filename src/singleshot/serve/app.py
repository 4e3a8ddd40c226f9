"""The server's addresses: what may be asked, and the way of a request from its head to its answer.

No address names a file or a URL of the caller's: pictures come in the body and nothing else comes in. The page and its
parts are read once at the start, so no request opens a file.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from importlib import resources
from typing import Annotated, Any, Protocol, runtime_checkable

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from singleshot import __version__
from singleshot.serve import uploads
from singleshot.serve.api_schema import PREDICT_BODY, PREDICT_RESPONSES
from singleshot.serve.batcher import Answer, Asked, Batcher
from singleshot.serve.bodies import Held, Lingering
from singleshot.serve.metrics import CONTENT_TYPE, Metrics
from singleshot.serve.refusal import Refusal, busy
from singleshot.serve.security import PAGE, REQUEST_ID, Gate
from singleshot.serve.settings import Settings

CLIENT_GONE = 499
DEFAULT_THRESHOLD = 0.5

log = logging.getLogger(__name__)


@runtime_checkable
class Health(Protocol):
    """How the network's process is; `Worker` is one."""

    @property
    def is_up(self) -> bool:
        """Whether it would answer now."""
        ...

    @property
    def restarts(self) -> int:
        """How often it was replaced."""
        ...


def build(settings: Settings, facts: dict[str, Any], batcher: Batcher, health: Health, metrics: Metrics) -> ASGIApp:
    """The application.

    Args:
        settings: limits and who may call.
        facts: what `/v1/model` answers.
        batcher: answers pictures.
        health: of the network's process.
        metrics: what is counted.
    """
    held = Held(settings)
    api = FastAPI(title="singleshot", version=__version__, docs_url=None, redoc_url=None)
    _say_errors(api)
    for path, (name, media_type) in PAGE.items():
        api.add_api_route(path, _file(name, media_type), include_in_schema=False)

    @api.post("/v1/predict", responses=PREDICT_RESPONSES, openapi_extra=PREDICT_BODY, response_class=Response)
    async def predict(request: Request, threshold: Annotated[float, Query(ge=0, le=1)] = DEFAULT_THRESHOLD) -> Response:
        """What the model sees in one picture. Detections score at least `threshold`; segmenters ignore it."""
        start = time.monotonic()
        content_type = request.headers.get("content-type", "")
        uploads.check_type(content_type)
        if not health.is_up:
            raise busy("The network is being started anew.", settings.retry_after_s, "no-worker")
        batcher.check_room()
        async with held.body(request) as body:
            picture = uploads.picture(body, content_type)
            answer = await _unless_gone(request, batcher.submit(Asked(picture, threshold)))
        metrics.seconds.add(time.monotonic() - start)
        return Response(answer.body, answer.status, media_type="application/json")

    @api.get("/v1/model")
    async def model() -> dict[str, Any]:
        """What the model is: its task, its classes with their colours, its input size."""
        return facts

    @api.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Whether pictures would be answered now: 200 or 503."""
        if not health.is_up:
            raise busy("The network is being started anew.", settings.retry_after_s, "no-worker")
        return {"status": "ok"}

    @api.get("/metrics", response_class=Response)
    async def show_metrics() -> Response:
        """Figures for Prometheus."""
        text = metrics.text(
            waiting=batcher.waiting, held_bytes=held.count, worker_up=health.is_up, worker_restarts=health.restarts
        )
        return Response(text, media_type=CONTENT_TYPE)

    return _Counted(Lingering(Gate(api, settings)), metrics)


class _Counted:
    """ASGI: counts responses by status."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.responses[message["status"]] += 1
            await send(message)

        await self._app(scope, receive, sending)


def _file(name: str, media_type: str) -> Callable[[], Coroutine[Any, Any, Response]]:
    data = (resources.files("singleshot.serve") / "page" / name).read_bytes()

    async def page() -> Response:
        return Response(data, media_type=media_type, headers={"cache-control": "no-cache"})

    return page


async def _unless_gone(request: Request, work: Coroutine[Any, Any, Answer]) -> Answer:
    """The work's result; the work is cancelled, and ClientDisconnect raised, where the client hangs up before."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


def _say_errors(api: FastAPI) -> None:
    """Every failure leaves as one line of JSON with the request's number."""

    def said(request: Request, refusal: Refusal) -> Response:
        request_id = request.scope.get(REQUEST_ID, "")
        headers = {key.decode(): value.decode() for key, value in refusal.headers}
        return Response(refusal.body(request_id), refusal.status, headers, media_type="application/json")

    @api.exception_handler(Refusal)
    async def refused(request: Request, error: Refusal) -> Response:
        return said(request, error)

    @api.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        code, what = {404: ("not-found", "There is nothing here."), 405: ("wrong-method", "Not with this method.")}.get(
            error.status_code, ("bad-request", "The request cannot be read.")
        )
        headers = [(key.encode(), value.encode()) for key, value in (error.headers or {}).items()]
        return said(request, Refusal(error.status_code, code, what, headers=headers))

    @api.exception_handler(RequestValidationError)
    async def invalid(request: Request, _error: RequestValidationError) -> Response:
        return said(request, Refusal(422, "bad-threshold", "threshold is a number from 0 to 1."))

    @api.exception_handler(ClientDisconnect)
    async def left(request: Request, _error: ClientDisconnect) -> Response:
        return said(request, Refusal(CLIENT_GONE, "client-gone", "The client went away."))

    @api.exception_handler(Exception)
    async def failed(request: Request, _error: Exception) -> Response:
        log.error("request %s failed", request.scope.get(REQUEST_ID, ""))  # uvicorn adds the traceback
        return said(request, Refusal(500, "internal", "Something failed inside. The server's log has the number."))
