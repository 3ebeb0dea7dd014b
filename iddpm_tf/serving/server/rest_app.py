"""REST: predict, metadata and status as TensorFlow Serving answers them, and the page at `/`."""

import asyncio
from concurrent import futures
from importlib import resources
import json

from google.protobuf import json_format
from starlette import applications
from starlette import requests
from starlette import responses
from starlette import routing

from iddpm_tf import settings
from iddpm_tf.serving import rest
from iddpm_tf.serving.server import errors
from iddpm_tf.serving.server import metadata

_PATIENCE = 60  # Seconds for the bytes of a request.
_AT_ONCE = (
  8  # Requests of the largest size that may come at once, or as many bytes of smaller ones.
)


def make_app(predictor, max_bytes):
  """The ASGI application."""
  app = _App(predictor, max_bytes)
  of_model = "/v1/models/{name:str}"
  of_version = of_model + "/versions/{version:str}"
  routes = [routing.Route("/", app.page), routing.Route("/models", app.models)]
  for path in (of_version, of_model):
    routes += [
      routing.Route(f"{path}:predict", app.predict, methods=["POST"]),
      routing.Route(f"{path}/metadata", app.metadata),
      routing.Route(path, app.status),
    ]
  return applications.Starlette(
    routes=routes,
    exception_handlers={errors.Refused: _refused, 404: _plain, 405: _plain, 500: _failed},
  )


class _Json(responses.JSONResponse):
  """In ASCII: what a request gave as a name, and is said of it, may be no text that has a UTF-8."""

  def render(self, content):
    return json.dumps(content, separators=(",", ":")).encode("ascii")


class _App:
  def __init__(self, predictor, max_bytes):
    self._predictor, self._models, self._max_bytes = predictor, predictor.models, max_bytes
    self._held = 0  # Bytes of bodies.
    self._parsing = asyncio.Semaphore(1)  # Of a body's lists, which take far more.

  async def page(self, request):
    del request
    return responses.HTMLResponse((resources.files(__package__) / "page.html").read_text())

  async def models(self, request):
    """What the page offers."""
    del request
    return _Json(
      {
        "max_batch": self._predictor.max_batch,
        "models": [servable.described() for servable in self._models.all()],
      }
    )

  async def status(self, request):
    states = self._models.states(*_address(request))
    return _Json(
      json_format.MessageToDict(
        metadata.status(states),
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
      )
    )

  async def metadata(self, request):
    servable = self._models.get(*_address(request))
    return _Json(
      {
        "model_spec": {
          "name": servable.name,
          "signature_name": "",
          "version": str(servable.version),
        },
        "metadata": {
          "signature_def": json_format.MessageToDict(
            metadata.of_servable(servable), preserving_proto_field_name=True
          )
        },
      }
    )

  async def predict(self, request):
    servable = self._models.get(*_address(request))
    form, order = await self._ordered(request, servable)
    found = await self._answer(request, order)
    return await asyncio.to_thread(_response, form, found)

  async def _ordered(self, request, servable):
    """(`instances` or `inputs`, `predictor.Order`)."""
    body = bytearray()
    try:
      await self._read(request, body)
      # JSON of large images takes a while: others are answered meanwhile.
      async with self._parsing:
        return await asyncio.to_thread(self._order, bytes(body), servable)
    finally:
      self._held -= len(body)

  def _order(self, body, servable):
    form, signature, inputs = _parsed(body)
    return form, self._predictor.submit(servable, signature, inputs)

  async def _answer(self, request, order):
    """The outputs; who no longer waits is not drawn for."""
    waiting = asyncio.wrap_future(order.future)
    try:
      while not waiting.done():
        await asyncio.wait([waiting], timeout=1.0)
        if await request.is_disconnected():
          raise errors.given_up()
      return waiting.result()
    except (futures.CancelledError, asyncio.CancelledError):  # The server ends.
      raise errors.given_up() from None
    finally:
      order.give_up()

  async def _read(self, request, body):
    """Adds a request's bytes to `body`; `Refused` if it is too large, too slow, or there are too many at once."""
    try:
      await asyncio.wait_for(self._receive(request, body), _PATIENCE)
    except asyncio.TimeoutError:
      raise errors.Refused(
        "TOO_SLOW", f"request: expected within {_PATIENCE} s, received a part"
      ) from None
    except requests.ClientDisconnect:
      raise errors.given_up() from None

  async def _receive(self, request, body):
    async for part in request.stream():
      body += part
      self._held += len(part)
      if len(body) > self._max_bytes:
        raise errors.Refused(
          "TOO_LARGE", f"request: expected at most {self._max_bytes:,} bytes, received more"
        )
      if self._held > _AT_ONCE * self._max_bytes:
        raise errors.Refused(
          "RESOURCE_EXHAUSTED", "too many large requests come at once: ask again later"
        )


def _address(request):
  """The model's name, and the version's number or None."""
  version = request.path_params.get("version")
  if version is not None and not (version.isascii() and version.isdecimal() and len(version) < 20):
    raise errors.Refused("NOT_FOUND", f"version: expected a number, received {version[:60]!r}")
  return request.path_params["name"], None if version is None else int(version)


def _parsed(content):
  """(`instances` or `inputs`, the signature's name, {input: value}) of a request's bytes."""
  try:
    body = json.loads(content)
  except (ValueError, RecursionError):
    raise errors.invalid("request", "JSON", repr(content[:60])) from None
  if not isinstance(body, dict):
    raise errors.invalid("request", "a JSON object", type(body).__name__)
  signature = body.get("signature_name", "")
  if not isinstance(signature, str):
    raise errors.invalid("signature_name", "a string", json.dumps(signature)[:60])
  form, inputs = _inputs(body)
  return form, signature, inputs


def _inputs(body):
  """`instances` or `inputs`, and {input: value} of either; a value alone is of the only input, "" here."""
  form = "instances" if "instances" in body else "inputs"
  if form not in body or {"instances", "inputs"} <= set(body):
    raise errors.invalid("request", "either instances or inputs", ", ".join(body) or "neither")
  try:
    given = rest.columns(body[form]) if form == "instances" else body[form]
    given = given if isinstance(given, dict) else {"": given}
    return form, {name: _decoded(name or form, value) for name, value in given.items()}
  except ValueError as error:
    raise errors.Refused("INVALID_ARGUMENT", str(error)) from None
  except RecursionError:
    raise errors.invalid(form, "lists", "such as are nested too deep") from None


def _decoded(name, value):
  try:
    return rest.decoded(value)
  except ValueError as error:
    raise settings.InputError(name, f"{error}") from None


def _response(form, found):
  encoded = {name: rest.encoded(value) for name, value in found.items()}
  if form == "instances":
    return _Json({"predictions": rest.rows(encoded)})
  return _Json({"outputs": next(iter(encoded.values())) if len(encoded) == 1 else encoded})


async def _refused(request, error):
  del request
  return _Json({"error": error.message}, status_code=error.http_status)


async def _plain(request, error):
  return _Json(
    {"error": f"{request.method} {request.url.path}: {error.detail}"}, status_code=error.status_code
  )


async def _failed(request, error):
  del request
  return _Json({"error": f"{type(error).__name__}: {str(error)[:200]}"}, status_code=500)
