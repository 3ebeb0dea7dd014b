"""The Inception graph of 2015 (`classify_image_graph_def.pb`), the features of reported FIDs."""

from collections.abc import Mapping
import pathlib

from google.protobuf import message
import tensorflow as tf

from iddpm_tf import registries
from iddpm_tf import settings
from iddpm_tf.evaluation.feature_extractors import base

URL = (
  "https://openaipublic.blob.core.windows.net/diffusion/jul-2021/ref_batches/"
  "classify_image_graph_def.pb"
)
_IMAGE, _POOL, _SPATIAL, _LOGITS = (
  "ExpandDims:0",
  "pool_3:0",
  "mixed_6/conv:0",
  "softmax/logits/MatMul",
)
_SPATIAL_CHANNELS = 7  # The channels of 768 that sFID uses.


@registries.FEATURE_EXTRACTORS.register("inception")
class Inception(base.FeatureExtractor):
  """The Inception graph, chosen by the path of its file.

  The graph resizes images to 299x299 itself. The features are pool [B, 2048], spatial
  [B, 17 * 17 * 7] and 1008 probabilities.
  """

  accepted_texts = "the path of the Inception graph (*.pb)"

  def __init__(self, text: str):
    """Loads the graph.

    Args:
      text: the path of its file.

    Raises:
      InputError: the file holds something else.
    """
    path = pathlib.Path(text)
    graph_def = _read(path)
    logits = next(node for node in graph_def.node if node.name == _LOGITS)
    self._graph = _imported(path, graph_def, softmax_weights=logits.input[1].split(":")[0])
    self._function = tf.function(
      self._compute,
      autograph=False,
      input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)],
    )
    super().__init__(path.name, image_shape=(None, None, 3), files=[path])

  @classmethod
  def accepts(cls, text: str) -> bool:
    """Returns whether a text is the path of a `.pb` file."""
    path = pathlib.Path(text)
    return path.suffix == ".pb" and path.is_file()

  def compute(self, images: tf.Tensor) -> Mapping[str, tf.Tensor]:
    """Returns all features."""
    return self._function(images)

  def _compute(self, images):
    pool, spatial, weights = self._graph(tf.cast(images, tf.float32))
    # Without the biases of the logits, as the score is reported (Salimans et al., 2016).
    logits = tf.matmul(tf.reshape(pool, [tf.shape(images)[0], tf.shape(weights)[0]]), weights)
    return {
      "pool": pool,
      "spatial": spatial[..., :_SPATIAL_CHANNELS],
      "probabilities": tf.nn.softmax(logits),
    }


def _read(path: pathlib.Path) -> tf.compat.v1.GraphDef:
  """Returns the graph of a file, which has all layers that are needed."""
  graph_def = tf.compat.v1.GraphDef()
  try:
    graph_def.ParseFromString(path.read_bytes())
  except (message.DecodeError, OSError) as error:
    raise settings.InputError(
      "features",
      f"expected the Inception graph, received {path}, which cannot be read ({error}); it is at "
      f"{URL}",
    ) from None
  nodes = {node.name: node for node in graph_def.node}
  required = [name.split(":")[0] for name in (_IMAGE, _POOL, _SPATIAL, _LOGITS)]
  missing = [
    name
    for name in required
    if name not in nodes or (name == _LOGITS and len(nodes[name].input) < 2)
  ]
  if missing:
    raise settings.InputError(
      "features",
      f"expected the Inception graph, received {path}, which lacks {', '.join(missing)}; it is at "
      f"{URL}",
    )
  for node in graph_def.node:
    # The attribute says that there is one image per batch.
    node.attr.pop("_output_shapes", None)
  return graph_def


def _imported(path, graph_def, softmax_weights):
  """Returns a function of float [B, H, W, 3] in [0, 255].

  Its results are the pool, the spatial features and the weights of the logits.
  """

  def import_graph(images):
    return tf.graph_util.import_graph_def(
      graph_def,
      input_map={_IMAGE: images},
      name="",
      return_elements=[_POOL, _SPATIAL, f"{softmax_weights}:0"],
    )

  try:
    return tf.compat.v1.wrap_function(
      import_graph, [tf.TensorSpec([None, None, None, 3], tf.float32)]
    )
  except (ValueError, tf.errors.OpError) as error:
    raise settings.InputError(
      "features",
      f"expected the Inception graph, received {path}, which cannot be run "
      f"({str(error).splitlines()[0]}); it is at {URL}",
    ) from None
