"""What samples are compared by: functions of uint8 images to features, of any network."""

import hashlib
import pathlib
from typing import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from iddpm_tf import settings
from iddpm_tf.data.records import shards
from iddpm_tf.evaluation import digits_classifier
from iddpm_tf.evaluation.feature_extractors import inception

DIGITS = "digits"


class Features(NamedTuple):
  """Of a batch of images, float32."""

  pool: np.ndarray  # [B, D]: what FID, precision and recall compare.
  spatial: np.ndarray | None  # [B, S]: with places, what sFID compares.
  probabilities: np.ndarray | None  # [B, K]: a classifier's p(y|x), for the Inception Score.


class Extractor(NamedTuple):
  """A feature extractor: a function, and what tells it from another one."""

  name: str
  checksum: str  # SHA-256 of its file or files.
  image_shape: (
    tuple  # (H, W, C) of the images that it takes, None for any; with 3 channels grey ones, too.
  )
  extract: Callable[[np.ndarray], Features]  # Of uint8 [B, H, W, C].

  def __call__(self, images):
    return self.extract(images)

  def require_shape(self, shape):
    """`ValueError` unless it takes images of `shape` (H, W, C)."""
    *sizes, channels = self.image_shape
    fits = all(own in (None, size) for own, size in zip(sizes, shape)) and shape[-1] in (
      1,
      channels,
    )
    if not fits:
      raise settings.InputError(
        "features",
        f"expected a network for images of {_size(shape)}, received {self.name}, "
        f"which takes {_size(self.image_shape)}",
      )


def load(text):
  """The `Extractor` of `digits`, of a frozen Inception graph (`*.pb`) or of a SavedModel (a folder).

  A SavedModel's `serving_default` takes `image` uint8 [N, H, W, 3] and gives `pool` [N, D], and perhaps
  `spatial` [N, ...] and `probabilities` [N, K].

  Raises:
    ValueError: there is none, or it is something else; in one line.
  """
  if text == DIGITS:
    return _digits()
  path = pathlib.Path(text)
  if path.is_dir():
    return _saved_model(path)
  if path.is_file():
    return _extractor(path.name, [path], inception.IMAGE_SHAPE, inception.load(path))
  raise settings.InputError(
    "features",
    f"expected 'digits', a SavedModel's folder, or the path of the Inception graph, "
    f"received {text}, which does not exist; the graph is at {inception.URL}",
  )


def for_images(text, shape):
  """The `Extractor` of `--features`, or without it the digits' for images as small, for images of `shape`."""
  if text is None:
    if tuple(shape) != digits_classifier.IMAGE_SHAPE:
      raise settings.InputError(
        "features",
        f"expected the path of the Inception graph for images of {_size(shape)}, "
        f"received none; it is at {inception.URL}",
      )
    text = DIGITS
  extractor = load(text)
  extractor.require_shape(shape)
  try:
    extractor(np.zeros([2, *shape], np.uint8))
  except tf.errors.OpError as error:
    raise settings.InputError(
      "features",
      f"expected a network that takes images of {_size(shape)}, received {text}, which "
      f"fails on them ({str(error).splitlines()[0]})",
    ) from None
  return extractor


def _digits():
  model = digits_classifier.load()

  spec = tf.TensorSpec([None, *digits_classifier.IMAGE_SHAPE], tf.uint8)

  @tf.function(autograph=False, input_signature=[spec])
  def run(images):
    pool, spatial, logits = model(tf.cast(images, tf.float32) / 127.5 - 1.0, training=False)
    return {"pool": pool, "spatial": spatial, "probabilities": tf.nn.softmax(logits)}

  return _extractor(DIGITS, [digits_classifier.WEIGHTS], digits_classifier.IMAGE_SHAPE, run)


def _saved_model(folder):
  try:
    loaded = tf.saved_model.load(folder)
    run = loaded.signatures["serving_default"]
  except (OSError, KeyError, ValueError, tf.errors.OpError) as error:
    raise settings.InputError(
      "features",
      f"expected a SavedModel with serving_default, received {folder} "
      f"({str(error).splitlines()[0]})",
    ) from None
  inputs = run.structured_input_signature[1]
  outputs = run.structured_outputs
  spec = inputs.get("image")
  if (
    len(inputs) != 1
    or spec is None
    or spec.dtype != tf.uint8
    or spec.shape.rank != 4
    or spec.shape[-1] not in (1, 3)
    or "pool" not in outputs
  ):
    raise settings.InputError(
      "features",
      f"expected a SavedModel of 'image' uint8 [N, H, W, 3] to 'pool' [N, D], "
      f"received {folder}, of {', '.join(map(str, inputs.values()))} to {', '.join(outputs)}",
    )
  files = sorted(path for path in folder.rglob("*") if path.is_file())

  def call(images):
    return run(image=images)

  call.loaded = loaded  # It owns the variables.
  return _extractor(folder.name, files, tuple(spec.shape[1:]), call)


def _extractor(name, files, image_shape, run):
  """Of a graph function of uint8 [B, H, W, C] to a dictionary by the names of `Features`."""

  def extract(images):
    if images.shape[-1] != image_shape[-1]:
      images = np.repeat(images, 3, axis=-1)  # Grey, to a network of colours.
    found = run(tf.constant(images))
    return Features(
      *(_flat(found[part], len(images)) if part in found else None for part in Features._fields)
    )

  def _flat(value, count):
    if not value.dtype.is_floating or value.shape.rank < 2 or value.shape[0] != count:
      raise settings.InputError(
        "features",
        f"expected a network of floating-point numbers [N, ...] of N images, received "
        f"{name}, of {value.dtype.name} {value.shape.as_list()} of {count}",
      )
    return value.numpy().reshape(count, -1)

  return Extractor(name, _checksum(files), image_shape, extract)


def _checksum(files):
  """SHA-256 of one file, or of the checksums of several."""
  checksums = [shards.checksum(path) for path in files]
  return (
    checksums[0] if len(checksums) == 1 else hashlib.sha256("".join(checksums).encode()).hexdigest()
  )


def _size(shape):
  return "x".join("any" if size is None else str(size) for size in shape)
