"""A trained network and a sampler as one graph function: seeds and labels in, images out."""

import tensorflow as tf

from iddpm_tf.data import images as images_lib
from iddpm_tf.diffusion import process as process_lib
from iddpm_tf.diffusion import samplers
from iddpm_tf.networks.stateless import call_network


class ImageSampler(tf.Module):
  """Draws uint8 images, each a function of its own seed and label alone.

  `trainers.sample`, the grids in TensorBoard and the exported servable all are this graph, so the
  same seed gives the same image everywhere.
  """

  def __init__(self, config, network, spec, *, weights=None, progress=None):
    """Makes the sampler.

    Args:
      config: a `Config`.
      network: its built network. It is closed over; its variables are tracked here.
      spec: a `SamplerSpec`; `ValueError` if the model has fewer steps.
      weights: values in place of the network's trainable variables, such as moving averages.
      progress: called in Python with the steps done, in each step; not for export.
    """
    super().__init__(name="image_sampler")
    self.config, self.spec = config, spec
    self.process = spec.respace(process_lib.make_process(config.diffusion))
    # Keras layers are no modules: the variables must be listed for a SavedModel to hold them.
    self.weights = list(weights or [v.value for v in network.trainable_variables])
    self._network = _Untracked(network)
    self._options = samplers.Options(
        clip=config.sampling.clip_denoised,
        progress=samplers.python_progress(progress) if progress else None)
    self.draw = tf.function(
        self._draw, input_signature=self.input_signature(), autograph=False)

  def input_signature(self):
    """Seeds, and labels if the model has classes."""
    seed = tf.TensorSpec([None], tf.int64, name="seed")
    label = tf.TensorSpec([None], tf.int32, name="label")
    return [seed, label] if self.config.num_classes else [seed]

  def _draw(self, seed, label=None):
    """int64 [N], int32 [N] -> uint8 [N, H, W, C]."""
    if label is not None:
      label = _checked(label, self.config.num_classes)

    def denoise_fn(x_t, t):
      return call_network(self._network.value, x_t, t, label, weights=self.weights)

    noise_fn = samplers.seeded_noise(seed, self.config.data.image_shape)
    samples = samplers.draw(
        denoise_fn, self.process, self.config.diffusion, self.spec, noise_fn, self._options)
    return images_lib.to_uint8(samples.image)


class _Untracked:
  """Holds a Keras model where `tf.Module` would track it: a SavedModel would trace it, and fail."""

  def __init__(self, value):
    self.value = value


def _checked(label, num_classes):
  """The labels; an `InvalidArgumentError` that names the range if one is outside it."""
  in_range = tf.reduce_all((label >= 0) & (label < num_classes))
  check = tf.debugging.Assert(in_range, [f"label: expected 0 to {num_classes - 1}, received", label])
  with tf.control_dependencies([check]):
    return tf.identity(label)
