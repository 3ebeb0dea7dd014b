"""Messages of TensorFlow Serving's gRPC protocol."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2


def predict_request(
  model: str, signature: str, arrays: Mapping[str, np.ndarray]
) -> predict_pb2.PredictRequest:
  """Returns a request for the outputs of a signature.

  Args:
    model: the model's name.
    signature: the signature's name, or "" for the default signature.
    arrays: `{input: array [N, ...]}`.
  """
  request = predict_pb2.PredictRequest()
  request.model_spec.name, request.model_spec.signature_name = model, signature
  for name, array in arrays.items():
    request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
  return request
