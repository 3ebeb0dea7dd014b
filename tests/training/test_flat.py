"""Arrays of several shapes as parts of one variable."""

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf.training import flat

SHAPES = [(3, 3, 1, 32), (6,), (10, 128), (), (64,)]
DTYPES = ["bfloat16", "float32", "float32", "bfloat16", "float32"]
LAYOUT = flat.Layout(SHAPES, DTYPES)
NAMES = ["a/kernel", "a/bias", "b/kernel", "b/bias", "c/gamma"]


def make_arrays(seed=0):
  rng = np.random.default_rng(seed)
  return [tf.constant(rng.standard_normal(shape), tf.float32) for shape in SHAPES]


def assert_equal(arrays, others):
  for array, other in zip(arrays, others, strict=True):
    assert array.shape == other.shape
    np.testing.assert_array_equal(tf.cast(array, tf.float32), tf.cast(other, tf.float32))


def test_what_was_joined_is_split():
  arrays = make_arrays()
  joined = LAYOUT.join(arrays)
  assert joined.shape == LAYOUT.flat_shape and joined.dtype == tf.float32
  assert_equal(LAYOUT.split(joined), arrays)
  flat = joined.numpy()
  assert_equal([LAYOUT.part(flat, index) for index in range(len(SHAPES))], arrays)


def test_the_padding_is_zero():
  """So the norm of all arrays in one is that of the arrays."""
  arrays = make_arrays()
  expected = sum(np.sum(np.square(array)) for array in arrays)
  np.testing.assert_allclose(np.sum(np.square(LAYOUT.join(arrays))), expected, rtol=1e-6)


def test_arrays_are_cast_to_the_types_in_which_they_are_used():
  arrays = make_arrays()
  cast = LAYOUT.split(LAYOUT.join(arrays), cast=True)
  assert [array.dtype.name for array in cast] == DTYPES
  assert_equal(cast, [tf.cast(array, dtype) for array, dtype in zip(arrays, DTYPES)])
  # Gradients come in these types.
  assert_equal(LAYOUT.split(LAYOUT.join(cast)), [tf.cast(array, tf.float32) for array in cast])


def test_a_variable_has_its_own_values():
  first = flat.FlatVariable(LAYOUT, make_arrays())
  second = flat.FlatVariable(LAYOUT)
  assert len(second) == len(SHAPES) and not np.any(second.variable)
  second.assign(first)
  first.assign(make_arrays(1))
  assert_equal(first.read(), make_arrays(1))
  assert_equal(second.read(), make_arrays())


def test_checkpoints_are_those_of_separate_variables(tmp_path):
  """So they do not depend on the layout, and files of separate variables are read."""
  ours = flat.FlatVariable(LAYOUT, make_arrays())
  separate = dict(zip(NAMES, map(tf.Variable, make_arrays())))
  paths = [
    tf.train.Checkpoint(weights=content).write(str(tmp_path / name))
    for name, content in (("ours", ours.checkpointed(NAMES)), ("separate", separate))
  ]
  names, others = (dict(tf.train.list_variables(path)) for path in paths)
  assert names == others
  for path, dtypes in zip(paths, (DTYPES, ["float32"] * len(SHAPES)), strict=True):
    restored = flat.FlatVariable(flat.Layout(SHAPES, dtypes))
    tf.train.Checkpoint(weights=restored.checkpointed(NAMES)).read(path).assert_consumed()
    assert_equal(restored.read(), make_arrays())
  for variable in separate.values():
    variable.assign(tf.zeros_like(variable))
  tf.train.Checkpoint(weights=separate).read(paths[0]).assert_consumed()
  assert_equal(list(separate.values()), make_arrays())


def test_an_array_of_another_shape_is_not_restored(tmp_path):
  wrong = {name: tf.Variable(tf.zeros([2])) for name in NAMES}
  path = tf.train.Checkpoint(weights=wrong).write(str(tmp_path / "wrong"))
  ours = flat.FlatVariable(LAYOUT, make_arrays())
  with pytest.raises(tf.errors.InvalidArgumentError, match="shape"):
    tf.train.Checkpoint(weights=ours.checkpointed(NAMES)).read(path)
  assert_equal(ours.read(), make_arrays())
