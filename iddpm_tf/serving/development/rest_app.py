"""REST: predict, metadata and status as TensorFlow Serving answers them, and the page at `/`."""

import asyncio
from concurrent import futures
from importlib import resources
import json

from google.protobuf import json_format
from starlette import applications
from starlette import responses
from starlette import routing

from iddpm_tf.serving import rest
from iddpm_tf.serving.development import errors
from iddpm_tf.serving.development import metadata


def make_app(predictor, max_bytes):
  """The ASGI application."""
  app = _App(predictor, max_bytes)
  of_model = "/v1/models/{name:str}"
  of_version = of_model + "/versions/{version:int}"
  routes = [routing.Route("/", app.page), routing.Route("/models", app.models)]
  for path in (of_version, of_model):
    routes += [routing.Route(f"{path}:predict", app.predict, methods=["POST"]),
               routing.Route(f"{path}/metadata", app.metadata), routing.Route(path, app.status)]
  return applications.Starlette(routes=routes, exception_handlers={
      errors.Refused: _refused, 404: _plain, 405: _plain, 500: _failed})


class _App:

  def __init__(self, predictor, max_bytes):
    self._predictor, self._models, self._max_bytes = predictor, predictor.models, max_bytes

  async def page(self, request):
    del request
    return responses.HTMLResponse((resources.files(__package__) / "page.html").read_text())

  async def models(self, request):
    """What the page offers."""
    del request
    return responses.JSONResponse({"max_batch": self._predictor.max_batch, "models": [
        _offered(servable) for servable in self._models.all()]})

  async def status(self, request):
    states = self._models.states(request.path_params["name"], request.path_params.get("version"))
    return responses.JSONResponse(json_format.MessageToDict(
        metadata.status(states), preserving_proto_field_name=True, always_print_fields_with_no_presence=True))

  async def metadata(self, request):
    servable = self._models.get(request.path_params["name"], request.path_params.get("version"))
    return responses.JSONResponse({
        "model_spec": {"name": servable.name, "signature_name": "", "version": str(servable.version)},
        "metadata": {"signature_def": json_format.MessageToDict(
            metadata.of_servable(servable), preserving_proto_field_name=True)}})

  async def predict(self, request):
    servable = self._models.get(request.path_params["name"], request.path_params.get("version"))
    body = await self._json(request)
    form, inputs = _inputs(body)
    signature = body.get("signature_name") or ""
    if not isinstance(signature, str):
      raise errors.invalid("signature_name", "a string", signature)
    future = self._predictor.submit(servable, signature, inputs)
    found = await self._answer(request, future)
    # JSON of large images takes a while: others are answered meanwhile.
    return await asyncio.to_thread(_response, form, found)

  async def _answer(self, request, future):
    """What a future gives; who no longer waits is not drawn for."""
    waiting = asyncio.wrap_future(future)
    try:
      while not waiting.done():
        await asyncio.wait([waiting], timeout=1.0)
        if await request.is_disconnected():
          future.cancel()
          raise errors.Refused("UNAVAILABLE", "the request was given up")
      return waiting.result()
    except (futures.CancelledError, asyncio.CancelledError):
      raise errors.Refused("UNAVAILABLE", "the request was given up") from None

  async def _json(self, request):
    body = b""
    async for part in request.stream():
      body += part
      if len(body) > self._max_bytes:
        raise errors.Refused("TOO_LARGE", f"request: expected at most {self._max_bytes:,} bytes, received more")
    try:
      value = json.loads(body)
    except (ValueError, RecursionError):
      raise errors.invalid("request", "JSON", repr(body[:60])) from None
    if not isinstance(value, dict):
      raise errors.invalid("request", "a JSON object", type(value).__name__)
    return value


def _inputs(body):
  """`instances` or `inputs`, and {input: value} of either; a value alone is of the only input, "" here."""
  form = "instances" if "instances" in body else "inputs"
  if form not in body or {"instances", "inputs"} <= set(body):
    raise errors.invalid("request", "either instances or inputs", ", ".join(body) or "neither")
  try:
    given = rest.columns(body[form]) if form == "instances" else body[form]
    given = given if isinstance(given, dict) else {"": given}
    return form, {name: rest.decoded(value) for name, value in given.items()}
  except ValueError as error:
    raise errors.Refused("INVALID_ARGUMENT", str(error)) from None


def _response(form, found):
  encoded = {name: rest.encoded(value) for name, value in found.items()}
  if form == "instances":
    return responses.JSONResponse({"predictions": rest.rows(encoded)})
  return responses.JSONResponse({"outputs": next(iter(encoded.values())) if len(encoded) == 1 else encoded})


def _offered(servable):
  config = servable.config
  network, data = config.get("network", {}), config.get("data", {})
  return {"name": servable.name, "version": servable.version, "frames": servable.frames,
          "classes": data.get("num_classes", 0) if network.get("class_conditional") else 0,
          "samplers": [name.removeprefix("png_") for name in servable.signatures if name.startswith("png_")]}


async def _refused(request, error):
  del request
  return responses.JSONResponse({"error": error.message}, status_code=error.http_status)


async def _plain(request, error):
  return responses.JSONResponse({"error": f"{request.method} {request.url.path}: {error.detail}"},
                                status_code=error.status_code)


async def _failed(request, error):
  del request
  return responses.JSONResponse({"error": f"{type(error).__name__}: {str(error)[:200]}"}, status_code=500)
