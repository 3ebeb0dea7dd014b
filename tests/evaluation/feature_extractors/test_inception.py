"""Graphs in the layout of the Inception graph."""

import hashlib

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf import settings
from iddpm_tf.evaluation import features
from tests.evaluation.feature_extractors import networks


@pytest.fixture(name="path", scope="module")
def fixture_path(tmp_path_factory):
  """The path of a graph."""
  return networks.write_graph(tmp_path_factory.mktemp("graph") / "graph.pb")


@pytest.fixture(name="extractor", scope="module")
def fixture_extractor(path):
  """The extractor of the graph."""
  return features.load(str(path))


def test_a_graph_of_one_image_takes_batches_of_every_size(extractor):
  for size in (8, 11):
    images = networks.random_images(3, size)
    together = extractor(images)
    assert together.pool.shape == (3, 6) and together.spatial.shape == (3, 10 * 10 * 7)
    for i in range(3):
      alone = extractor(images[i : i + 1])
      np.testing.assert_allclose(alone.pool, together.pool[i : i + 1], rtol=1e-4, atol=1e-3)
      np.testing.assert_allclose(alone.spatial, together.spatial[i : i + 1], rtol=1e-4, atol=1e-3)


def test_probabilities_are_without_the_biases_of_the_logits(extractor):
  features = extractor(networks.random_images(4))
  logits = features.pool @ networks.WEIGHTS
  expected = np.exp(logits - logits.max(axis=1, keepdims=True))
  expected /= expected.sum(axis=1, keepdims=True)
  np.testing.assert_allclose(features.probabilities, expected, atol=1e-4)


def test_spatial_features_are_the_first_seven_channels_in_the_order_of_the_graph(path, extractor):
  images = networks.random_images(2)
  graph_def = tf.compat.v1.GraphDef.FromString(path.read_bytes())
  (kernel,) = (
    tf.make_ndarray(node.attr["value"].tensor)
    for node in graph_def.node
    if node.name == "mixed_6/kernel"
  )
  resized = tf.compat.v1.image.resize_bilinear(tf.cast(images, tf.float32), [12, 12])
  spatial = tf.nn.conv2d(resized, kernel, 1, "VALID")[..., :7]
  expected = tf.reshape(spatial, [2, -1])
  np.testing.assert_allclose(extractor(images).spatial, expected, rtol=1e-4, atol=1e-2)


def test_grey_images_are_repeated_in_all_colours(extractor):
  grey = networks.random_images(2)[..., :1]
  extractor.require_shape((8, 8, 1))
  np.testing.assert_array_equal(extractor(grey).pool, extractor(np.repeat(grey, 3, axis=-1)).pool)


def test_the_name_is_the_file_s_and_the_checksum_tells_files_apart(tmp_path, path, extractor):
  other = networks.write_graph(tmp_path / "b.pb", output_shapes=False)
  assert extractor.name == "graph.pb"
  assert extractor.checksum == hashlib.sha256(path.read_bytes()).hexdigest()
  assert extractor.checksum != features.load(str(other)).checksum


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"not a graph", b"PK\x03\x04 a zip"])
def test_other_files_are_refused(tmp_path, content):
  path = tmp_path / "bad.pb"
  path.write_bytes(content)
  with pytest.raises(
    settings.InputError, match=r"features: expected the Inception graph, received .*bad\.pb"
  ):
    features.load(str(path))


def test_a_truncated_graph_and_one_that_lacks_a_layer_are_refused(tmp_path):
  path = networks.write_graph(tmp_path / "graph.pb")
  path.write_bytes(path.read_bytes()[:-200])
  with pytest.raises(settings.InputError, match="features: expected the Inception graph"):
    features.load(str(path))
  lacking = networks.write_graph(tmp_path / "other.pb", lacking="mixed_6/conv")
  with pytest.raises(settings.InputError, match="lacks mixed_6/conv"):
    features.load(str(lacking))
