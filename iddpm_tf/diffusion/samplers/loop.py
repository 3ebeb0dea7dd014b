"""The loops that run a sampler from noise to images, and DDIM from images to noise.

Each loop is one loop of the graph.
"""

from collections.abc import Callable
import dataclasses
import operator
import types
from typing import Any
from typing import NamedTuple
import weakref

import tensorflow as tf

from iddpm_tf.diffusion import gaussian_diffusion
from iddpm_tf.diffusion import guidance
from iddpm_tf.diffusion.samplers import base
from iddpm_tf.diffusion.samplers import ddim
from iddpm_tf.diffusion.samplers import known_pixels

# Standard normal noise [B, H, W, C] of an int32 scalar k: x_T for k = 0, then that of the k-th
# step.
NoiseFn = Callable[[tf.Tensor], tf.Tensor]


class Samples(NamedTuple):
  """The end of a loop, and the way to it."""

  image: tf.Tensor  # [B, H, W, C], nominally in [-1, 1].
  trajectory: tf.Tensor | None  # [steps + 1, B, H, W, C] from the start of the loop on, or None.
  predictions: tf.Tensor | None = None  # [steps, B, H, W, C], the predicted x_0 of each, or None.


class OutOfRange(NamedTuple):
  """How many predicted values were outside their ranges, before they were clipped."""

  x_start: int  # Values of x_0 outside [-1, 1], in all steps.
  last_x_start: int  # The same in the last step, which makes the image.
  v: int  # Values of v outside [0, 1], in all steps.
  values: int  # Values of x_0 or of v in all steps.
  last_values: int  # The same in the last step.


@dataclasses.dataclass(frozen=True)
class LoopOptions:
  """Options of all loops.

  Attributes:
    clip: whether to clip the predicted x_0 to [-1, 1].
    dynamic_threshold: the quantile of dynamic thresholding, in place of clipping; 0 for none.
    constrain: maps the predicted x_0, `[B, H, W, C]`, to an image that agrees with what is known.
    trajectory: whether to return every x_t.
    predictions: whether `draw` returns the predicted x_0 of every evaluation of the network.
    on_step: called with the number of finished steps, an int32 tensor; see `python_callback`.
    on_end: called once by `draw` with an `OutOfRange`, as one int64 tensor; see `python_callback`.
    start: x_T, `[B, H, W, C]`, to begin `draw` with. None begins with noise.
    known: what `draw` keeps of pictures; None draws everything anew.
    classifier_gradient: the gradient of a classifier's log-probability by x_t, which guides `draw`:
      a function of x_t, `[B, H, W, C]`, and t as the network sees it, `[B]`.
  """

  clip: bool = True
  dynamic_threshold: float = 0.0
  constrain: Callable[[tf.Tensor], tf.Tensor] | None = None
  trajectory: bool = False
  predictions: bool = False
  on_step: Callable[[tf.Tensor], None] | None = None
  on_end: Callable[[tf.Tensor], None] | None = None
  start: tf.Tensor | None = None
  known: known_pixels.Known | None = None
  classifier_gradient: guidance.GradientFn | None = None


def draw(
  model_fn: gaussian_diffusion.ModelFn,
  diffusion: gaussian_diffusion.GaussianDiffusion,
  sampler: base.Sampler,
  noise_fn: NoiseFn,
  options: LoopOptions = LoopOptions(),
) -> Samples:
  """Draws images from noise.

  Args:
    model_fn: the network.
    diffusion: a diffusion that is respaced already, by `sampler.respace`.
    sampler: the rule for each step.
    noise_fn: the noise; see `seeded_noise`.
    options: see `LoopOptions`.
  """
  schedule, known = sampler.schedule(diffusion), None
  if options.known:
    starts = sampler.starts(diffusion)
    known = known_pixels.KnownPixels(options.known, diffusion.process, schedule, starts)
    schedule = known.schedule
  last = len(schedule) - 1
  timesteps = tf.constant(schedule, tf.int32)

  def step(x_t, k, memory):
    t = tf.fill(tf.shape(x_t)[:1], timesteps[k])
    prediction = _predict(model_fn, diffusion, x_t, t, options)
    if options.classifier_gradient:
      gradient = options.classifier_gradient(x_t, diffusion.process.network_timesteps(t))
      shift = guidance.shift_mean if sampler.guides_mean else guidance.shift_score
      prediction = shift(diffusion, prediction, gradient, x_t, t)
    # The last evaluation adds no noise.
    noise = noise_fn(k + 1) * tf.cast(k < last, tf.float32) if sampler.is_stochastic else 0.0
    evaluation = base.Evaluation(diffusion, prediction, x_t, t, k, noise)
    x, memory = sampler.advance(evaluation, memory)
    if known:
      x = known.replace(known.go_back(x, k), k)
      # What came before an image's first step is not its own.
      memory = tuple(
        tf.where(known.has_begun(k), kept, initial)
        for kept, initial in zip(memory, sampler.initial_memory(x))
      )
    counts = (_out_of_range(prediction, k == last),) if options.on_end else ()
    return x, memory, counts, prediction.x_start

  start = noise_fn(tf.constant(0)) if options.start is None else options.start
  first = tf.constant(0)
  if known:
    # There is a place for each evaluation.
    first = first if options.trajectory or options.predictions else known.first()
    start = known.begin(start, first)
  counts = (tf.zeros([len(OutOfRange._fields)], tf.int64),) if options.on_end else ()
  samples, counts = _run(
    step, _State(start, sampler.initial_memory(start), counts), first, len(schedule), options
  )
  if options.on_end:
    options.on_end(*counts)
  return samples


def encode(
  model_fn: gaussian_diffusion.ModelFn,
  diffusion: gaussian_diffusion.GaussianDiffusion,
  image: tf.Tensor,
  options: LoopOptions = LoopOptions(),
) -> Samples:
  """Returns the latents x_T from which DDIM with eta = 0 draws nearly `image` again.

  The loop follows DDIM's ordinary differential equation backwards, step by step.

  Args:
    model_fn: the network.
    diffusion: a diffusion that is respaced already, by `DDIM.respace`.
    image: `[B, H, W, C]` in [-1, 1].
    options: see `LoopOptions`.
  """

  def step(x_t, k, memory):
    t = tf.fill(tf.shape(x_t)[:1], k)
    prediction = _predict(model_fn, diffusion, x_t, t, options)
    return ddim.reverse_step(diffusion, prediction, x_t, t), memory, (), prediction.x_start

  state = _State(image, (), ())
  return _run(step, state, tf.constant(0), diffusion.num_timesteps, options)[0]


def seeded_noise(seeds: tf.Tensor, shape: tuple[int, int, int], stream: int = 0) -> NoiseFn:
  """Returns a `NoiseFn` with which each image depends only on its own seed.

  Args:
    seeds: int64 `[B]`.
    shape: the shape of one image, `(H, W, C)`.
    stream: a seed gives other numbers in another stream. Each stage of a chain of models has its
      own.
  """

  def noise_fn(k):
    def draw_image(seed):
      key = tf.stack([seed, tf.cast(k, tf.int64) + (stream << 32)])
      # Philox by name: the numbers are the same on every kind of device.
      return tf.random.stateless_normal(shape, key, alg="philox")

    return tf.map_fn(draw_image, seeds, fn_output_signature=tf.TensorSpec(shape, tf.float32))

  return noise_fn


def python_callback(callback: Callable[[Any], object]) -> Callable[[tf.Tensor], None]:
  """Returns an `on_step` or `on_end` that calls a Python function with a whole number or a list.

  A graph with it cannot be exported.

  TensorFlow keeps each function of a graph for ever. So that it does not keep the object of a
  method, and with it a network, a method is called only while its object exists.
  """
  is_method = isinstance(callback, types.MethodType)
  reference = weakref.WeakMethod(callback) if is_method else lambda: callback

  def report(value):
    if current := reference():
      current(value.numpy().tolist())  # What the callback returns is not a tensor.

  return lambda value: tf.py_function(report, [value], [])


def _predict(model_fn, diffusion, x_t, t, options):
  output = model_fn(x_t, diffusion.process.network_timesteps(t))
  return diffusion.predict(
    output,
    x_t,
    t,
    clip=options.clip,
    dynamic_threshold=options.dynamic_threshold,
    constrain=options.constrain,
  )


def _out_of_range(prediction, is_last):
  """Returns the `OutOfRange` of one step, int64 `[5]`."""
  x_start, v = prediction.free_x_start, prediction.v
  outside = tf.math.count_nonzero(tf.abs(x_start) > 1.0)
  values = tf.size(x_start, tf.int64)
  outside_v = tf.zeros([], tf.int64) if v is None else tf.math.count_nonzero((v < 0) | (v > 1))
  if_last = tf.cast(is_last, tf.int64)
  return tf.stack([outside, if_last * outside, outside_v, values, if_last * values])


class _State(NamedTuple):
  """Holds what a loop carries from one evaluation to the next."""

  x: tf.Tensor  # [B, H, W, C]
  memory: base.Memory
  counts: tuple[tf.Tensor, ...]  # Sums; empty where nothing is counted.


def _run(step, state, first, count, options):
  """Computes `x, memory, counts, x_start = step(x, k, memory)` for k = first to count - 1.

  Returns `Samples`, and the sums of the counts.
  """
  lengths = count + 1 if options.trajectory else 0, count if options.predictions else 0
  frames, predictions = (
    tf.TensorArray(tf.float32, length, element_shape=state.x.shape) for length in lengths
  )
  if options.trajectory:
    frames = frames.write(0, state.x)

  def body(k, state, frames, predictions):
    x, memory, counts, x_start = step(state.x, k, state.memory)
    x = tf.ensure_shape(x, state.x.shape)
    if options.trajectory:
      frames = frames.write(k + 1, x)
    if options.predictions:
      predictions = predictions.write(k, x_start)
    if options.on_step:
      options.on_step(k + 1)
    sums = tuple(map(operator.add, state.counts, counts))
    return k + 1, _State(x, memory, sums), frames, predictions

  _, state, frames, predictions = tf.while_loop(
    lambda k, *_: k < count, body, [first, state, frames, predictions], parallel_iterations=1
  )
  samples = Samples(
    state.x,
    frames.stack() if options.trajectory else None,
    predictions.stack() if options.predictions else None,
  )
  return samples, state.counts
