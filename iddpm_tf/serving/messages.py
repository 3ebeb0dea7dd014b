"""Messages of TensorFlow Serving's protocol."""

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2


def predict_request(model, signature, arrays):
  """A `PredictRequest` of {input: array}."""
  made = predict_pb2.PredictRequest()
  made.model_spec.name, made.model_spec.signature_name = model, signature
  for name, array in arrays.items():
    made.inputs[name].CopyFrom(tf.make_tensor_proto(array))
  return made
