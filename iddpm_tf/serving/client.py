"""Clients of TensorFlow Serving, by gRPC and by REST: arrays in, arrays out, with time-outs and retries."""

from typing import NamedTuple

import grpc
import httpx
import numpy as np
import tenacity
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2
from tensorflow_serving.apis import prediction_service_pb2_grpc

from iddpm_tf.serving import rest
from iddpm_tf.serving import warmup

_MESSAGE_BYTES = 2 ** 30  # gRPC's own limit is 4 MB, less than a hundred 64x64 images and their like.
_BUSY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
_BUSY_HTTP = (429, 502, 503)


class ServingError(ValueError):
  """What a server answered instead of images, in its words."""


class Busy(ServingError):
  """The server is not there, or has enough to do: to be asked again later."""


class Patience(NamedTuple):
  """How long to wait for an answer, and how often to ask."""
  timeout: float = 600.0  # Seconds.
  attempts: int = 6  # The pauses between double from half a second, with jitter.

  def ask(self, function, *arguments):
    """`function(*arguments)`, again while it raises `Busy`; its last exception in the end."""
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(self.attempts), retry=tenacity.retry_if_exception_type(Busy),
        wait=tenacity.wait_exponential_jitter(initial=0.5, max=30), reraise=True)
    return retrying(function, *arguments)


class GrpcClient:
  """By gRPC: 127.0.0.1:8500."""

  def __init__(self, address, model, *, version=None, patience=Patience()):
    """Makes it; nothing is asked yet.

    Args:
      address: HOST:PORT.
      model: the servable's name.
      version: a number; None: the newest.
      patience: `Patience`.
    """
    self._channel = grpc.insecure_channel(address, options=[
        ("grpc.max_receive_message_length", _MESSAGE_BYTES), ("grpc.max_send_message_length", _MESSAGE_BYTES)])
    self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
    self._address, self._model, self._version, self._patience = address, model, version, patience

  def signatures(self):
    """{signature: names of its inputs}."""
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    self._address_model(request.model_spec)
    response = self._patience.ask(self._call, self._stub.GetModelMetadata, request)
    found = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(found)
    # Without what TensorFlow added.
    return {name: tuple(sorted(one.inputs)) for name, one in found.signature_def.items() if not name.startswith("__")}

  def predict(self, signature, arrays):
    """{name: array [N, ...]} -> the same of the outputs.

    Raises:
      ServingError: the server refused.
    """
    request = warmup.request(self._model, signature, arrays)
    self._address_model(request.model_spec)
    response = self._patience.ask(self._call, self._stub.Predict, request)
    return {name: tf.make_ndarray(value) for name, value in response.outputs.items()}

  def close(self):
    """Ends the connection."""
    self._channel.close()

  def _address_model(self, spec):
    spec.name = self._model
    if self._version is not None:
      spec.version.value = self._version

  def _call(self, method, request):
    try:
      return method(request, timeout=self._patience.timeout)
    except grpc.RpcError as error:
      kind = Busy if error.code() in _BUSY else ServingError
      raise kind(f"{self._address}: {error.code().name}: {error.details()}") from None


class RestClient:
  """By REST: http://127.0.0.1:8501."""

  def __init__(self, url, model, *, version=None, patience=Patience()):
    """The same, of a URL without a path."""
    version = "" if version is None else f"/versions/{version}"
    self._url, self._patience = f"{url.rstrip('/')}/v1/models/{model}{version}", patience
    self._http = httpx.Client(timeout=patience.timeout)

  def signatures(self):
    """As `GrpcClient.signatures`."""
    found = self._patience.ask(self._call, "GET", "/metadata")["metadata"]["signature_def"]["signature_def"]
    return {name: tuple(sorted(of.get("inputs", {}))) for name, of in found.items() if not name.startswith("__")}

  def predict(self, signature, arrays):
    """As `GrpcClient.predict`; numbers come as int64, PNG files as bytes."""
    body = {"signature_name": signature, "inputs": {name: array.tolist() for name, array in arrays.items()}}
    outputs = self._patience.ask(self._call, "POST", ":predict", body)["outputs"]
    outputs = outputs if isinstance(outputs, dict) else {"": outputs}  # An only output comes without its name.
    return {name: np.array(rest.decoded(value)) for name, value in outputs.items()}

  def close(self):
    """Ends the connection."""
    self._http.close()

  def _call(self, method, path, body=None):
    try:
      response = self._http.request(method, self._url + path, json=body)
    except httpx.TimeoutException:
      raise ServingError(f"{self._url}: no answer within {self._patience.timeout:g} s") from None
    except httpx.TransportError as error:
      raise Busy(f"{self._url}: {error}") from None
    if response.is_success:
      return response.json()
    try:
      said = response.json()["error"]
    except (ValueError, KeyError, TypeError):
      said = response.text[:200]
    kind = Busy if response.status_code in _BUSY_HTTP else ServingError
    raise kind(f"{self._url}: {response.status_code}: {said}")


def draw(client, signature, seeds, labels=None, *, batch_size=8, progress=lambda count: None):
  """Images of seeds, in requests of `batch_size`.

  Args:
    client: a `GrpcClient` or a `RestClient`.
    signature: one whose output is `image`, or serving_default.
    seeds: int64 [N].
    labels: int32 [N], or None for a model without classes.
    batch_size: images a request; an image is the same in any.
    progress: called with the number of images that came.

  Returns:
    uint8 [N, H, W, C].
  """
  images = []
  for start in range(0, len(seeds), batch_size):
    part = slice(start, start + batch_size)
    arrays = {"seed": np.asarray(seeds[part], np.int64)}
    if labels is not None:
      arrays["label"] = np.asarray(labels[part], np.int32)
    (image,) = client.predict(signature, arrays).values()
    images.append(image.astype(np.uint8))
    progress(len(image))
  return np.concatenate(images)
