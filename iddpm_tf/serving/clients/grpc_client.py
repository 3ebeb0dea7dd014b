"""A client by gRPC."""

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2
from tensorflow_serving.apis import model_pb2
from tensorflow_serving.apis import prediction_service_pb2_grpc

from iddpm_tf.serving import messages
from iddpm_tf.serving.clients import addresses
from iddpm_tf.serving.clients import base

_MAX_MESSAGE_BYTES = 2**30  # The default, 4 MB, holds 341 RGB images of 64x64 pixels.
_BUSY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)


class GrpcClient(base.Client):
  """A client by gRPC."""

  def __init__(
    self,
    address: str,
    model: str,
    *,
    version: int | None = None,
    retry: base.RetryPolicy = base.DEFAULT_RETRY,
  ):
    """Makes the client. Nothing is sent yet.

    Args:
      address: `HOST:PORT`, such as `127.0.0.1:8500`.
      model: the name of the model.
      version: the version of the model, or None for the newest version.
      retry: the time limit and the number of attempts.

    Raises:
      InputError: the address is not valid.
    """
    addresses.require_address(address)
    self._channel = grpc.insecure_channel(
      address,
      options=[
        ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
      ],
    )
    self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
    self._address, self._model, self._version, self._retry = address, model, version, retry

  def signatures(self) -> dict[str, tuple[str, ...]]:
    """Returns the names of the inputs of each signature."""
    return {
      name: tuple(sorted(signature.inputs))
      for name, signature in self._signatures().items()
      if not name.startswith("__")  # TensorFlow's own signatures.
    }

  def input_shapes(self, signature: str) -> dict[str, tuple[int | None, ...]]:
    """Returns the shape of each input of a signature by name; None is any size."""
    inputs = self._signatures()[signature].inputs
    return {
      name: base.shape_of(dim.size for dim in info.tensor_shape.dim)
      for name, info in inputs.items()
    }

  def _signatures(self) -> Mapping[str, Any]:
    """Returns the signatures as the server describes them, by name."""
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    self._set_model(request.model_spec)
    response = self._retry.call(self._call, self._stub.GetModelMetadata, request)
    content = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(content)
    return content.signature_def

  def predict(self, signature: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the outputs of a signature, `{output: array [N, ...]}`."""
    request = messages.predict_request(self._model, signature, arrays)
    self._set_model(request.model_spec)
    response = self._retry.call(self._call, self._stub.Predict, request)
    return {name: tf.make_ndarray(value) for name, value in response.outputs.items()}

  def close(self) -> None:
    """Ends the connection."""
    self._channel.close()

  def _set_model(self, spec: model_pb2.ModelSpec) -> None:
    spec.name = self._model
    if self._version is not None:
      spec.version.value = self._version

  def _call(self, method: Callable[..., Any], request: Any) -> Any:
    try:
      return method(request, timeout=self._retry.timeout)
    except grpc.RpcError as error:
      # A message that is too large is also reported as RESOURCE_EXHAUSTED, and always will be.
      is_busy = error.code() in _BUSY and "larger than max" not in (error.details() or "")
      kind = base.BusyError if is_busy else base.ServingError
      raise kind(f"{self._address}: {error.code().name}: {error.details()}") from None
