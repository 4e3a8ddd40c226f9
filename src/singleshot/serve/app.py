"""The HTTP routes of the server and the middleware around them.

No route takes a file path or URL from the client: images come in the body and nothing else does. The page is read once
at the start, so no request opens a file.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
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
from singleshot.serve.batcher import Batcher
from singleshot.serve.messages import PredictRequest, PredictResponse, Refusal, busy
from singleshot.serve.metrics import CONTENT_TYPE, Metrics, ModelState
from singleshot.serve.security import PAGE, REQUEST_ID, AccessControl
from singleshot.serve.settings import Settings
from singleshot.serve.uploads import BodyReader, LingeringClose

CLIENT_CLOSED_REQUEST = 499

# The OpenAPI description of `/v1/predict`, which reads its body itself and so must describe it itself.
_NUMBER = {"type": "number"}
_BOX = {"type": "array", "items": _NUMBER, "minItems": 4, "maxItems": 4, "description": "x1, y1, x2, y2 in pixels"}
_SIZE = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2, "description": "height, width"}
_NAMED = {"class": {"type": "string"}, "class_id": {"type": "integer"}}


def _rows(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": {"type": "object", "properties": properties, "required": [*properties]}}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties]}


_DETECTIONS = _object({"size_hw": _SIZE, "detections": _rows({**_NAMED, "score": _NUMBER, "box_xyxy": _BOX})})
_MASK = {"type": "string", "contentEncoding": "base64", "description": "8-bit grey PNG: each pixel's class id"}
_CLASSES = _rows({**_NAMED, "share": _NUMBER})
_SEGMENTATION = _object({"size_hw": _SIZE, "classes": _CLASSES, "mask_png": _MASK})
_STRING = {"type": "string"}
_ERROR = _object({"error": _object({"code": _STRING, "message": _STRING, "request_id": _STRING})})


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


PREDICT_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Detections, best first, or a segmentation.",
        **_json({"oneOf": [_DETECTIONS, _SEGMENTATION]}),
    },
    400: {"description": "A form or JSON that cannot be read.", **_json(_ERROR)},
    401: {"description": "No token.", **_json(_ERROR)},
    404: {"description": "No model has that name.", **_json(_ERROR)},
    408: {"description": "The request was sent too slowly.", **_json(_ERROR)},
    413: {"description": "A body that is too large.", **_json(_ERROR)},
    415: {"description": "An unsupported file type, or an image with several frames.", **_json(_ERROR)},
    422: {
        "description": "No image, a damaged or too large one, or a wrong parameter; see `code`.",
        **_json(_ERROR),
    },
    503: {"description": "Busy or restarting: retry after `Retry-After` seconds.", **_json(_ERROR)},
}
_BASE64 = {"type": "string", "contentEncoding": "base64", "description": "the image file"}
_JSON_BODY = {
    "schema": {
        "type": "object",
        "properties": {"image": _BASE64, "threshold": {"type": "number", "minimum": 0, "maximum": 1}},
        "required": ["image"],
        "additionalProperties": False,
    }
}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {"schema": _object({"image": {"type": "string", "format": "binary"}})}
PREDICT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"image/*": _BINARY, "multipart/form-data": _FORM, "application/json": _JSON_BODY},
    }
}

log = logging.getLogger(__name__)


@runtime_checkable
class Health(Protocol):
    """The state of the worker process; `Worker` implements it."""

    @property
    def is_up(self) -> bool:
        """Whether it can answer a batch now."""
        ...

    @property
    def restarts(self) -> int:
        """How often the process was replaced."""
        ...


@dataclass(frozen=True)
class ServedModel:
    """A model of the server.

    Args:
        facts: the response of `/v1/model`; `name` is the one by which clients ask for it.
        batcher: answers images.
        health: of its worker process.
    """

    facts: dict[str, Any]
    batcher: Batcher
    health: Health

    @property
    def name(self) -> str:
        """The name by which clients ask for it."""
        return self.facts["name"]


def build(settings: Settings, models: Sequence[ServedModel], metrics: Metrics) -> ASGIApp:
    """Build the application.

    Args:
        settings: limits and access control.
        models: at least one; the first answers requests that name none.
        metrics: of these models, updated by every request.
    """
    bodies = BodyReader(settings)
    api = FastAPI(title="singleshot", version=__version__, docs_url=None, redoc_url=None)
    _add_error_handlers(api)
    for path, (name, media_type) in PAGE.items():
        api.add_api_route(path, _page_route(name, media_type), include_in_schema=False)

    @api.post("/v1/predict", responses=PREDICT_RESPONSES, openapi_extra=PREDICT_BODY, response_class=Response)
    async def predict(
        request: Request,
        threshold: Annotated[float | None, Query(ge=0, le=1)] = None,
        model: str | None = None,
    ) -> Response:
        """Detect the objects in one image, or segment it.

        `threshold` is the lowest score of the detections, by default the model's own; segmenters ignore it.
        """
        _check_names(request, {"threshold", "model"})
        start, served = time.monotonic(), _named(models, model)
        content_type = request.headers.get("content-type", "")
        uploads.check_type(content_type)
        if not served.health.is_up:
            raise busy("The network is restarting.", settings.retry_after_s, "no-worker")
        served.batcher.check_room()
        async with bodies.read(request, uploads.body_limit(content_type, settings.max_body_bytes)) as body:
            upload = uploads.parse(body, content_type, settings.max_body_bytes)
            if upload.threshold is not None and threshold is not None:
                raise Refusal(422, "bad-threshold", "Give threshold in the query or in the JSON, not in both.")
            wanted = threshold if upload.threshold is None else upload.threshold
            work = PredictRequest(upload.image, wanted)
            response = await _unless_disconnected(request, served.batcher.submit(work))
        metrics.models[served.name].seconds.add(time.monotonic() - start)
        if response.status >= 400:  # the worker knows no request ids
            error = json.loads(response.body)["error"]
            raise Refusal(response.status, error["code"], error["message"])
        return Response(response.body, response.status, media_type="application/json")

    @api.get("/v1/model")
    async def show_model(request: Request, model: str | None = None) -> dict[str, Any]:
        """Return a model's task, its classes with their colours, and its input size."""
        _check_names(request, {"model"})
        return _named(models, model).facts

    @api.get("/v1/models")
    async def show_models(request: Request) -> dict[str, Any]:
        """Return the same for all models; the first answers requests that name none."""
        _check_names(request, set())
        return {"models": [each.facts for each in models]}

    @api.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Return 200 if every model can process images now, else 503."""
        if not all(each.health.is_up for each in models):
            raise busy("The network is restarting.", settings.retry_after_s, "no-worker")
        return {"status": "ok"}

    @api.get("/metrics", response_class=Response)
    async def show_metrics() -> Response:
        """Return the metrics for Prometheus."""
        states = [ModelState(each.batcher.waiting, each.health.is_up, each.health.restarts) for each in models]
        return Response(metrics.text(held_bytes=bodies.held_bytes, states=states), media_type=CONTENT_TYPE)

    return _CountResponses(LingeringClose(AccessControl(_HeadAsGet(api), settings)), metrics)


def _check_names(request: Request, known: set[str]) -> None:
    """Refuse an unknown query parameter, and one that is given twice: otherwise one would be ignored."""
    given = [name for name, _ in request.query_params.multi_items()]
    if len(given) > len(set(given)):
        raise Refusal(422, "repeated-parameter", "A query parameter is given more than once.")
    if not set(request.query_params) <= known:
        names = ", ".join(sorted(known))
        message = f"The query parameters of this path: {names}." if known else "This path has no query parameters."
        raise Refusal(422, "unknown-parameter", message)


def _named(models: Sequence[ServedModel], name: str | None) -> ServedModel:
    """Return the model of that name, or the first for None. Raises Refusal (404)."""
    for model in models:
        if name in (None, model.name):
            return model
    raise Refusal(404, "unknown-model", f"This server has the models {', '.join(each.name for each in models)}.")


class _HeadAsGet:
    """ASGI middleware: HEAD is answered like GET, of which the HTTP server then sends the head alone."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)


class _CountResponses:
    """ASGI middleware: counts responses by status."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.responses[message["status"]] += 1
            await send(message)

        await self._app(scope, receive, send_counted)


def _page_route(name: str, media_type: str) -> Callable[[], Coroutine[Any, Any, Response]]:
    data = (resources.files("singleshot.serve") / "page" / name).read_bytes()

    async def page() -> Response:
        return Response(data, media_type=media_type, headers={"cache-control": "no-cache"})

    return page


async def _unless_disconnected(request: Request, work: Coroutine[Any, Any, PredictResponse]) -> PredictResponse:
    """Await the work. If the client disconnects first, cancel it and raise ClientDisconnect."""
    task, disconnect = asyncio.ensure_future(work), asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({task, disconnect}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        disconnect.cancel()


def _add_error_handlers(api: FastAPI) -> None:
    """Make every failure one line of JSON with the request's id."""

    def respond(request: Request, refusal: Refusal) -> Response:
        request_id = request.scope.get(REQUEST_ID, "")
        headers = {key.decode(): value.decode() for key, value in refusal.headers}
        return Response(refusal.body(request_id), refusal.status, headers, media_type="application/json")

    @api.exception_handler(Refusal)
    async def refused(request: Request, error: Refusal) -> Response:
        return respond(request, error)

    @api.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        code, message = {
            404: ("not-found", "This path does not exist."),
            405: ("wrong-method", "This path does not have this method."),
        }.get(error.status_code, ("bad-request", "The request cannot be read."))
        headers = [(key.encode(), value.encode()) for key, value in (error.headers or {}).items()]
        return respond(request, Refusal(error.status_code, code, message, headers=headers))

    @api.exception_handler(RequestValidationError)
    async def invalid(request: Request, _error: RequestValidationError) -> Response:
        return respond(request, Refusal(422, "bad-threshold", "threshold must be a number from 0 to 1."))

    @api.exception_handler(ClientDisconnect)
    async def disconnected(request: Request, _error: ClientDisconnect) -> Response:
        return respond(request, Refusal(CLIENT_CLOSED_REQUEST, "client-gone", "The client disconnected."))

    @api.exception_handler(Exception)
    async def failed(request: Request, _error: Exception) -> Response:
        log.error("request %s failed", request.scope.get(REQUEST_ID, ""))  # uvicorn adds the traceback
        return respond(request, Refusal(500, "internal", "Internal error: see the server's log."))
