"""A version of a model in memory, in its own graph and session, as in TensorFlow Serving.

The session ends and the weights are freed when nothing refers to the object any longer. Functions
from `tf.saved_model.load` would stay in the process.
"""

from collections.abc import Collection
from collections.abc import Mapping
import os
import pathlib
import time
from typing import Any
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from iddpm_tf import config as config_lib
from iddpm_tf.serving import layout
from iddpm_tf.serving import made_from
from iddpm_tf.serving import warmup
from iddpm_tf.serving.server import errors

_INTERNAL_PREFIX = "__"  # TensorFlow's own signatures begin with it.


class StepCounts(NamedTuple):
  """How many steps a sampler takes."""

  begun: int  # Since the model was loaded, in all requests.
  steps: int  # In one request.


class LoadedServable:
  """A version of a model in memory.

  Attributes:
    name: the name of the model.
    version: the version.
    signature_defs: the signatures by name, including TensorFlow's own.
    config: the `Config` of the model, or None if the export has none.
  """

  def __init__(self, name: str, version: int, path: str | os.PathLike[str]):
    """Loads the version.

    Args:
      name: the name of the model.
      version: the version.
      path: the folder of the version.
    """
    self.name, self.version, self._path = name, version, pathlib.Path(path)
    graph = tf.Graph()
    self._session = tf.compat.v1.Session(graph=graph)
    with graph.as_default():
      loaded = tf.compat.v1.saved_model.load(self._session, [tf.saved_model.SERVING], str(path))
    self.signature_defs = dict(loaded.signature_def)
    self.config = _config(self._path)
    self._used: set[str] = set()  # The signatures that have run.
    # How long the newest request of each signature and number of images took.
    self._seconds: dict[tuple[str, int], float] = {}

  def warm_up(self) -> None:
    """Runs the requests of the warm-up records."""
    for request in warmup.read(self._path):
      self.run(
        request.model_spec.signature_name,
        {name: tf.make_ndarray(value) for name, value in request.inputs.items()},
      )

  @property
  def signatures(self) -> list[str]:
    """The names of the signatures, without TensorFlow's own."""
    return sorted(name for name in self.signature_defs if not name.startswith(_INTERNAL_PREFIX))

  def signature(self, name: str) -> meta_graph_pb2.SignatureDef:
    """Returns a signature.

    Args:
      name: the name, or "" for the default signature.

    Raises:
      RequestError: there is no signature with this name.
    """
    if (name or layout.DEFAULT_SIGNATURE) not in self.signatures:
      raise errors.invalid_argument("signature_name", f"one of {', '.join(self.signatures)}", name)
    return self.signature_defs[name or layout.DEFAULT_SIGNATURE]

  def inputs(self, name: str) -> dict[str, tf.TensorSpec]:
    """Returns the inputs of a signature by name."""
    return {
      key: tf.TensorSpec(info.tensor_shape, tf.as_dtype(info.dtype), key)
      for key, info in self.signature(name).inputs.items()
    }

  def run(
    self, name: str, arrays: Mapping[str, np.ndarray], outputs: Collection[str] = ()
  ) -> dict[str, np.ndarray]:
    """Runs a signature.

    Args:
      name: the name of the signature, or "" for the default signature.
      arrays: `{input: array}`.
      outputs: the names of the outputs to compute. If there are none, all outputs are computed.

    Returns:
      `{output: array}`.
    """
    signature = self.signature(name)
    fetches = {
      key: info.name for key, info in signature.outputs.items() if not outputs or key in outputs
    }
    feeds = {signature.inputs[key].name: array for key, array in arrays.items()}
    start = time.monotonic()
    results = self._session.run(fetches, feeds)
    self._note_seconds(name, arrays, time.monotonic() - start)
    return {key: np.asarray(value) for key, value in results.items()}

  def estimated_seconds(self, name: str, count: int) -> float | None:
    """Returns how long a request should take, in proportion to the earlier one of the nearest size.

    The first request of a signature also prepares its graph, and is no measure.

    Args:
      name: the name of the signature, or "" for the default signature.
      count: the number of images, 1 or more.

    Returns:
      Seconds without any wait in the queue; None if the signature has run at most once.

    Raises:
      RequestError: there is no signature with this name.
    """
    self.signature(name)
    measured = {
      size: seconds
      for (signature, size), seconds in list(self._seconds.items())
      if signature == (name or layout.DEFAULT_SIGNATURE)
    }
    if not measured:
      return None
    nearest = min(measured, key=lambda size: abs(size - count))
    return measured[nearest] * count / nearest

  def step_counts(self, name: str) -> StepCounts | None:
    """Returns how many steps the sampler of a signature has begun, also while the signature runs.

    Args:
      name: the name of the signature.

    Returns:
      None if the export does not count steps, or the signature has not the name of a sampler.
    """
    signature = self.signature_defs.get(layout.sampler_of(name) + layout.PROGRESS_SUFFIX)
    names = [layout.BEGUN_STEPS, layout.STEPS]
    if not signature or set(signature.inputs) != {"seed"} or set(names) - set(signature.outputs):
      return None
    counts = self._session.run(
      [signature.outputs[name].name for name in names], {signature.inputs["seed"].name: [0]}
    )
    return StepCounts(*(int(count[0]) for count in counts))

  def _note_seconds(self, name: str, arrays: Mapping[str, np.ndarray], seconds: float) -> None:
    name = name or layout.DEFAULT_SIGNATURE
    if name in self._used and arrays:
      self._seconds[name, len(next(iter(arrays.values())))] = seconds
    self._used.add(name)

  def description(self) -> dict[str, Any]:
    """Returns what the page shows of the model, as JSON.

    The samplers are those that draw from seeds, labels and scales, and perhaps from an image to
    enlarge. Samplers for editing also take a picture, a mask and a strength.
    """
    drawing = {"seed", "label", "low_res", *config_lib.SCALES}
    pngs = [
      name
      for name in self.signatures
      if name.startswith(layout.PNG_PREFIX) and set(self.inputs(name)) <= drawing
    ]
    prefix = layout.PNG_PREFIX + layout.EDIT_PREFIX
    edits = [name for name in self.signatures if name.startswith(prefix)]
    between = layout.PNG_PREFIX + layout.INTERPOLATE_PREFIX
    scales = {name for png in pngs for name in config_lib.SCALES if name in self.inputs(png)}
    enlarging = [self.inputs(name)["low_res"] for name in pngs if "low_res" in self.inputs(name)]
    shapes = [
      self.signature(name).outputs["frames"].tensor_shape.dim
      for name in self.signatures
      if name.endswith(layout.TRAJECTORY_SUFFIX) and "frames" in self.signature(name).outputs
    ]
    # [N, F, H, W, C]. A model of another kind may have an output of the same name.
    frames = [shape[1].size for shape in shapes if len(shape) == 5]
    labels = made_from.labels(self._path, self.config) if self.config else made_from.Labels(0, ())
    return {
      "name": self.name,
      "version": self.version,
      "samplers": [name.removeprefix(layout.PNG_PREFIX) for name in pngs],
      # (h, w, C) of the image to enlarge; empty for a model that draws from noise alone.
      "low_res": enlarging[0].shape.as_list()[1:] if enlarging else [],
      "frames": max(frames, default=0),
      "edit_samplers": [name.removeprefix(prefix) for name in edits],
      "interpolating_samplers": [
        name.removeprefix(between) for name in self.signatures if name.startswith(between)
      ],
      # (H, W, C) of the picture to edit; empty for a model that edits none.
      "image_shape": self.inputs(edits[0])["image"].shape.as_list()[1:] if edits else [],
      # The scales that the model takes, with the values of its configuration.
      "scales": {
        name: getattr(self.config.sampling, name) if self.config else 1.0 for name in sorted(scales)
      },
      "classes": labels.number,
      "class_names": list(labels.names),
    }


def _config(path: pathlib.Path) -> config_lib.Config | None:
  """Returns the configuration of a model, or None if another program has written the export."""
  try:
    return config_lib.Config.from_json(
      (path / layout.ASSETS / layout.CONFIG).read_text(encoding="utf-8")
    )
  except (OSError, ValueError):
    return None
