"""Warm-up records: requests that a server replays before a version answers, so that its first request is fast."""

import pathlib

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from iddpm_tf import settings
from iddpm_tf.serving import messages

FILE = "tf_serving_warmup_requests"  # In assets.extra.
_MOST = 1000  # Records that a server takes.


def write(extra, model, signatures, batches):
  """Writes a request of so many images for each signature.

  Args:
    extra: the folder assets.extra.
    model: name of the servable.
    signatures: {name: concrete function}.
    batches: numbers of images; none: no file.
  """
  requests = [
    messages.predict_request(model, name, example(inputs(function), count))
    for count in batches
    for name, function in sorted(signatures.items())
  ]
  if len(requests) > _MOST:
    raise settings.InputError(
      "warmup", f"expected at most {_MOST} records, received {len(requests)}"
    )
  if requests:
    with tf.io.TFRecordWriter(str(pathlib.Path(extra) / FILE)) as file:
      for one in requests:
        log = prediction_log_pb2.PredictionLog(
          predict_log=prediction_log_pb2.PredictLog(request=one)
        )
        file.write(log.SerializeToString())


def read(version):
  """The requests (`PredictRequest`) of a version's folder."""
  path = pathlib.Path(version) / "assets.extra" / FILE
  if not path.exists():
    return []
  logs = (
    prediction_log_pb2.PredictionLog.FromString(record.numpy())
    for record in tf.data.TFRecordDataset(str(path))
  )
  return [log.predict_log.request for log in logs]


def example(specs, count):
  """Arrays of zeros for {input: `tf.TensorSpec`}: {input: array [count, ...]}."""
  return {
    name: np.zeros([count, *spec.shape[1:]], spec.dtype.as_numpy_dtype)
    for name, spec in specs.items()
  }


def inputs(function):
  """{name: `tf.TensorSpec`} of a signature."""
  return {spec.name: spec for spec in tf.nest.flatten(function.structured_input_signature)}
