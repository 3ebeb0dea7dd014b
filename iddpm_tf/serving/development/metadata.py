"""What a servable takes and gives, and how its versions stand, as the protocol has them."""

import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import get_model_metadata_pb2
from tensorflow_serving.apis import get_model_status_pb2

_METHOD = "tensorflow/serving/predict"


def of_servable(servable):
  """A `SignatureDefMap`."""
  found = get_model_metadata_pb2.SignatureDefMap()
  for name, function in servable.signatures.items():
    inputs = {spec.name: spec for spec in tf.nest.flatten(function.structured_input_signature)}
    found.signature_def[name].CopyFrom(meta_graph_pb2.SignatureDef(
        inputs={key: _info(f"{name}_{key}:0", spec) for key, spec in inputs.items()},
        outputs={key: _info(f"{name}_{key}:0", spec) for key, spec in function.structured_outputs.items()},
        method_name=_METHOD))
  return found


def outputs(servable, signature):
  """Names of a signature's outputs."""
  return tuple(servable.signature(signature).structured_outputs)


def status(states):
  """A `GetModelStatusResponse` of {version: state}."""
  response = get_model_status_pb2.GetModelStatusResponse()
  for version, state in states.items():
    one = response.model_version_status.add(
        version=version, state=get_model_status_pb2.ModelVersionStatus.State.Value(state))
    one.status.error_code = 0
  return response


def _info(name, spec):
  return meta_graph_pb2.TensorInfo(name=name, dtype=spec.dtype.as_datatype_enum, tensor_shape=spec.shape.as_proto())
