"""A client by REST. It needs no TensorFlow."""

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import TypeVar
import urllib.parse

import httpx
import numpy as np

from iddpm_tf import settings
from iddpm_tf.serving import rest_json
from iddpm_tf.serving.clients import base

T = TypeVar("T")

_BUSY = (429, 502, 503)


class RestClient(base.Client):
  """A client by REST."""

  def __init__(
    self,
    url: str,
    model: str,
    *,
    version: int | None = None,
    retry: base.RetryPolicy = base.DEFAULT_RETRY,
  ):
    """Makes the client. Nothing is sent yet.

    Args:
      url: `http://HOST:PORT` or `https://HOST:PORT`.
      model: the name of the model.
      version: the version of the model, or None for the newest version.
      retry: the time limit and the number of attempts.

    Raises:
      InputError: the URL is not valid.
    """
    _require_url(url)
    name = urllib.parse.quote(model, safe="")
    suffix = "" if version is None else f"/versions/{version}"
    self._url = f"{url.rstrip('/')}/v1/models/{name}{suffix}"
    self._retry = retry
    self._http = httpx.Client(timeout=retry.timeout)

  def signatures(self) -> dict[str, tuple[str, ...]]:
    """Returns the names of the inputs of each signature."""

    def names(signatures: dict[str, Any]) -> dict[str, tuple[str, ...]]:
      return {
        name: tuple(sorted(signature.get("inputs", {})))
        for name, signature in signatures.items()
        if not name.startswith("__")  # TensorFlow's own signatures.
      }

    return self._read_signatures(names)

  def input_shapes(self, signature: str) -> dict[str, tuple[int | None, ...]]:
    """Returns the shape of each input of a signature by name; None is any size."""

    def shapes(signatures: dict[str, Any]) -> dict[str, tuple[int | None, ...]]:
      return {
        name: base.shape_of(int(dim["size"]) for dim in info["tensor_shape"]["dim"])
        for name, info in signatures[signature]["inputs"].items()
      }

    return self._read_signatures(shapes)

  def _read_signatures(self, read: Callable[[dict[str, Any]], T]) -> T:
    """Returns what a function reads in the signatures that the server describes."""
    answer = self._retry.call(self._call, "GET", "/metadata")
    try:
      return read(answer["metadata"]["signature_def"]["signature_def"])
    except (AttributeError, KeyError, TypeError, ValueError):
      raise self._unexpected(answer) from None

  def predict(self, signature: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the outputs of a signature, `{output: array [N, ...]}`.

    JSON has no types: integers are int64, and PNG files are bytes. An only output has the name "".
    """
    body = {
      "signature_name": signature,
      "inputs": {name: array.tolist() for name, array in arrays.items()},
    }
    answer = self._retry.call(self._call, "POST", ":predict", body)
    try:
      outputs = answer["outputs"]
      if not isinstance(outputs, dict):
        outputs = {"": outputs}
      return {name: np.array(rest_json.decode(value, name)) for name, value in outputs.items()}
    except (KeyError, TypeError, ValueError):
      raise self._unexpected(answer) from None

  def close(self) -> None:
    """Ends the connection."""
    self._http.close()

  def _call(self, method: str, path: str, body: Any = None) -> Any:
    try:
      response = self._http.request(method, self._url + path, json=body)
    except httpx.TimeoutException:
      raise base.ServingError(f"{self._url}: no answer within {self._retry.timeout:g} s") from None
    except httpx.TransportError as error:
      raise base.BusyError(f"{self._url}: {error}") from None
    except httpx.RequestError as error:  # For example, content that cannot be decompressed.
      raise base.ServingError(f"{self._url}: {error}") from None
    try:
      answer = response.json()
    except (ValueError, RecursionError):
      answer = response.text
    if response.is_success:
      return answer
    has_error = isinstance(answer, dict) and "error" in answer
    message = answer["error"] if has_error else str(answer)[:200]
    kind = base.BusyError if response.status_code in _BUSY else base.ServingError
    raise kind(f"{self._url}: {response.status_code}: {message}")

  def _unexpected(self, answer: Any) -> base.ServingError:
    received = repr(str(answer)[:100])
    return base.ServingError(
      f"{self._url}: expected an answer of TensorFlow Serving, received {received}"
    )


def _require_url(url: str) -> None:
  try:
    parts = urllib.parse.urlsplit(url)
    # Reading a port that is not a number raises a `ValueError`.
    valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    httpx.URL(url)
  except (ValueError, httpx.InvalidURL):
    valid = False
  settings.require(valid, "url", "http://HOST:PORT or https://HOST:PORT", url)
