"""Networks and samplers as graphs: seeds, labels and small images in, images out."""

from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf.data import images as images_lib
from iddpm_tf.diffusion import ensembles
from iddpm_tf.diffusion import gaussian_diffusion
from iddpm_tf.diffusion.samplers import base as samplers
from iddpm_tf.diffusion.samplers import loop
from iddpm_tf.models import inference

# Streams of the noise. In one stream, the upsampler's noise would begin with the base model's.
_BASE_STREAM, _UPSAMPLER_STREAM = range(2)


class Ends(NamedTuple):
  """A second network for the first and the last timesteps (Appendix D)."""

  network: keras.Model  # A built network.
  steps: int  # The number of timesteps at either end.


class ImageSampler(tf.Module):
  """Draws uint8 images. Each depends only on its own seed, label and low-resolution image.

  Python, the commands, the grids in TensorBoard and exported models all run this graph, so the same
  seed gives the same image everywhere.

  Attributes:
    config: the configuration of the model.
    sampler: the `Sampler`.
    begun_steps: the variable that counts the steps, or None.
    draw: the graph function from the inputs of `input_signature` to uint8 `[N, H, W, C]`.
  """

  def __init__(
    self,
    config: config_lib.Config,
    network: keras.Model,
    sampler: samplers.Sampler,
    *,
    ends: Ends | None = None,
    on_step: Callable[[int], object] | tf.Variable | None = None,
    on_end: Callable[[list[int]], object] | None = None,
  ):
    """Prepares the graph, which is traced when it first draws.

    Args:
      config: the configuration of the model.
      network: its built network. The sampler tracks its variables.
      sampler: the rule for each step.
      ends: a second network for the first and the last timesteps.
      on_step: a Python function that is called with the number of finished steps; a sampler with
        one cannot be exported. Or an int64 variable, to which each step that begins adds 1.
      on_end: a Python function that is called with the numbers of a `loop.OutOfRange` after each
        batch. A sampler with one cannot be exported.

    Raises:
      InputError: the model has fewer timesteps than the sampler takes.
    """
    super().__init__(name="image_sampler")
    self.config, self.sampler = config, sampler
    self.diffusion = sampler.respace(gaussian_diffusion.make_diffusion(config.diffusion))
    # Keras layers are no modules: a SavedModel holds their variables only if they are listed.
    self.weights = [variable.value for variable in network.trainable_variables]
    self._network = _Untracked(network)
    self._ends = _Untracked(ends)
    self.ends_weights = (
      [variable.value for variable in ends.network.trainable_variables] if ends else []
    )
    self.begun_steps = on_step if isinstance(on_step, tf.Variable) else None
    self._on_step = _step_callback(on_step)
    self._on_end = loop.python_callback(on_end) if on_end else None
    self.draw = tf.function(
      lambda *inputs: images_lib.to_uint8(self._samples(*inputs).image),
      input_signature=self.input_signature(),
      autograph=False,
    )

  @property
  def class_names(self) -> tuple[str, ...]:
    """The names of the classes by number; empty where they are unknown, or there are none."""
    return self.config.class_names

  def input_signature(self) -> list[tf.TensorSpec]:
    """Returns the inputs: `seed`, `label` for a model with classes, `low_res` for an upsampler."""
    signature = [_SEED]
    if self.config.num_classes:
      signature.append(_LABEL)
    if self.config.low_res_shape:
      shape = [None, *self.config.low_res_shape]
      signature.append(tf.TensorSpec(shape, tf.uint8, name="low_res"))
    return signature

  def frames(self, count: int, *inputs: tf.Tensor) -> tf.Tensor:
    """Returns `count` evenly spaced x_t from noise to the image: uint8 `[N, count, H, W, C]`."""
    trajectory = self._samples(*inputs, trajectory=True).trajectory
    last = self.diffusion.num_timesteps
    chosen = [round(i * last / (count - 1)) for i in range(count)]
    return images_lib.to_uint8(tf.stack([trajectory[k] for k in chosen], axis=1))

  def from_latents(self, latents: tf.Tensor, *inputs: tf.Tensor) -> tf.Tensor:
    """Returns the images of latents x_T, float32 `[N, H, W, C]`: uint8 of the same shape.

    Args:
      latents: values of x_T, in place of the noise that the seeds would give for it.
      *inputs: the inputs of `input_signature`.
    """
    return images_lib.to_uint8(self._samples(*inputs, latents=latents).image)

  def _samples(self, seed, *conditioning, trajectory=False, latents=None):
    """Maps int64 [N], int32 [N] and uint8 [N, h, w, C] to `Samples`."""
    names = (spec.name for spec in self.input_signature()[1:])
    given = dict(zip(names, conditioning))
    seed = _of_one_length(seed, **given)
    label, low_res = given.get("label"), given.get("low_res")
    if label is not None:
      label = _checked(label, self.config.num_classes)
    if low_res is not None:
      low_res = images_lib.to_unit_range(low_res)
    stream = _BASE_STREAM if low_res is None else _UPSAMPLER_STREAM
    noise_fn = loop.seeded_noise(seed, self.config.image_shape, stream)

    def hold_to_low_res(x_start):
      return images_lib.with_low_resolution(x_start, low_res)

    options = loop.LoopOptions(
      clip=self.config.sampling.clip_denoised,
      constrain=hold_to_low_res if self.config.sampling.consistent else None,
      trajectory=trajectory,
      dynamic_threshold=self.config.sampling.dynamic_threshold,
      on_step=self._on_step,
      on_end=self._on_end,
      start=latents,
    )
    return loop.draw(
      self._model_fn(label, low_res), self.diffusion, self.sampler, noise_fn, options
    )

  def _model_fn(self, label, low_res):
    middle_fn = inference.make_model_fn(self._network.value, label, low_res)
    ends = self._ends.value
    if ends is None:
      return middle_fn
    ends_fn = inference.make_model_fn(ends.network, label, low_res)
    return ensembles.ends_and_middle(ends_fn, middle_fn, self.diffusion, ends.steps)


class TwoStageSampler(tf.Module):
  """Draws images with a base model and enlarges them with a super-resolution model (Appendix C).

  The images between the two have 256 levels, so the chain draws what the two stages draw one after
  the other.

  Attributes:
    base: the `ImageSampler` of the base model.
    upsampler: the `ImageSampler` of the super-resolution model.
    sampler: the `Sampler` of the base model.
    draw: the graph function from the inputs of `input_signature` to uint8 `[N, H, W, C]`.
  """

  def __init__(self, base: ImageSampler, upsampler: ImageSampler):
    """Prepares the graph. The upsampler has the classes of the base model, or none."""
    super().__init__(name="two_stage_sampler")
    self.base, self.upsampler = base, upsampler
    self.sampler = base.sampler
    self.draw = tf.function(self._draw, input_signature=self.input_signature(), autograph=False)

  @property
  def class_names(self) -> tuple[str, ...]:
    """The names of the classes of the base model by number."""
    return self.base.class_names

  def input_signature(self) -> list[tf.TensorSpec]:
    """Returns the inputs, which are those of the base model."""
    return self.base.input_signature()

  def frames(self, count: int, *inputs: tf.Tensor) -> tf.Tensor:
    """Returns `count` evenly spaced x_t of the second stage: uint8 `[N, count, H, W, C]`."""
    return self.upsampler.frames(count, *self._upsampler_inputs(*inputs))

  def _draw(self, *inputs):
    """Maps int64 [N] and int32 [N] to uint8 [N, H, W, C]."""
    return self.upsampler.draw(*self._upsampler_inputs(*inputs))

  def _upsampler_inputs(self, *inputs):
    # An upsampler without classes takes no labels.
    return *inputs[: 2 if self.upsampler.config.num_classes else 1], self.base.draw(*inputs)


_SEED = tf.TensorSpec([None], tf.int64, name="seed")
_LABEL = tf.TensorSpec([None], tf.int32, name="label")


class _Untracked:
  """Hides a Keras model from `tf.Module`: a SavedModel would trace the model, and fail."""

  def __init__(self, value):
    self.value = value


def _step_callback(on_step):
  """Returns the `on_step` of the loop for that of an `ImageSampler`, or None."""
  if isinstance(on_step, tf.Variable):
    return lambda done: on_step.assign_add(1)
  return None if on_step is None else loop.python_callback(on_step)


def _of_one_length(seed, **others):
  """Returns the seeds, checked in the graph: there are some, and as many of every other input."""
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
  """Returns the labels, checked in the graph: all are classes of the model."""
  in_range = tf.reduce_all((label >= 0) & (label < num_classes))
  message = [f"label: expected 0 to {num_classes - 1}, received", label]
  with tf.control_dependencies([tf.debugging.Assert(in_range, message)]):
    return tf.identity(label)
