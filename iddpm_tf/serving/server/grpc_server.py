"""The gRPC interface: PredictionService and ModelService of TensorFlow Serving."""

from collections.abc import Callable
from collections.abc import Mapping
from concurrent import futures
from typing import Any

from google.protobuf import message
import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import get_model_metadata_pb2
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.apis import model_pb2
from tensorflow_serving.apis import predict_pb2

from iddpm_tf import settings
from iddpm_tf.serving import layout
from iddpm_tf.serving.server import errors
from iddpm_tf.serving.server import loaded_servable
from iddpm_tf.serving.server import metadata as metadata_lib
from iddpm_tf.serving.server import predictor as predictor_lib
from iddpm_tf.serving.server import request_metrics

# Threads for refusals and metadata, besides the threads that wait for images.
_EXTRA_THREADS = 16


def make(
  predictor: predictor_lib.Predictor, host: str, port: int, max_bytes: int
) -> tuple[grpc.Server, int]:
  """Makes a server that is not started yet.

  Args:
    predictor: draws the images.
    host: the address to listen on.
    port: the port, or 0 for a free port.
    max_bytes: the largest size of a request.

  Returns:
    The server and its port.

  Raises:
    InputError: the port is taken.
  """
  threads = predictor.max_queue + _EXTRA_THREADS
  server = grpc.server(
    futures.ThreadPoolExecutor(threads, thread_name_prefix="grpc"),
    maximum_concurrent_rpcs=threads,
    options=[
      ("grpc.max_receive_message_length", max_bytes),
      ("grpc.max_send_message_length", -1),
      ("grpc.so_reuseport", 0),
    ],
  )
  handlers = _Handlers(predictor)
  server.add_generic_rpc_handlers(
    (
      _service(
        "PredictionService",
        Predict=(handlers.predict, predict_pb2.PredictRequest),
        GetModelMetadata=(handlers.metadata, get_model_metadata_pb2.GetModelMetadataRequest),
      ),
      _service(
        "ModelService", GetModelStatus=(handlers.status, get_model_status_pb2.GetModelStatusRequest)
      ),
    )
  )
  try:
    bound_port = server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
  except RuntimeError:
    raise settings.InputError("port", f"expected a free port of {host}, received {port}") from None
  return server, bound_port


def _service(name: str, **methods: tuple[Callable[..., Any], Any]) -> grpc.GenericRpcHandler:
  """Returns a service whose handlers parse the messages.

  gRPC's own parser would answer a malformed message without a reason.
  """
  return grpc.method_handlers_generic_handler(
    f"tensorflow.serving.{name}",
    {
      method: grpc.unary_unary_rpc_method_handler(
        _handler(function, kind), response_serializer=lambda response: response.SerializeToString()
      )
      for method, (function, kind) in methods.items()
    },
  )


def _handler(function: Callable[..., Any], kind: Any) -> Callable[..., Any]:
  def handle(content: bytes, context: grpc.ServicerContext) -> Any:
    try:
      return function(_parse(kind, content), context)
    except errors.RequestError as error:
      return context.abort(grpc.StatusCode[error.code], error.message)

  return handle


def _parse(kind: Any, content: bytes) -> Any:
  try:
    return kind.FromString(content)
  except message.DecodeError:
    raise errors.invalid_argument(
      "request", f"a {kind.DESCRIPTOR.full_name}", f"{len(content)} bytes of another kind"
    ) from None


class _Handlers:
  """The methods of both services."""

  def __init__(self, predictor: predictor_lib.Predictor):
    self._predictor, self._models = predictor, predictor.models

  def predict(
    self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
  ) -> predict_pb2.PredictResponse:
    with self._predictor.metrics.measured(request.model_spec.name, request_metrics.GRPC):
      return self._predict(request, context)

  def _predict(
    self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
  ) -> predict_pb2.PredictResponse:
    servable = self._models.get(*_model(request.model_spec))
    name = request.model_spec.signature_name or layout.DEFAULT_SIGNATURE
    specs = servable.inputs(name)
    inputs = {key: self._array(key, value, specs) for key, value in request.inputs.items()}
    known, requested = set(servable.signature(name).outputs), set(request.output_filter)
    if not requested <= known:
      raise errors.invalid_argument(
        "output_filter", ", ".join(sorted(known)), ", ".join(sorted(requested))
      )
    job = self._predictor.submit(servable, name, inputs, requested)
    # gRPC calls this when the client no longer waits. It returns False if that is so already.
    if not context.add_callback(job.cancel):
      job.cancel()
    try:
      outputs = job.future.result()
    except futures.CancelledError:  # The server stops.
      raise errors.cancelled() from None
    response = predict_pb2.PredictResponse()
    _set_model(response.model_spec, servable, name)
    for key, value in outputs.items():
      response.outputs[key].CopyFrom(tf.make_tensor_proto(value))
    return response

  def metadata(
    self, request: get_model_metadata_pb2.GetModelMetadataRequest, context: grpc.ServicerContext
  ) -> get_model_metadata_pb2.GetModelMetadataResponse:
    del context
    if list(request.metadata_field) != ["signature_def"]:
      raise errors.invalid_argument(
        "metadata_field", "signature_def", ", ".join(request.metadata_field) or "none"
      )
    servable = self._models.get(*_model(request.model_spec))
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    _set_model(response.model_spec, servable, "")
    response.metadata["signature_def"].Pack(metadata_lib.signature_map(servable))
    return response

  def status(
    self, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.ServicerContext
  ) -> get_model_status_pb2.GetModelStatusResponse:
    del context
    return metadata_lib.status(self._models.states(*_model(request.model_spec)))

  def _array(
    self, name: str, proto: tensor_pb2.TensorProto, specs: Mapping[str, tf.TensorSpec]
  ) -> np.ndarray:
    """Returns an input as an array.

    The message is checked first, because a few bytes can declare a shape of gigabytes.
    """
    if name not in specs:
      raise errors.invalid_argument("inputs", ", ".join(sorted(specs)), name)
    shape = [dimension.size for dimension in proto.tensor_shape.dim]
    if proto.tensor_shape.unknown_rank or min(shape, default=0) < 0:
      raise errors.invalid_argument(name, "the shape [N, ...]", "an unknown shape")
    if proto.dtype != specs[name].dtype.as_datatype_enum:
      raise errors.invalid_argument(name, specs[name].dtype.name, _type_name(proto.dtype))
    self._predictor.require_shape(name, shape, specs[name])
    try:
      return tf.make_ndarray(proto)
    except (KeyError, OverflowError, TypeError, ValueError):
      raise errors.invalid_argument(
        name, "content that matches the shape and the type", "other content"
      ) from None


def _type_name(number: int) -> str | int:
  return types_pb2.DataType.Name(number) if number in types_pb2.DataType.values() else number


def _model(spec: model_pb2.ModelSpec) -> tuple[str, int | None]:
  """Returns the name of the requested model, and its version if the request has one."""
  if spec.WhichOneof("version_choice") == "version_label":
    raise errors.invalid_argument("version_label", "no label", spec.version_label)
  return spec.name, spec.version.value if spec.HasField("version") else None


def _set_model(
  spec: model_pb2.ModelSpec, servable: loaded_servable.LoadedServable, signature: str
) -> None:
  spec.name, spec.signature_name = servable.name, signature
  spec.version.value = servable.version
