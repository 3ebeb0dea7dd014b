"""Reads what a training wrote for TensorBoard."""

import collections

import tensorflow as tf


def _values(folder):
  """Yields the step and each value of all events of a model folder."""
  for path in sorted((folder / "tensorboard").iterdir()):
    for event in tf.compat.v1.train.summary_iterator(str(path)):
      for value in event.summary.value:
        yield event.step, value


def last_steps(folder):
  """Returns the last step of each tag."""
  return {value.tag: step for step, value in _values(folder)}


def scalars(folder):
  """Returns `{tag: {step: value}}` of all scalars."""
  scalars = collections.defaultdict(dict)
  for step, value in _values(folder):
    is_float = value.tensor.dtype == tf.float32.as_datatype_enum
    if is_float and not value.tensor.tensor_shape.dim:
      scalars[value.tag][step] = float(tf.make_ndarray(value.tensor))
  return scalars


def texts(folder):
  """Returns `{tag: {step: text}}` of all texts."""
  texts = collections.defaultdict(dict)
  for step, value in _values(folder):
    if value.tensor.dtype == tf.string.as_datatype_enum and len(value.tensor.string_val) == 1:
      texts[value.tag][step] = value.tensor.string_val[0].decode(errors="replace")
  return texts
