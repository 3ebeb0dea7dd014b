"""Trained networks and samplers as graph functions: seeds, labels and small images in, images out."""

from typing import Any
from typing import NamedTuple

import tensorflow as tf

from iddpm_tf.data import images as images_lib
from iddpm_tf.diffusion import ensembles
from iddpm_tf.diffusion import process as process_lib
from iddpm_tf.diffusion import samplers
from iddpm_tf.networks.stateless import call_network

# Of the noise: were it one, the upsampler's would begin with the base model's.
_BASE_STREAM, _UPSAMPLER_STREAM = range(2)


class Ends(NamedTuple):
  """A second network for the first and the last timesteps (Appendix D)."""

  network: Any  # Built.
  steps: int  # At either end.


class ImageSampler(tf.Module):
  """Draws uint8 images, each a function of its own seed, label and low-resolution image alone.

  `trainers.sample`, the grids in TensorBoard and the exported servable all are this graph, so the
  same seed gives the same image everywhere.
  """

  def __init__(self, config, network, spec, *, ends=None, weights=None, progress=None):
    """Makes the sampler.

    Args:
      config: a `Config`.
      network: its built network. It is closed over; its variables are tracked here.
      spec: a `SamplerSpec`; `ValueError` if the model has fewer steps.
      ends: `Ends`, or None.
      weights: values in place of the network's trainable variables, such as moving averages.
      progress: called in Python with the steps done, in each step; not for export.
    """
    super().__init__(name="image_sampler")
    self.config, self.spec = config, spec
    self.process = spec.respace(process_lib.make_process(config.diffusion))
    # Keras layers are no modules: the variables must be listed for a SavedModel to hold them.
    self.weights = list(weights or [v.value for v in network.trainable_variables])
    self._network = _Untracked(network)
    self._ends = _Untracked(ends)
    self.ends_weights = [v.value for v in ends.network.trainable_variables] if ends else []
    self._options = samplers.Options(
      clip=config.sampling.clip_denoised,
      progress=samplers.python_progress(progress) if progress else None,
    )
    self.draw = tf.function(
      lambda *inputs: images_lib.to_uint8(self._samples(*inputs).image),
      input_signature=self.input_signature(),
      autograph=False,
    )

  def input_signature(self):
    """`seed`, `label` if the model has classes, and `low_res` if it enlarges images: `tf.TensorSpec`s."""
    signature = [_SEED]
    if self.config.num_classes:
      signature.append(_LABEL)
    if self.config.low_res_shape:
      signature.append(tf.TensorSpec([None, *self.config.low_res_shape], tf.uint8, name="low_res"))
    return signature

  def frames(self, count, *inputs):
    """`count` x_t from noise to the image, evenly spaced and both included: uint8 [N, count, H, W, C]."""
    trajectory = self._samples(*inputs, trajectory=True).trajectory
    last = self.process.num_timesteps
    chosen = [round(i * last / (count - 1)) for i in range(count)]
    return images_lib.to_uint8(tf.stack([trajectory[k] for k in chosen], axis=1))

  def _samples(self, seed, *conditioning, trajectory=False):
    """int64 [N], int32 [N], uint8 [N, h, w, C] -> `samplers.Samples`."""
    given = dict(zip((spec.name for spec in self.input_signature()[1:]), conditioning))
    seed = _of_one_length(seed, **given)
    label, low_res = given.get("label"), given.get("low_res")
    if label is not None:
      label = _checked(label, self.config.num_classes)
    if low_res is not None:
      low_res = images_lib.to_unit_range(low_res)

    denoise_fn = self._denoise_fn(label, low_res)
    noise_fn = samplers.seeded_noise(
      seed, self.config.data.image_shape, _BASE_STREAM if low_res is None else _UPSAMPLER_STREAM
    )
    options = self._options._replace(trajectory=trajectory)
    if self.config.sampling.consistent:
      options = options._replace(
        constrain=lambda x_start: images_lib.with_low_resolution(x_start, low_res)
      )
    return samplers.draw(
      denoise_fn, self.process, self.config.diffusion, self.spec, noise_fn, options
    )

  def _denoise_fn(self, label, low_res):
    def of(network, weights):
      return lambda x_t, t: call_network(network, x_t, t, label, low_res=low_res, weights=weights)

    middle_fn, ends = of(self._network.value, self.weights), self._ends.value
    if ends is None:
      return middle_fn
    return ensembles.ends_and_middle(
      of(ends.network, self.ends_weights),
      middle_fn,
      self.process,
      self.config.diffusion,
      ends.steps,
    )


class TwoStageSampler(tf.Module):
  """A base model's images, enlarged by a super-resolution model: Appendix C's chain as one graph.

  The images between the two have 256 levels: the chain draws what the stages draw one after the other.
  """

  def __init__(self, base, upsampler):
    """Of two `ImageSampler`s: the second enlarges the first's images and has its classes, or none."""
    super().__init__(name="two_stage_sampler")
    self.base, self.upsampler = base, upsampler
    self.spec = base.spec
    self.draw = tf.function(self._draw, input_signature=self.input_signature(), autograph=False)

  def input_signature(self):
    """The base model's."""
    return self.base.input_signature()

  def frames(self, count, *inputs):
    """`ImageSampler.frames` of the second stage."""
    return self.upsampler.frames(count, *self._of_upsampler(*inputs))

  def _draw(self, *inputs):
    """int64 [N], int32 [N] -> uint8 [N, H, W, C]."""
    return self.upsampler.draw(*self._of_upsampler(*inputs))

  def _of_upsampler(self, *inputs):
    # It may be blind to the classes; where it is not, the base model has the same ones.
    return *inputs[: 2 if self.upsampler.config.num_classes else 1], self.base.draw(*inputs)


_SEED = tf.TensorSpec([None], tf.int64, name="seed")
_LABEL = tf.TensorSpec([None], tf.int32, name="label")


class _Untracked:
  """Holds a Keras model where `tf.Module` would track it: a SavedModel would trace it, and fail."""

  def __init__(self, value):
    self.value = value


def _of_one_length(seed, **others):
  """The seeds; an `InvalidArgumentError` in words unless there are some, and as many of everything."""
  count = tf.size(seed)
  checks = [tf.debugging.Assert(count > 0, ["seed: expected 1 or more, received none"])]
  checks += [
    tf.debugging.Assert(
      tf.equal(tf.shape(value)[0], count),
      [f"{name}: expected as many as seeds, which are", count, "received", tf.shape(value)[0]],
    )
    for name, value in others.items()
  ]
  with tf.control_dependencies(checks):
    return tf.identity(seed)


def _checked(label, num_classes):
  """The labels; an `InvalidArgumentError` that names the range if one is outside it."""
  in_range = tf.reduce_all((label >= 0) & (label < num_classes))
  check = tf.debugging.Assert(
    in_range, [f"label: expected 0 to {num_classes - 1}, received", label]
  )
  with tf.control_dependencies([check]):
    return tf.identity(label)
