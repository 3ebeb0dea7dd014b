"""Models that are no longer used are freed: their networks, and the graphs that hold them."""

import gc
import weakref

import numpy as np
import tensorflow as tf

import iddpm_tf as iddpm
from iddpm_tf.utils import gradients


def are_freed(references):
  gc.collect()
  return all(reference() is None for reference in references)


def test_a_model_is_freed_after_its_use(model_dir):
  def use():
    model = iddpm.load(model_dir, progress=False)
    images = model.sample(2, sampler="ddim:2", progress=False)
    model.nll(images, [0, 1], steps=2, progress=False)
    model.encode(images, [0, 1], steps=2, progress=False)
    return [weakref.ref(model.network)]

  assert are_freed(use())


def test_an_export_is_freed_after_its_use(model_dir, tmp_path):
  def use():
    model = iddpm.load(model_dir, progress=False)
    model.export(tmp_path / "small", samplers="ddim:2", progress=False)
    exported = iddpm.load(tmp_path / "small", progress=False)
    exported.sample(2, progress=False)
    return [weakref.ref(model.network), weakref.ref(exported._loaded)]

  assert are_freed(use())


def test_graphs_with_gradients_of_their_own_are_freed():
  def trace():
    weights = tf.Variable(np.ones(3, np.float32))

    @tf.function(autograph=False)
    def step():
      with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.nn.silu(weights))
      return tape.gradient(loss, weights)

    return step, step(), weakref.ref(weights)

  with gradients.forgotten_custom_gradients():
    step, first, weights = trace()
  np.testing.assert_array_equal(step(), first)  # It goes on working.
  del step
  assert are_freed([weights])
