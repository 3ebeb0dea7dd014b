"""The Inception graph of 2015, by whose features the field reports FID (`classify_image_graph_def.pb`)."""

from google.protobuf import message
import tensorflow as tf

from iddpm_tf import settings

URL = "https://openaipublic.blob.core.windows.net/diffusion/jul-2021/ref_batches/classify_image_graph_def.pb"
IMAGE_SHAPE = (None, None, 3)
_IMAGE, _POOL, _SPATIAL, _LOGITS = (
  "ExpandDims:0",
  "pool_3:0",
  "mixed_6/conv:0",
  "softmax/logits/MatMul",
)
_SPATIAL_CHANNELS = 7  # Of 768: what sFID takes.


def load(path):
  """uint8 [B, H, W, 3] -> pool [B, 2048], spatial [B, 17, 17, 7] and probabilities [B, 1008], as a graph.

  The graph resizes the images to 299x299 itself. `ValueError`, of `--features`, for any other file.
  """
  graph_def = tf.compat.v1.GraphDef()
  try:
    graph_def.ParseFromString(path.read_bytes())
  except (message.DecodeError, OSError) as error:
    raise settings.InputError(
      "features",
      f"expected the Inception graph, received {path}, which cannot be read "
      f"({error}); it is at {URL}",
    ) from None
  nodes = {node.name: node for node in graph_def.node}
  wanted = [name.split(":")[0] for name in (_IMAGE, _POOL, _SPATIAL, _LOGITS)]
  if missing := [
    name for name in wanted if name not in nodes or name == _LOGITS and len(nodes[name].input) < 2
  ]:
    raise settings.InputError(
      "features",
      f"expected the Inception graph, received {path}, which lacks "
      f"{', '.join(missing)}; it is at {URL}",
    )
  for node in graph_def.node:
    # They say one image a batch.
    node.attr.pop("_output_shapes", None)
  imported = _imported(path, graph_def, softmax_weights=nodes[_LOGITS].input[1].split(":")[0])

  @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)])
  def run(images):
    pool, spatial, weights = imported(tf.cast(images, tf.float32))
    # Without the biases of the logits, as the score is reported (Salimans et al. 2016).
    logits = tf.matmul(tf.reshape(pool, [tf.shape(images)[0], tf.shape(weights)[0]]), weights)
    return {
      "pool": pool,
      "spatial": spatial[..., :_SPATIAL_CHANNELS],
      "probabilities": tf.nn.softmax(logits),
    }

  return run


def _imported(path, graph_def, softmax_weights):
  """A function of float [B, H, W, 3] in [0, 255] to the graph's pool, spatial features and softmax weights."""

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
