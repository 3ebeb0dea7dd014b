"""Warm-up records: requests that a server replays before a new version answers.

Without them the first request would wait for TensorFlow to prepare its kernels.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import os
import pathlib
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import prediction_log_pb2

from iddpm_tf import settings
from iddpm_tf.serving import layout
from iddpm_tf.serving import messages
from iddpm_tf.utils import files

_MAX_RECORDS = 1000  # TensorFlow Serving refuses a file with more.


def write(
  assets: str | os.PathLike[str],
  model: str,
  signatures: Mapping[str, Any],
  batch_sizes: Sequence[int],
) -> None:
  """Writes one request per signature and batch size.

  Args:
    assets: the folder `assets.extra` of a version.
    model: the name of the model.
    signatures: `{name: concrete function}`.
    batch_sizes: the numbers of images. If there are none, no file is written.

  Raises:
    InputError: there are more records than a server accepts.
  """
  requests = [
    messages.predict_request(model, name, simple_arrays(input_specs(function), batch_size))
    for batch_size in batch_sizes
    for name, function in sorted(signatures.items())
  ]
  if len(requests) > _MAX_RECORDS:
    raise settings.InputError(
      "warmup",
      f"expected at most {_MAX_RECORDS} requests, received {len(batch_sizes)} batch sizes for "
      f"{len(signatures)} signatures",
    )
  if requests:
    with (
      files.whole(pathlib.Path(assets) / layout.WARMUP) as temporary,
      tf.io.TFRecordWriter(str(temporary)) as writer,
    ):
      for request in requests:
        log = prediction_log_pb2.PredictionLog(
          predict_log=prediction_log_pb2.PredictLog(request=request)
        )
        writer.write(log.SerializeToString())


def read(version: str | os.PathLike[str]) -> list[predict_pb2.PredictRequest]:
  """Returns the warm-up requests in the folder of a version."""
  path = pathlib.Path(version) / layout.ASSETS / layout.WARMUP
  if not path.exists():
    return []
  logs = (
    prediction_log_pb2.PredictionLog.FromString(record.numpy())
    for record in tf.data.TFRecordDataset(str(path))
  )
  return [log.predict_log.request for log in logs]


def simple_arrays(specs: Mapping[str, tf.TensorSpec], batch_size: int) -> dict[str, np.ndarray]:
  """Returns arrays for the inputs of a signature, `{input: array [batch_size, ...]}`.

  They are zeros, except for scales and strengths, the inputs of real numbers, which are 1.
  """
  return {
    name: np.full([batch_size, *spec.shape[1:]], spec.dtype.is_floating, spec.dtype.as_numpy_dtype)
    for name, spec in specs.items()
  }


def input_specs(function: Any) -> dict[str, tf.TensorSpec]:
  """Returns the inputs of a concrete function by name."""
  return {spec.name: spec for spec in tf.nest.flatten(function.structured_input_signature)}
