"""A version in memory, in a graph and a session of its own: what TensorFlow Serving makes of a SavedModel, too.

Once nothing refers to it the session ends and the weights go: functions of `tf.saved_model.load` would stay in the
process for good.
"""

import pathlib

import numpy as np
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf.serving import servable as servable_lib
from iddpm_tf.serving import warmup
from iddpm_tf.serving.server import errors

_INTERNAL = "__"  # Of signatures that TensorFlow adds.


class Servable:
  """A version, ready to answer."""

  def __init__(self, name, version, path):
    """Loads it.

    Args:
      name: the model's.
      version: a number.
      path: the version's folder.
    """
    self.name, self.version, self._path = name, version, pathlib.Path(path)
    graph = tf.Graph()
    self._session = tf.compat.v1.Session(graph=graph)
    with graph.as_default():
      loaded = tf.compat.v1.saved_model.load(self._session, [tf.saved_model.SERVING], str(path))
    self.signature_defs = dict(loaded.signature_def)
    self.config = _config(self._path)

  def warm_up(self):
    """Replays its warm-up records."""
    for request in warmup.read(self._path):
      self.run(
        request.model_spec.signature_name,
        {key: tf.make_ndarray(value) for key, value in request.inputs.items()},
      )

  @property
  def signatures(self):
    """Names of what can be asked for."""
    return sorted(name for name in self.signature_defs if not name.startswith(_INTERNAL))

  def signature(self, name):
    """A `SignatureDef`; `Refused` if there is none of the name. The empty one is the default's."""
    if (name or servable_lib.DEFAULT) not in self.signatures:
      raise errors.invalid("signature_name", f"one of {', '.join(self.signatures)}", name)
    return self.signature_defs[name or servable_lib.DEFAULT]

  def inputs(self, name):
    """{input: `tf.TensorSpec`} of a signature."""
    return {
      key: tf.TensorSpec(info.tensor_shape, tf.as_dtype(info.dtype), key)
      for key, info in self.signature(name).inputs.items()
    }

  def run(self, name, arrays, outputs=()):
    """{output: array} of a signature's inputs, {input: array}; of `outputs` alone where there are some."""
    of = self.signature(name)
    fetched = {key: info.name for key, info in of.outputs.items() if not outputs or key in outputs}
    found = self._session.run(
      fetched, {of.inputs[key].name: array for key, array in arrays.items()}
    )
    return {key: np.asarray(value) for key, value in found.items()}

  def described(self):
    """What a page offers of it: its name and version, how many classes, samplers, and frames of their trajectories."""
    # What enlarges images wants one.
    samplers = [
      name.removeprefix("png_")
      for name in self.signatures
      if name.startswith("png_") and set(self.inputs(name)) <= {"seed", "label"}
    ]
    shapes = [
      self.signature(name).outputs["frames"].tensor_shape.dim
      for name in self.signatures
      if name.endswith("_trajectory") and "frames" in self.signature(name).outputs
    ]
    frames = [shape[1].size for shape in shapes if len(shape) == 5]
    return {
      "name": self.name,
      "version": self.version,
      "samplers": samplers,
      "frames": max(frames, default=0),
      "classes": self.config.num_classes if self.config else 0,
    }


def _config(path):
  """The model's `Config`; None of a SavedModel that is none of ours."""
  try:
    return config_lib.Config.from_json((path / "assets.extra" / "config.json").read_text())
  except (OSError, ValueError):
    return None
