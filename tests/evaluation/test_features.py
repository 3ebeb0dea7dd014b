"""Feature extractors: the digits' own, graphs in the layout of the Inception graph, and SavedModels."""

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf.data import sources
from iddpm_tf.evaluation import digits_classifier
from iddpm_tf.evaluation import features
from trainers import train_digits_classifier
from trainers.cli import command

RNG = np.random.default_rng(0)
WEIGHTS = RNG.standard_normal((6, 5)).astype(np.float32)


def colours(count, size=8):
  return RNG.integers(0, 256, (count, size, size, 3)).astype(np.uint8)


def write_graph(path, *, lacking=None, output_shapes=True):
  """A graph with the names and the odd shapes of the Inception graph: one image a batch, resized within."""
  graph = tf.Graph()
  with graph.as_default():
    contents = tf.compat.v1.placeholder(tf.float32, [8, 8, 3], name="Cast")
    image = tf.expand_dims(contents, 0, name="ExpandDims")
    resized = tf.compat.v1.image.resize_bilinear(image, [12, 12], name="ResizeBilinear")
    kernel = tf.constant(RNG.standard_normal((3, 3, 3, 10)), tf.float32, name="mixed_6/kernel")
    if lacking != "mixed_6/conv":
      spatial = tf.nn.conv2d(resized, kernel, 1, "VALID", name="mixed_6/conv")
    else:
      spatial = tf.nn.conv2d(resized, kernel, 1, "VALID", name="other")
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


def save_model(folder, *, name="image", output="pool", shape=(None, None, None, 3), dtype=tf.uint8):
  module = tf.Module()
  module.scale = tf.Variable(2.0)

  def means(image):
    return {output: tf.reduce_mean(tf.cast(image, tf.float32), axis=[1, 2]) * module.scale}

  function = tf.function(means, input_signature=[tf.TensorSpec(shape, dtype, name=name)])
  tf.saved_model.save(
    module, folder, signatures={"serving_default": function.get_concrete_function()}
  )
  return folder


def test_the_digits_classifier_recognises_digits_and_is_small():
  test = sources.load(config_lib.DataConfig(), "test")
  assert digits_classifier.accuracy(digits_classifier.load(), test.images, test.labels) > 0.97
  assert digits_classifier.WEIGHTS.stat().st_size < 300_000


def test_features_of_digits():
  images = sources.load(config_lib.DataConfig(), "test").images[:7]
  found = features.load("digits")(images)
  assert (
    found.pool.shape == (7, 64)
    and found.spatial.shape == (7, 64)
    and found.probabilities.shape == (7, 10)
  )
  np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, rtol=1e-5)
  np.testing.assert_allclose(features.load("digits")(images[3:4]).pool, found.pool[3:4], atol=1e-4)


def test_a_graph_of_one_image_takes_batches_of_any_size(tmp_path):
  extractor = features.load(str(write_graph(tmp_path / "graph.pb")))
  for size in (8, 11):
    images = colours(3, size)
    found = extractor(images)
    assert found.pool.shape == (3, 6) and found.spatial.shape == (3, 10 * 10 * 7)
    for i in range(3):
      alone = extractor(images[i : i + 1])
      np.testing.assert_allclose(alone.pool, found.pool[i : i + 1], rtol=1e-4, atol=1e-3)
      np.testing.assert_allclose(alone.spatial, found.spatial[i : i + 1], rtol=1e-4, atol=1e-3)


def test_probabilities_of_a_graph_are_without_the_logits_biases(tmp_path):
  found = features.load(str(write_graph(tmp_path / "graph.pb")))(colours(4))
  logits = found.pool @ WEIGHTS
  expected = np.exp(logits - logits.max(axis=1, keepdims=True))
  np.testing.assert_allclose(
    found.probabilities, expected / expected.sum(axis=1, keepdims=True), atol=1e-4
  )


def test_spatial_features_are_the_first_seven_channels_in_the_graphs_order(tmp_path):
  path = write_graph(tmp_path / "graph.pb")
  images = colours(2)
  found = features.load(str(path))(images)
  graph_def = tf.compat.v1.GraphDef.FromString(path.read_bytes())
  (kernel,) = (
    tf.make_ndarray(node.attr["value"].tensor)
    for node in graph_def.node
    if node.name == "mixed_6/kernel"
  )
  resized = tf.compat.v1.image.resize_bilinear(tf.cast(images, tf.float32), [12, 12])
  spatial = tf.nn.conv2d(resized, kernel, 1, "VALID")[..., :7]
  np.testing.assert_allclose(found.spatial, tf.reshape(spatial, [2, -1]), rtol=1e-4, atol=1e-2)


def test_grey_images_are_colours_to_a_network_of_colours(tmp_path):
  extractor = features.load(str(write_graph(tmp_path / "graph.pb")))
  grey = colours(2)[..., :1]
  extractor.require_shape((8, 8, 1))
  np.testing.assert_array_equal(extractor(grey).pool, extractor(np.repeat(grey, 3, axis=-1)).pool)


def test_a_saved_model(tmp_path):
  extractor = features.load(str(save_model(tmp_path / "means")))
  images = colours(3)
  np.testing.assert_allclose(extractor(images).pool, 2 * images.mean(axis=(1, 2)), rtol=1e-5)
  assert extractor(images).spatial is None and extractor.name == "means"


def test_checksums_tell_extractors_apart(tmp_path):
  one, other = (
    features.load(str(write_graph(tmp_path / name, output_shapes=shapes))).checksum
    for name, shapes in (("a.pb", True), ("b.pb", False))
  )
  assert one != other
  assert features.load(str(tmp_path / "a.pb")).checksum == one


def test_images_of_another_size_are_refused(tmp_path):
  with pytest.raises(
    ValueError, match="--features: .* 32x32x3, received digits, which takes 8x8x1"
  ):
    features.for_images("digits", (32, 32, 3))
  fixed = save_model(tmp_path / "fixed", shape=(None, 8, 8, 3))
  features.for_images(str(fixed), (8, 8, 1))
  with pytest.raises(ValueError, match="takes 8x8x3"):
    features.for_images(str(fixed), (16, 16, 3))


def test_without_features_the_error_says_where_the_graph_is():
  assert features.for_images(None, (8, 8, 1)).name == "digits"
  with pytest.raises(ValueError, match="--features: .*https://.*classify_image_graph_def.pb"):
    features.for_images(None, (32, 32, 3))
  with pytest.raises(ValueError, match="no/such.pb, which does not exist.*https://"):
    features.load("no/such.pb")


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"not a graph", b"PK\x03\x04 a zip"])
def test_files_that_are_no_graph(tmp_path, content):
  path = tmp_path / "bad.pb"
  path.write_bytes(content)
  with pytest.raises(
    ValueError, match="--features: expected the Inception graph, received .*bad.pb"
  ):
    features.load(str(path))


def test_a_truncated_graph_and_one_that_lacks_a_layer(tmp_path):
  path = write_graph(tmp_path / "graph.pb")
  path.write_bytes(path.read_bytes()[:-200])
  with pytest.raises(ValueError, match="--features: expected the Inception graph"):
    features.load(str(path))
  with pytest.raises(ValueError, match="lacks mixed_6/conv"):
    features.load(str(write_graph(tmp_path / "other.pb", lacking="mixed_6/conv")))


@pytest.mark.parametrize(
  "wrong",
  [{"name": "x"}, {"output": "features"}, {"dtype": tf.float32}, {"shape": (None, None, None, 4)}],
)
def test_saved_models_with_another_signature(tmp_path, wrong):
  with pytest.raises(ValueError, match="--features: expected a SavedModel of 'image' uint8"):
    features.load(str(save_model(tmp_path / "wrong", **wrong)))


def test_a_network_that_fails_on_the_images(tmp_path):
  module = tf.Module()
  function = tf.function(
    lambda image: {"pool": tf.reshape(tf.cast(image, tf.float32), [-1, 7])},
    input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8, name="image")],
  )
  tf.saved_model.save(
    module, tmp_path / "fails", signatures={"serving_default": function.get_concrete_function()}
  )
  with pytest.raises(
    ValueError, match="--features: .*images of 8x8x3, received .*fails.*fails on them"
  ):
    features.for_images(str(tmp_path / "fails"), (8, 8, 3))


@pytest.mark.parametrize(
  "pool",
  [
    lambda image: tf.reshape(tf.cast(image, tf.float32), [4, -1]),  # Rows of other images.
    lambda image: tf.cast(image[:, 0, 0], tf.int32),
    lambda image: tf.strings.as_string(image[:, 0, 0]),
    lambda image: tf.cast(image[:, 0, 0, 0], tf.float32),
  ],
)
def test_what_is_no_row_of_numbers_an_image(tmp_path, pool):
  function = tf.function(
    lambda image: {"pool": pool(image)},
    input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8, name="image")],
  )
  module = tf.Module()
  tf.saved_model.save(
    module, tmp_path / "odd", signatures={"serving_default": function.get_concrete_function()}
  )
  with pytest.raises(
    ValueError, match=r"--features: expected a network of floating-point numbers \[N, ...\].*odd"
  ):
    features.for_images(str(tmp_path / "odd"), (8, 8, 3))


def test_a_folder_that_is_no_saved_model(tmp_path):
  with pytest.raises(ValueError, match="--features: expected a SavedModel with serving_default"):
    features.load(str(tmp_path))


def test_the_classifier_can_be_trained_again(tmp_path):
  """By the command that made the weights of the package."""
  path = tmp_path / "weights.npz"
  assert (
    command.run(
      train_digits_classifier.main,
      train_digits_classifier.Options,
      "",
      ["train_digits_classifier", f"--output={path}"],
    )
    == 0
  )
  with np.load(path) as new, np.load(digits_classifier.WEIGHTS) as packaged:
    assert [new[name].shape for name in new.files] == [
      packaged[name].shape for name in packaged.files
    ]
  test = sources.load(config_lib.DataConfig(), "test")
  model = digits_classifier.load(path)
  assert digits_classifier.accuracy(model, test.images, test.labels) > 0.97
