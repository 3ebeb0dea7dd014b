"""gRPC: PredictionService and ModelService, by the server's own definitions."""

from concurrent import futures

from google.protobuf import message
import grpc
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import get_model_metadata_pb2
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.apis import predict_pb2

from iddpm_tf import settings
from iddpm_tf.serving import servable as servable_lib
from iddpm_tf.serving.server import errors
from iddpm_tf.serving.server import metadata

_SPARE = 16  # Threads beside those that wait for images, for refusals and for metadata.


def make(predictor, host, port, max_bytes):
  """The server, yet to be started, and its port, which is `port` or, for 0, a free one.

  Raises:
    ValueError: the port is taken.
  """
  threads = predictor.max_queue + _SPARE
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
    bound = server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
  except RuntimeError:
    raise settings.InputError(
      "port", f"expected one that is free on {host}, received {port}"
    ) from None
  return server, bound


def _service(name, **methods):
  """Handlers that take bytes, so that a message that is none is refused in words."""
  return grpc.method_handlers_generic_handler(
    f"tensorflow.serving.{name}",
    {
      method: grpc.unary_unary_rpc_method_handler(
        _answer(function, kind), response_serializer=lambda response: response.SerializeToString()
      )
      for method, (function, kind) in methods.items()
    },
  )


def _answer(function, kind):
  def answer(content, context):
    try:
      return function(_parsed(kind, content), context)
    except errors.Refused as refused:
      return context.abort(grpc.StatusCode[refused.code], refused.message)

  return answer


def _parsed(kind, content):
  try:
    return kind.FromString(content)
  except message.DecodeError:
    raise errors.invalid(
      "request", f"a {kind.DESCRIPTOR.full_name}", f"{len(content)} bytes of something else"
    ) from None


class _Handlers:
  def __init__(self, predictor):
    self._predictor, self._models = predictor, predictor.models

  def predict(self, request, context):
    servable = self._models.get(*_address(request.model_spec))
    name = request.model_spec.signature_name or servable_lib.DEFAULT
    specs = servable.inputs(name)
    inputs = {key: self._array(key, value, specs) for key, value in request.inputs.items()}
    outputs, wanted = set(servable.signature(name).outputs), set(request.output_filter)
    if not wanted <= outputs:
      raise errors.invalid("output_filter", ", ".join(sorted(outputs)), ", ".join(sorted(wanted)))
    order = self._predictor.submit(servable, name, inputs, wanted)
    # Who no longer waits is not drawn for.
    if not context.add_callback(order.give_up):
      order.give_up()
    try:
      found = order.future.result()
    except futures.CancelledError:  # The server ends.
      raise errors.given_up() from None
    response = predict_pb2.PredictResponse()
    _name(response.model_spec, servable, name)
    for key, value in found.items():
      response.outputs[key].CopyFrom(tf.make_tensor_proto(value))
    return response

  def metadata(self, request, context):
    del context
    if list(request.metadata_field) != ["signature_def"]:
      raise errors.invalid(
        "metadata_field", "signature_def", ", ".join(request.metadata_field) or "none"
      )
    servable = self._models.get(*_address(request.model_spec))
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    _name(response.model_spec, servable, "")
    response.metadata["signature_def"].Pack(metadata.of_servable(servable))
    return response

  def status(self, request, context):
    del context
    return metadata.status(self._models.states(*_address(request.model_spec)))

  def _array(self, name, proto, specs):
    """Checked before it is made: a few bytes can claim a shape of gigabytes."""
    if name not in specs:
      raise errors.invalid("inputs", ", ".join(sorted(specs)), name)
    shape = [dimension.size for dimension in proto.tensor_shape.dim]
    if proto.tensor_shape.unknown_rank or min(shape, default=0) < 0:
      raise errors.invalid(name, "the shape [N, ...]", "another one")
    if proto.dtype != specs[name].dtype.as_datatype_enum:
      raise errors.invalid(name, specs[name].dtype.name, _type_name(proto.dtype))
    self._predictor.require_shape(name, shape, specs[name])
    try:
      return tf.make_ndarray(proto)
    except (KeyError, OverflowError, TypeError, ValueError):
      raise errors.invalid(
        name, "a tensor whose content is of its shape and type", "another one"
      ) from None


def _type_name(number):
  return types_pb2.DataType.Name(number) if number in types_pb2.DataType.values() else number


def _address(spec):
  if spec.WhichOneof("version_choice") == "version_label":
    raise errors.invalid("version_label", "no label", spec.version_label)
  return spec.name, spec.version.value if spec.HasField("version") else None


def _name(spec, servable, signature):
  spec.name, spec.signature_name = servable.name, signature
  spec.version.value = servable.version
