"""Small networks in the form of the files that feature extractors read."""

import numpy as np
import tensorflow as tf

RNG = np.random.default_rng(0)
WEIGHTS = RNG.standard_normal((6, 5)).astype(np.float32)


def random_images(count, size=8):
  """Returns colour images, uint8 [count, size, size, 3]."""
  return RNG.integers(0, 256, (count, size, size, 3)).astype(np.uint8)


def write_graph(path, *, lacking=None, output_shapes=True):
  """Writes a graph with the names and the shapes of the Inception graph: it resizes one image.

  Args:
    path: the file.
    lacking: the name of a layer to leave out.
    output_shapes: whether the nodes have an attribute with their shapes.
  """
  graph = tf.Graph()
  with graph.as_default():
    contents = tf.compat.v1.placeholder(tf.float32, [8, 8, 3], name="Cast")
    image = tf.expand_dims(contents, 0, name="ExpandDims")
    resized = tf.compat.v1.image.resize_bilinear(image, [12, 12], name="ResizeBilinear")
    kernel = tf.constant(RNG.standard_normal((3, 3, 3, 10)), tf.float32, name="mixed_6/kernel")
    name = "other" if lacking == "mixed_6/conv" else "mixed_6/conv"
    spatial = tf.nn.conv2d(resized, kernel, 1, "VALID", name=name)
    pooled = tf.reduce_mean(spatial, [1, 2], keepdims=True)
    pool = tf.identity(pooled[..., :6], name="pool_3")
    flat = tf.reshape(pool, [1, 6], name="pool_3/_reshape")
    logits = tf.matmul(
      flat, tf.constant(WEIGHTS, name="softmax/weights"), name="softmax/logits/MatMul"
    )
    tf.add(logits, 100.0 * tf.range(5, dtype=tf.float32), name="softmax/logits")
  graph_def = graph.as_graph_def(add_shapes=output_shapes)
  path.write_bytes(graph_def.SerializeToString())
  return path


def save_function(
  folder, function, *, variables=(), name="image", shape=(None, None, None, 3), dtype=tf.uint8
):
  """Writes a SavedModel of a function of images, which returns features by name.

  Args:
    folder: the folder of the SavedModel.
    function: the function.
    variables: the variables that it reads.
    name: the name of its argument.
    shape: the shape of the images.
    dtype: the type of the images.
  """
  module = tf.Module()
  module.variables_of_function = list(variables)
  module.function = tf.function(function, input_signature=[tf.TensorSpec(shape, dtype, name=name)])
  signatures = {"serving_default": module.function.get_concrete_function()}
  tf.saved_model.save(module, folder, signatures=signatures)
  return folder


def save_means(folder, *, output="pool", **options):
  """Writes a SavedModel whose features are twice the mean of each channel; see `save_function`."""
  scale = tf.Variable(2.0)

  def means(image):
    return {output: tf.reduce_mean(tf.cast(image, tf.float32), axis=[1, 2]) * scale}

  return save_function(folder, means, variables=[scale], **options)


def nan_means(image):
  """Returns features that are not numbers, one per channel."""
  return tf.reduce_mean(tf.cast(image, tf.float32), axis=[1, 2]) * np.nan
