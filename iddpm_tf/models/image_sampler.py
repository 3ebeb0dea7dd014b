"""Networks and samplers as graphs: seeds, labels and small images in, images out."""

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.data import images as images_lib
from iddpm_tf.diffusion import ensembles
from iddpm_tf.diffusion import gaussian_diffusion
from iddpm_tf.diffusion import guidance
from iddpm_tf.diffusion.samplers import base as samplers
from iddpm_tf.diffusion.samplers import ddim
from iddpm_tf.diffusion.samplers import known_pixels
from iddpm_tf.diffusion.samplers import loop
from iddpm_tf.models import inference

# What `frames` can show of each step.
FRAMES = ("x_t", "x_start")
# Streams of the noise. In one stream, the upsampler's noise would begin with the base model's.
_BASE_STREAM, _UPSAMPLER_STREAM = range(2)
_EDITING_STREAMS = 2  # Added to these, for the noise of what is known of an image.


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
  """

  def __init__(
    self,
    config: config_lib.Config,
    network: keras.Model,
    sampler: samplers.Sampler,
    *,
    ends: Ends | None = None,
    classifier: guidance.Classifier | None = None,
    on_step: Callable[[int], object] | tf.Variable | None = None,
    on_end: Callable[[list[int]], object] | None = None,
  ):
    """Prepares the graph, which is traced when it first draws.

    Args:
      config: the configuration of the model.
      network: its built network. The sampler tracks its variables.
      sampler: the rule for each step.
      ends: a second network for the first and the last timesteps.
      classifier: a classifier of noisy images, which guides the images to their classes.
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
    self._classifier = _Untracked(classifier)
    self.classifier_weights = list(classifier.variables) if classifier else []
    self.begun_steps = on_step if isinstance(on_step, tf.Variable) else None
    self._on_step = _step_callback(on_step)
    self._on_end = loop.python_callback(on_end) if on_end else None
    # Graph functions, which a SavedModel would trace and hold a second time beside its signatures.
    self._draw = _Untracked(
      tf.function(
        lambda *inputs: self._to_uint8(self._samples(*inputs).image),
        input_signature=self.input_signature(),
        autograph=False,
      )
    )
    self._edits = _Untracked({})  # By their `Resampling`.
    self._interpolate = _Untracked(None)

  @property
  def draw(self) -> Callable[..., tf.Tensor]:
    """The graph function from the inputs of `input_signature` to uint8 `[N, H, W, C]`."""
    return self._draw.value

  @property
  def class_names(self) -> tuple[str, ...]:
    """The names of the classes by number; empty where they are unknown, or there are none."""
    if self.config.num_classes:
      return self.config.class_names
    return getattr(self._classifier.value, "class_names", ())

  def input_signature(self) -> list[tf.TensorSpec]:
    """Returns the inputs of `draw`.

    They are `seed`; `label` for a model with classes, or with a classifier; `low_res` for an
    upsampler; `guidance_scale` for a model that was trained with hidden labels; and
    `classifier_scale` with a classifier.
    """
    signature = [_SEED]
    if self._num_labels:
      signature.append(_LABEL)
    if self.config.low_res_shape:
      shape = [None, *self.config.low_res_shape]
      signature.append(tf.TensorSpec(shape, tf.uint8, name="low_res"))
    if self.config.network.label_dropout:
      signature.append(tf.TensorSpec([None], tf.float32, name="guidance_scale"))
    if self._classifier.value:
      signature.append(tf.TensorSpec([None], tf.float32, name="classifier_scale"))
    return signature

  def edit_signature(self) -> list[tf.TensorSpec]:
    """Returns the inputs of `edit`: those of `draw`, then `image`, `mask` and `strength`."""
    height, width, channels = self.config.image_shape
    return [
      *self.input_signature(),
      tf.TensorSpec([None, height, width, channels], tf.uint8, name="image"),
      tf.TensorSpec([None, height, width, 1], tf.uint8, name="mask"),
      tf.TensorSpec([None], tf.float32, name="strength"),
    ]

  def arrays(self, inputs: Mapping[str, np.ndarray | None]) -> list[np.ndarray]:
    """Returns the inputs of `draw` in order. Scales that are not given are the configuration's."""
    values = []
    for spec in self.input_signature():
      value = inputs.get(spec.name)
      if value is None and spec.name in config_lib.SCALES:
        scale = getattr(self.config.sampling, spec.name)
        value = np.full(len(_required(inputs, "seed")), scale, np.float32)
      values.append(_required(inputs, spec.name) if value is None else value)
    return values

  def edit(
    self, *inputs: tf.Tensor, resampling: known_pixels.Resampling = known_pixels.NO_RESAMPLING
  ) -> tf.Tensor:
    """Returns pictures of which a part is drawn anew, uint8 `[N, H, W, C]`.

    Pixels whose mask is 128 or more are drawn, the others keep their values. With a strength below
    1, drawing begins with the picture and the noise of a later step, so that it stays similar.

    Args:
      *inputs: the inputs of `edit_signature`.
      resampling: how often drawing goes back, so that new pixels fit the known ones.

    Raises:
      InputError: the sampler keeps something from step to step, and cannot go back.
    """
    if resampling not in self._edits.value:
      self.require_resampling(resampling)
      self._edits.value[resampling] = tf.function(
        # To the nearest level in any case, so that known pixels keep their values.
        lambda *inputs: images_lib.to_uint8(self._edited(*inputs, resampling=resampling).image),
        input_signature=self.edit_signature(),
        autograph=False,
      )
    return self._edits.value[resampling](*inputs)

  @property
  def can_interpolate(self) -> bool:
    """Whether the sampler has latents: DDIM with eta = 0, of a model that enlarges no images."""
    is_ddim = isinstance(self.sampler, ddim.DDIM) and not self.sampler.is_stochastic
    return is_ddim and not self.config.low_res_shape

  def interpolation_signature(self) -> list[tf.TensorSpec]:
    """Returns the inputs of `interpolate`: two images, a weight, and the label if there is one."""
    shape = [None, *self.config.image_shape]
    return [
      tf.TensorSpec(shape, tf.uint8, name="image"),
      tf.TensorSpec(shape, tf.uint8, name="other_image"),
      tf.TensorSpec([None], tf.float32, name="weight"),
      *([_LABEL] if self.config.num_classes else []),
    ]

  def interpolate(self, *inputs: tf.Tensor) -> tf.Tensor:
    """Returns images between two pictures, through their latents: uint8 `[N, H, W, C]`.

    A weight of 0 gives nearly the first picture, and 1 nearly the other one (Song et al., 2020,
    section 5.3). There is no guidance.

    Args:
      *inputs: the inputs of `interpolation_signature`.
    """
    assert self.can_interpolate, "a sampler without latents"
    if self._interpolate.value is None:
      self._interpolate.value = tf.function(
        self._between_pictures, input_signature=self.interpolation_signature(), autograph=False
      )
    return self._interpolate.value(*inputs)

  def require_resampling(self, resampling: known_pixels.Resampling) -> None:
    """Raises an `InputError` if drawing is to go back, and the sampler cannot."""
    steps = self.diffusion.num_timesteps
    settings.require(
      resampling.times == 1 or resampling.length < steps,
      "resample_length",
      f"fewer than the {steps} steps of {self.sampler.to_text()}",
      resampling.length,
    )
    settings.require(
      resampling.times == 1 or not self.sampler.has_memory,
      "resample_times",
      f"1 for {self.sampler.to_text()}, which cannot go back; ancestral and ddim can",
      resampling.times,
    )

  def frames(self, count: int, *inputs: tf.Tensor, of: str = "x_t") -> tf.Tensor:
    """Returns `count` evenly spaced steps of drawing: uint8 `[N, count, H, W, C]`.

    Args:
      count: the number of steps to show, 2 or more.
      *inputs: the inputs of `input_signature`.
      of: one of `FRAMES`: x_t, from noise to the image; or x_start, the predicted x_0 of each
        evaluation of the network.
    """
    evaluations = len(self.sampler.schedule(self.diffusion))
    if of == "x_t":
      steps, last = self._samples(*inputs, trajectory=True).trajectory, evaluations
    else:
      steps, last = self._samples(*inputs, predictions=True).predictions, evaluations - 1
    chosen = [round(i * last / (count - 1)) for i in range(count)]
    return self._to_uint8(tf.stack([steps[k] for k in chosen], axis=1))

  def from_latents(self, latents: tf.Tensor, *inputs: tf.Tensor) -> tf.Tensor:
    """Returns the images of latents x_T, float32 `[N, H, W, C]`: uint8 of the same shape.

    Args:
      latents: values of x_T, in place of the noise that the seeds would give for it.
      *inputs: the inputs of `input_signature`.
    """
    return self._to_uint8(self._samples(*inputs, latents=latents).image)

  def _to_uint8(self, image):
    return images_lib.to_uint8(image, truncate=self.config.sampling.truncate)

  @property
  def _num_labels(self):
    """The number of classes that labels choose from; 0 for a sampler without labels."""
    classifier = self._classifier.value
    return self.config.num_classes or (classifier.num_classes if classifier else 0)

  def _between_pictures(self, image, other, weight, *labels):
    count = tf.shape(image)[0]
    pairs = {"other_image": other, "weight": weight, **dict(zip(("label",), labels))}
    weight = _of_one_length(weight, image=image, **pairs)
    label = _checked(labels[0], self.config.num_classes) if labels else None
    twice = None if label is None else tf.concat([label, label], axis=0)
    pictures = images_lib.to_unit_range(tf.concat([image, other], axis=0))
    options = loop.LoopOptions(
      clip=self.config.sampling.clip_denoised,
      dynamic_threshold=self.config.sampling.dynamic_threshold,
      on_step=self._on_step,
    )
    latents = loop.encode(self._unguided(twice), self.diffusion, pictures, options).image
    start = _between(latents[:count], latents[count:], weight)
    options = dataclasses.replace(options, start=start)
    samples = loop.draw(self._unguided(label), self.diffusion, self.sampler, tf.zeros_like, options)
    # To the nearest level in any case: at a weight of 0 or 1, a picture is to stay as it is.
    return images_lib.to_uint8(samples.image)

  def _edited(self, *inputs, resampling):
    *conditioning, image, mask, strength = inputs
    seed = _of_one_length(conditioning[0], image=image, mask=mask, strength=strength)
    in_range = tf.reduce_all((strength > 0) & (strength <= 1))
    message = ["strength: expected a share above 0 and at most 1, received", strength]
    with tf.control_dependencies([tf.debugging.Assert(in_range, message)]):
      strength = tf.identity(strength)
    stream = _EDITING_STREAMS + self._stream
    known = known_pixels.Known(
      images_lib.to_unit_range(image),
      mask >= 128,
      strength,
      loop.seeded_noise(seed, self.config.image_shape, stream),
      resampling,
    )
    return self._samples(seed, *conditioning[1:], known=known)

  @property
  def _stream(self):
    return _UPSAMPLER_STREAM if self.config.low_res_shape else _BASE_STREAM

  def _samples(self, seed, *conditioning, latents=None, known=None, **kept):
    """Maps the inputs of `input_signature` to `Samples`; `kept` says of what it keeps each step."""
    names = (spec.name for spec in self.input_signature()[1:])
    given = dict(zip(names, conditioning))
    seed = _of_one_length(seed, **given)
    label, low_res = given.get("label"), given.get("low_res")
    if label is not None:
      label = given["label"] = _checked(label, self._num_labels)
    if low_res is not None:
      low_res = given["low_res"] = images_lib.to_unit_range(low_res)
    for name in given.keys() & set(config_lib.SCALES):
      given[name] = _finite(name, given[name])
    noise_fn = loop.seeded_noise(seed, self.config.image_shape, self._stream)

    def hold_to_low_res(x_start):
      return images_lib.with_low_resolution(x_start, low_res)

    options = loop.LoopOptions(
      clip=self.config.sampling.clip_denoised,
      constrain=hold_to_low_res if self.config.sampling.consistent else None,
      **kept,
      dynamic_threshold=self.config.sampling.dynamic_threshold,
      on_step=self._on_step,
      on_end=self._on_end,
      start=latents,
      known=known,
      classifier_gradient=self._classifier_gradient(given),
    )
    return loop.draw(self._model_fn(given), self.diffusion, self.sampler, noise_fn, options)

  def _classifier_gradient(self, given):
    classifier = self._classifier.value
    if classifier is None:
      return None
    return guidance.classifier_gradient(classifier, given["label"], given["classifier_scale"])

  def _model_fn(self, given):
    middle_fn = self._guided(self._network.value, given)
    ends = self._ends.value
    if ends is None:
      return middle_fn
    ends_fn = self._guided(ends.network, given)
    return ensembles.ends_and_middle(ends_fn, middle_fn, self.diffusion, ends.steps)

  def _unguided(self, label):
    given = {} if label is None else {"label": label}
    return self._model_fn(given)

  def _guided(self, network, given):
    """Returns a network as a function of x_t and t, with guidance if the model knows any."""
    label = given.get("label") if self.config.num_classes else None
    low_res = given.get("low_res")
    if "guidance_scale" not in given:
      return inference.make_model_fn(network, label, low_res)
    return guidance.classifier_free(
      inference.make_labelled_model_fn(network, low_res),
      self.diffusion,
      label=label,
      no_label=self.config.num_classes,
      scale=given["guidance_scale"],
      interval=self.config.sampling.guidance_interval or None,
    )


class TwoStageSampler(tf.Module):
  """Draws images with a base model and enlarges them with a super-resolution model (Appendix C).

  The images between the two have 256 levels, so the chain draws what the two stages draw one after
  the other.

  Attributes:
    base: the `ImageSampler` of the base model.
    upsampler: the `ImageSampler` of the super-resolution model.
    sampler: the `Sampler` of the base model.
  """

  def __init__(self, base: ImageSampler, upsampler: ImageSampler):
    """Prepares the graph. The upsampler has the classes of the base model, or none."""
    super().__init__(name="two_stage_sampler")
    self.base, self.upsampler = base, upsampler
    self.sampler = base.sampler
    # Hidden as in `ImageSampler`.
    self._draw = _Untracked(
      tf.function(self._chain, input_signature=self.input_signature(), autograph=False)
    )

  @property
  def draw(self) -> Callable[..., tf.Tensor]:
    """The graph function from the inputs of `input_signature` to uint8 `[N, H, W, C]`."""
    return self._draw.value

  @property
  def class_names(self) -> tuple[str, ...]:
    """The names of the classes of the base model by number."""
    return self.base.class_names

  def input_signature(self) -> list[tf.TensorSpec]:
    """Returns the inputs, which are those of the base model."""
    return self.base.input_signature()

  def frames(self, count: int, *inputs: tf.Tensor, of: str = "x_t") -> tf.Tensor:
    """Returns evenly spaced steps of the second stage; see `ImageSampler.frames`."""
    return self.upsampler.frames(count, *self._upsampler_inputs(*inputs), of=of)

  def _chain(self, *inputs):
    """Maps the inputs of `input_signature` to uint8 [N, H, W, C]."""
    return self.upsampler.draw(*self._upsampler_inputs(*inputs))

  def _upsampler_inputs(self, *inputs):
    given = dict(zip((spec.name for spec in self.input_signature()), inputs))
    values = []
    for spec in self.upsampler.input_signature():
      if spec.name == "low_res":
        values.append(self.base.draw(*inputs))
      elif spec.name in given:
        values.append(given[spec.name])
      else:  # A scale that the base model does not have.
        scale = getattr(self.upsampler.config.sampling, spec.name)
        values.append(tf.fill(tf.shape(given["seed"]), scale))
    return values


_SEED = tf.TensorSpec([None], tf.int64, name="seed")
_LABEL = tf.TensorSpec([None], tf.int32, name="label")


def _between(first, second, weight):
  """Returns points on the arcs between latents `[N, H, W, C]` at weights `[N]`."""
  weight = weight[:, None, None, None]  # [N, 1, 1, 1]

  def dot(a, b):
    return tf.reduce_sum(a * b, axis=[1, 2, 3], keepdims=True)

  cosine = dot(first, second) / tf.sqrt(dot(first, first) * dot(second, second))
  # Latents that are nearly the same lie on a line.
  angle = tf.maximum(tf.acos(tf.clip_by_value(cosine, -1.0, 1.0)), 1e-3)
  parts = tf.sin((1.0 - weight) * angle), tf.sin(weight * angle)
  return (parts[0] * first + parts[1] * second) / tf.sin(angle)


class _Untracked:
  """Hides a value from `tf.Module`. A SavedModel would trace a Keras model, and fail."""

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


def _required(inputs, name):
  value = inputs.get(name)
  assert value is not None, f"no {name}"
  return value


def _finite(name, scale):
  """Returns a scale, checked in the graph."""
  is_finite = tf.reduce_all(tf.math.is_finite(scale))
  message = [f"{name}: expected finite numbers, received", scale]
  with tf.control_dependencies([tf.debugging.Assert(is_finite, message)]):
    return tf.identity(scale)


def _checked(label, num_classes):
  """Returns the labels, checked in the graph: all are classes of the model."""
  in_range = tf.reduce_all((label >= 0) & (label < num_classes))
  message = [f"label: expected 0 to {num_classes - 1}, received", label]
  with tf.control_dependencies([tf.debugging.Assert(in_range, message)]):
    return tf.identity(label)
