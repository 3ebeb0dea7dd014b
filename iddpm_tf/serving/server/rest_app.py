"""The REST interface: predict, metadata and status of TensorFlow Serving, and the page at `/`."""

import asyncio
from collections.abc import Iterator
from collections.abc import Mapping
from concurrent import futures
import contextlib
from importlib import resources
import json
import re
from typing import Any

from google.protobuf import json_format
import numpy as np
from starlette import applications
from starlette import exceptions
from starlette import requests
from starlette import responses
from starlette import routing

from iddpm_tf import settings
from iddpm_tf.serving import rest_json
from iddpm_tf.serving.server import errors
from iddpm_tf.serving.server import loaded_servable
from iddpm_tf.serving.server import metadata as metadata_lib
from iddpm_tf.serving.server import predictor as predictor_lib
from iddpm_tf.serving.server import request_metrics
from iddpm_tf.serving.server import rest_response

HEALTH = "/healthz"
METRICS = "/monitoring/prometheus/metrics"
# A request for images with this header can be followed at /progress/ID while it waits for them.
REQUEST_ID = "x-request-id"
_RECEIVE_SECONDS = 60  # The time limit for receiving a request.
# The bytes of all requests that are received or parsed, as a multiple of the largest request.
_MAX_CONCURRENT = 8


def make_app(predictor: predictor_lib.Predictor, max_bytes: int) -> applications.Starlette:
  """Returns the ASGI application.

  Args:
    predictor: draws the images.
    max_bytes: the largest size of a request.
  """
  app = _App(predictor, max_bytes)
  model = "/v1/models/{name:str}"
  version = model + "/versions/{version:str}"
  routes = [
    routing.Route("/", app.page),
    routing.Route("/models", app.models),
    routing.Route("/estimate", app.estimate),
    routing.Route("/progress/{request_id:str}", app.progress),
    routing.Route(HEALTH, app.health),
    routing.Route(METRICS, app.metrics),
  ]
  for path in (version, model):
    routes += [
      routing.Route(f"{path}:predict", app.predict, methods=["POST"]),
      routing.Route(f"{path}/metadata", app.metadata),
      routing.Route(path, app.status),
    ]
  return applications.Starlette(
    routes=routes,
    exception_handlers={
      errors.RequestError: _on_request_error,
      404: _on_http_error,
      405: _on_http_error,
      500: _on_failure,
    },
  )


class _App:
  """The handlers of the routes."""

  def __init__(self, predictor: predictor_lib.Predictor, max_bytes: int):
    self._predictor, self._models, self._max_bytes = predictor, predictor.models, max_bytes
    self._jobs: dict[str, predictor_lib.Job] = {}  # By the IDs that their clients gave.
    self._held_bytes = 0  # The bytes of all requests that are received or parsed.
    # One request is parsed at a time, because parsed lists take far more memory than the text.
    self._parsing = asyncio.Semaphore(1)

  async def page(self, request: requests.Request) -> responses.Response:
    del request
    page = (resources.files(__package__) / "page.html").read_text(encoding="utf-8")
    return responses.HTMLResponse(page)

  async def models(self, request: requests.Request) -> responses.Response:
    """Returns what the page shows."""
    del request
    return rest_response.Json(
      {
        "max_batch": self._predictor.max_batch,
        "models": [servable.description() for servable in self._models.all()],
      }
    )

  async def estimate(self, request: requests.Request) -> responses.Response:
    """Returns how long a request for images should take, for the page's progress bar.

    The page shows it for an export of an earlier version, which does not count its steps.
    """
    query = request.query_params
    count = query.get("count", "")
    if not (count.isascii() and count.isdecimal() and len(count) < 10 and int(count)):
      raise errors.invalid_argument("count", "a number of images from 1", count[:60])
    servable = self._models.get(query.get("model", ""))
    seconds = servable.estimated_seconds(query.get("signature", ""), int(count))
    return rest_response.Json({"seconds": seconds})

  async def progress(self, request: requests.Request) -> responses.Response:
    """Returns how far a request for images is, by the ID that it has in its header.

    `{"ahead", "step", "steps"}`, see `JobProgress`; all are null for a request that has not been
    received yet, or has been answered.
    """
    job = self._jobs.get(request.path_params["request_id"])
    if job is None:
      return rest_response.Json({"ahead": None, "step": None, "steps": None})
    progress = await asyncio.to_thread(self._predictor.progress, job)
    return rest_response.Json(progress._asdict())

  async def health(self, request: requests.Request) -> responses.Response:
    """Returns the names of the served models, or an error while there is none."""
    del request
    names = [servable.name for servable in self._models.all()]
    if not names:
      raise errors.RequestError("UNAVAILABLE", "no model is loaded")
    return rest_response.Json({"status": "ok", "models": names})

  async def metrics(self, request: requests.Request) -> responses.Response:
    del request
    # The name of a folder may not be UTF-8.
    content = self._predictor.metrics.text().encode("utf-8", "replace")
    return responses.Response(content, headers={"content-type": request_metrics.CONTENT_TYPE})

  async def status(self, request: requests.Request) -> responses.Response:
    states = self._models.states(*_model(request))
    return rest_response.Json(
      json_format.MessageToDict(
        metadata_lib.status(states),
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
      )
    )

  async def metadata(self, request: requests.Request) -> responses.Response:
    servable = self._models.get(*_model(request))
    return rest_response.Json(
      {
        "model_spec": {
          "name": servable.name,
          "signature_name": "",
          "version": str(servable.version),
        },
        "metadata": {
          "signature_def": json_format.MessageToDict(
            metadata_lib.signature_map(servable), preserving_proto_field_name=True
          )
        },
      }
    )

  async def predict(self, request: requests.Request) -> responses.Response:
    name = request.path_params["name"]
    with self._predictor.metrics.measured(name, request_metrics.REST):
      servable = self._models.get(*_model(request))
      request_id = _request_id(request)
      body_format, job = await self._receive_job(request, servable)
      with self._followed(request_id, job):
        outputs = await self._result(request, job)
      return await asyncio.to_thread(_response, body_format, outputs)

  @contextlib.contextmanager
  def _followed(self, request_id: str | None, job: predictor_lib.Job) -> Iterator[None]:
    """Lets a client follow a request while the block runs. Of two with one ID, the later one is."""
    if request_id is None:
      yield
      return
    self._jobs[request_id] = job
    try:
      yield
    finally:
      if self._jobs.get(request_id) is job:
        del self._jobs[request_id]

  async def _receive_job(
    self, request: requests.Request, servable: loaded_servable.LoadedServable
  ) -> tuple[str, predictor_lib.Job]:
    """Receives a request, and returns its format (`instances` or `inputs`) and its job."""
    body = bytearray()
    try:
      await self._receive(request, body)
      # Other requests are answered while a thread parses the JSON, which takes a while.
      async with self._parsing:
        return await asyncio.to_thread(self._submit, bytes(body), servable)
    finally:
      self._held_bytes -= len(body)

  def _submit(
    self, body: bytes, servable: loaded_servable.LoadedServable
  ) -> tuple[str, predictor_lib.Job]:
    body_format, signature, inputs = _parse(body)
    return body_format, self._predictor.submit(servable, signature, inputs)

  async def _result(
    self, request: requests.Request, job: predictor_lib.Job
  ) -> dict[str, np.ndarray]:
    """Waits for the outputs of a job, which is cancelled when the client disconnects."""
    future = asyncio.wrap_future(job.future)
    try:
      while not future.done():
        await asyncio.wait([future], timeout=1.0)
        if await request.is_disconnected():
          raise errors.cancelled()
      return future.result()
    except (futures.CancelledError, asyncio.CancelledError):  # The server stops.
      raise errors.cancelled() from None
    finally:
      job.cancel()

  async def _receive(self, request: requests.Request, body: bytearray) -> None:
    """Adds the bytes of a request to `body`.

    Raises:
      RequestError: the request is too large or too slow, or too many requests arrive.
    """
    try:
      await asyncio.wait_for(self._receive_parts(request, body), _RECEIVE_SECONDS)
    except asyncio.TimeoutError:
      raise errors.RequestError(
        "TOO_SLOW", f"request: expected all of it within {_RECEIVE_SECONDS} s, received a part"
      ) from None
    except requests.ClientDisconnect:
      raise errors.cancelled() from None

  async def _receive_parts(self, request: requests.Request, body: bytearray) -> None:
    async for part in request.stream():
      body += part
      self._held_bytes += len(part)
      if len(body) > self._max_bytes:
        raise errors.RequestError(
          "TOO_LARGE", f"request: expected at most {self._max_bytes:,} bytes, received more"
        )
      if self._held_bytes > _MAX_CONCURRENT * self._max_bytes:
        raise errors.RequestError(
          "RESOURCE_EXHAUSTED",
          "too many large requests arrive at once: send the request again later",
        )


def _model(request: requests.Request) -> tuple[str, int | None]:
  """Returns the name of the requested model, and its version if the path has one."""
  version = request.path_params.get("version")
  if version is not None and not (version.isascii() and version.isdecimal() and len(version) < 20):
    raise errors.RequestError("NOT_FOUND", f"version: expected a number, received {version[:60]!r}")
  return request.path_params["name"], None if version is None else int(version)


def _request_id(request: requests.Request) -> str | None:
  """Returns the ID by which a client will follow its request, or None."""
  request_id = request.headers.get(REQUEST_ID)
  if request_id is not None and not re.fullmatch(r"[A-Za-z0-9-]{1,64}", request_id):
    raise errors.invalid_argument(
      REQUEST_ID, "up to 64 letters, digits and '-'", repr(request_id[:80])
    )
  return request_id


def _parse(content: bytes) -> tuple[str, str, dict[str, Any]]:
  """Returns the format of a request, the signature's name, and `{input: value}`."""
  try:
    body = json.loads(content)
  except (ValueError, RecursionError):
    raise errors.invalid_argument("request", "JSON", repr(content[:60])) from None
  if not isinstance(body, dict):
    raise errors.invalid_argument("request", "a JSON object", type(body).__name__)
  signature = body.get("signature_name", "")
  if not isinstance(signature, str):
    raise errors.invalid_argument("signature_name", "a string", json.dumps(signature)[:60])
  body_format, inputs = _parse_inputs(body)
  return body_format, signature, inputs


def _parse_inputs(body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
  """Returns the format of a request, `instances` or `inputs`, and `{input: value}`.

  An only input may be given without its name, which is then "".
  """
  body_format = "instances" if "instances" in body else "inputs"
  if body_format not in body or {"instances", "inputs"} <= set(body):
    raise errors.invalid_argument(
      "request", "either instances or inputs", ", ".join(body) or "neither"
    )
  try:
    values = (
      rest_json.instances_to_inputs(body[body_format])
      if body_format == "instances"
      else body[body_format]
    )
    values = values if isinstance(values, dict) else {"": values}
    return body_format, {
      name: rest_json.decode(value, name or body_format) for name, value in values.items()
    }
  except settings.InputError as error:
    raise errors.RequestError("INVALID_ARGUMENT", str(error)) from None
  except RecursionError:
    raise errors.invalid_argument(
      body_format, "lists", "lists that are nested too deeply"
    ) from None


def _response(body_format: str, outputs: Mapping[str, np.ndarray]) -> responses.Response:
  encoded = {name: rest_json.encode(value) for name, value in outputs.items()}
  if body_format == "instances":
    return rest_response.Json({"predictions": rest_json.outputs_to_predictions(encoded)})
  return rest_response.Json(
    {"outputs": next(iter(encoded.values())) if len(encoded) == 1 else encoded}
  )


async def _on_request_error(request: requests.Request, error: Exception) -> responses.Response:
  del request
  assert isinstance(error, errors.RequestError)
  return rest_response.of_error(error)


async def _on_http_error(request: requests.Request, error: Exception) -> responses.Response:
  assert isinstance(error, exceptions.HTTPException)
  message = f"{request.method} {request.url.path}: {error.detail}"
  return rest_response.Json({"error": message}, status_code=error.status_code)


async def _on_failure(request: requests.Request, error: Exception) -> responses.Response:
  del request
  return rest_response.Json(
    {"error": f"{type(error).__name__}: {str(error)[:200]}"}, status_code=500
  )
