"""Clients of TensorFlow Serving, by gRPC and by REST: arrays in, arrays out, with time-outs and retries."""

import contextlib
import re
from typing import NamedTuple
import urllib.parse

import grpc
import httpx
import numpy as np
import tenacity
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2
from tensorflow_serving.apis import prediction_service_pb2_grpc

from iddpm_tf.serving import messages
from iddpm_tf.serving import rest

_MESSAGE_BYTES = 2**30  # gRPC's own limit is 4 MB, less than a hundred 64x64 images and their like.
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
      stop=tenacity.stop_after_attempt(self.attempts),
      retry=tenacity.retry_if_exception_type(Busy),
      wait=tenacity.wait_exponential(multiplier=0.5, max=30) + tenacity.wait_random(0, 0.5),
      reraise=True,
    )
    return retrying(function, *arguments)


class _Client(contextlib.AbstractContextManager):
  """`with` closes it."""

  def __exit__(self, *_):
    self.close()


class GrpcClient(_Client):
  """By gRPC: 127.0.0.1:8500."""

  def __init__(self, address, model, *, version=None, patience=Patience()):
    """Makes it; nothing is asked yet.

    Args:
      address: HOST:PORT.
      model: the servable's name.
      version: a number; None: the newest.
      patience: `Patience`.

    Raises:
      ServingError: the address is none.
    """
    _require_address(address)
    self._channel = grpc.insecure_channel(
      address,
      options=[
        ("grpc.max_receive_message_length", _MESSAGE_BYTES),
        ("grpc.max_send_message_length", _MESSAGE_BYTES),
      ],
    )
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
    return {
      name: tuple(sorted(one.inputs))
      for name, one in found.signature_def.items()
      if not name.startswith("__")
    }

  def predict(self, signature, arrays):
    """{name: array [N, ...]} -> the same of the outputs.

    Raises:
      ServingError: the server refused.
    """
    request = messages.predict_request(self._model, signature, arrays)
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
      # What is too large today is too large tomorrow.
      kind = (
        Busy
        if error.code() in _BUSY and "larger than max" not in (error.details() or "")
        else ServingError
      )
      raise kind(f"{self._address}: {error.code().name}: {error.details()}") from None


class RestClient(_Client):
  """By REST: http://127.0.0.1:8501."""

  def __init__(self, url, model, *, version=None, patience=Patience()):
    """The same, of a URL without a path; `ServingError` for what is none."""
    version = "" if version is None else f"/versions/{version}"
    _require_url(url)
    self._url, self._patience = (
      f"{url.rstrip('/')}/v1/models/{urllib.parse.quote(model, safe='')}{version}",
      patience,
    )
    self._http = httpx.Client(timeout=patience.timeout)

  def signatures(self):
    """As `GrpcClient.signatures`."""
    answer = self._patience.ask(self._call, "GET", "/metadata")
    try:
      found = answer["metadata"]["signature_def"]["signature_def"]
      return {
        name: tuple(sorted(of.get("inputs", {})))
        for name, of in found.items()
        if not name.startswith("__")
      }
    except (AttributeError, KeyError, TypeError):
      raise self._strange(answer) from None

  def predict(self, signature, arrays):
    """As `GrpcClient.predict`; numbers come as int64, PNG files as bytes."""
    body = {
      "signature_name": signature,
      "inputs": {name: array.tolist() for name, array in arrays.items()},
    }
    answer = self._patience.ask(self._call, "POST", ":predict", body)
    try:
      outputs = answer["outputs"]
      outputs = (
        outputs if isinstance(outputs, dict) else {"": outputs}
      )  # An only output comes without its name.
      return {name: np.array(rest.decoded(value)) for name, value in outputs.items()}
    except (KeyError, TypeError, ValueError):
      raise self._strange(answer) from None

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
    except (
      httpx.RequestError
    ) as error:  # Such as of bytes that are not of the encoding that they claim.
      raise ServingError(f"{self._url}: {error}") from None
    try:
      answer = response.json()
    except (ValueError, RecursionError):
      answer = response.text
    if response.is_success:
      return answer
    said = answer["error"] if isinstance(answer, dict) and "error" in answer else str(answer)[:200]
    kind = Busy if response.status_code in _BUSY_HTTP else ServingError
    raise kind(f"{self._url}: {response.status_code}: {said}")

  def _strange(self, answer):
    return ServingError(
      f"{self._url}: expected an answer of TensorFlow Serving, received {str(answer)[:100]!r}"
    )


def _require_address(address):
  found = re.fullmatch(r"(?:\[[0-9A-Fa-f:.]+\]|[^][\s:/@]+):([0-9]{1,5})", address)
  if not found or not 0 < int(found[1]) < 2**16:  # gRPC would take another port.
    raise ServingError(f"expected HOST:PORT, received {address}")


def _require_url(url):
  try:
    parts = urllib.parse.urlsplit(url)
    # The port of what is no number is a `ValueError`.
    whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    httpx.URL(url)
  except (ValueError, httpx.InvalidURL):
    whole = False
  if not whole:
    raise ServingError(f"expected http://HOST:PORT or https://HOST:PORT, received {url}")


def batches(client, signature, seeds, labels=None, *, batch_size=8):
  """Images of seeds, in requests of `batch_size`: an image is the same in any.

  Args:
    client: a `GrpcClient` or a `RestClient`.
    signature: one whose output is `image`, or serving_default.
    seeds: int64 [N].
    labels: int32 [N], or None for a model without classes.
    batch_size: images a request.

  Yields:
    The positions that came, a slice of N, and their images, uint8 [B, H, W, C].

  Raises:
    ServingError: the server refused, or is not one of TensorFlow Serving's.
  """
  for start in range(0, len(seeds), batch_size):
    part = slice(start, min(start + batch_size, len(seeds)))
    arrays = {"seed": np.asarray(seeds[part], np.int64)}
    if labels is not None:
      arrays["label"] = np.asarray(labels[part], np.int32)
    found = list(client.predict(signature, arrays).values())
    if not _are_images(found, len(arrays["seed"])):
      raise ServingError(
        f"{signature}: expected images of 256 levels alone, [{len(arrays['seed'])}, H, W, C], received "
        f"{', '.join(f'{array.dtype} {list(array.shape)}' for array in found)}"
      )
    yield part, found[0].astype(np.uint8)


def _are_images(arrays, count):
  if len(arrays) != 1 or arrays[0].dtype.kind not in "iu":
    return False
  (images,) = arrays
  return (
    images.ndim == 4
    and len(images) == count
    and images.size > 0
    and images.min() >= 0
    and images.max() < 256
  )


def draw(client, signature, seeds, labels=None, *, batch_size=8):
  """All images of `batches`: uint8 [N, H, W, C]."""
  return np.concatenate(
    [images for _, images in batches(client, signature, seeds, labels, batch_size=batch_size)]
  )
