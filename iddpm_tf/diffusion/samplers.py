"""Drawing images: ancestral sampling (section 4), DDIM and its reverse (Song et al., 2020).

A sampler knows the network as `denoise_fn(x_t, t) -> output`, t being the process's own timesteps as
the network sees them, float32 `[B]`. Each loop is one graph loop.
"""

from typing import Callable
from typing import NamedTuple

import tensorflow as tf

from iddpm_tf import settings
from iddpm_tf.diffusion import respacing
from iddpm_tf.diffusion import reverse
from iddpm_tf.diffusion.process import at


class SamplerSpec(NamedTuple):
  """A sampler by name."""

  name: str  # "ancestral" or "ddim".
  steps: int | None  # None: all of the process.
  eta: float  # Of DDIM: 0 is deterministic, 1 is as noisy as ancestral sampling.
  skipped: float = (
    0.0  # Share of the steps that are left out at the start, of the noisiest (Figure 4).
  )

  @classmethod
  def parse(cls, text):
    """Of `NAME[:STEPS[:ETA]][:skipSHARE]`, such as `ancestral:250`, `ddim:50`; `ValueError` for anything else."""
    name, *rest = text.split(":")
    last = rest.pop().removeprefix("skip") if rest and rest[-1].startswith("skip") else 0
    try:
      steps = int(rest[0]) if rest else None
      eta = float(rest[1]) if len(rest) > 1 else 0.0
      skipped = float(last)
      valid = (
        name in ("ancestral", "ddim")
        and len(rest) <= (2 if name == "ddim" else 1)
        and (steps is None or steps > 0)
        and 0 <= eta <= 1
        and 0 <= skipped < 1
      )
    except ValueError:
      valid = False
    if not valid:
      raise settings.InputError(
        "samplers",
        f"expected ancestral[:STEPS] or ddim[:STEPS[:ETA]], ETA in [0, 1], perhaps with "
        f":skipSHARE in [0, 1), received {text!r}",
      )
    return cls(name, steps, eta, skipped)

  def __str__(self):
    """A name for files and signatures, such as `ddim_50`."""
    parts = [
      self.name,
      self.steps,
      self.eta if self.eta else None,
      f"skip{self.skipped}" if self.skipped else None,
    ]
    return "_".join(str(part) for part in parts if part is not None)

  def respace(self, process):
    """`process` on this sampler's timesteps: evenly spaced, for DDIM at a constant stride (section 4).

    Where steps are skipped the last timesteps are gone, and sampling begins with noise at the last that is left.
    """
    steps = len(process.original_betas)
    if self.steps is not None and self.steps > steps:
      raise settings.InputError(
        "samplers",
        f"expected at most {steps} steps, which the model has, received {self.name}:{self.steps}",
      )
    if self.steps is not None:
      prefix = "ddim" if self.name == "ddim" else ""
      process = process.respaced(respacing.space_timesteps(steps, f"{prefix}{self.steps}"))
    return (
      process.respaced(process.timestep_map[: self.num_steps(steps)]) if self.skipped else process
    )

  def num_steps(self, steps):
    """How many steps it takes of a process of so many."""
    total = self.steps or steps
    return total - min(round(self.skipped * total), total - 1)


class Samples(NamedTuple):
  image: tf.Tensor  # [B, H, W, C], nominally in [-1, 1].
  trajectory: (
    tf.Tensor | None
  )  # [steps + 1, B, H, W, C], where the loop started first; if asked for.


class Options(NamedTuple):
  """What every loop takes."""

  clip: bool = True  # The predicted x_0, to [-1, 1].
  # Makes the predicted x_0, [B, H, W, C], agree with what is known of it.
  constrain: Callable[[tf.Tensor], tf.Tensor] | None = None
  trajectory: bool = False  # Whether to return every x_t.
  # Called in each step with the number of steps done, int32; see `python_progress`.
  progress: Callable[[tf.Tensor], None] | None = None


def draw(denoise_fn, process, config, spec, noise_fn, options=Options()):
  """Images from noise, by the sampler `spec`.

  Args:
    denoise_fn: see above.
    process: a `GaussianProcess`, already respaced (`spec.respace`).
    config: a `DiffusionConfig`.
    spec: a `SamplerSpec`.
    noise_fn: standard normal noise `[B, H, W, C]` of an int32 k: x_T for k = 0, then that of the
      k-th step; see `seeded_noise`.
    options: `Options`.

  Returns:
    `Samples`.
  """
  noise_needed = spec.name == "ancestral" or spec.eta > 0

  def step(x_t, t, k):
    prediction = _denoise(denoise_fn, process, config, x_t, t, options)
    # The last step adds no noise.
    noise = noise_fn(k + 1) * at(_no_noise_at_the_end(process), t) if noise_needed else 0.0
    if spec.name == "ancestral":
      return ancestral_step(prediction, noise)
    return ddim_step(process, prediction.x_start, x_t, t, eta=spec.eta, noise=noise)

  last = process.num_timesteps - 1
  return _loop(step, noise_fn(tf.constant(0)), lambda k: last - k, process.num_timesteps, options)


def encode(denoise_fn, process, config, image, options=Options()):
  """The latents x_T from which DDIM (eta 0) draws nearly `image` again: its ODE, backwards, step by step."""

  def step(x_t, t, k):
    del k
    prediction = _denoise(denoise_fn, process, config, x_t, t, options)
    return ddim_reverse_step(process, prediction.x_start, x_t, t)

  return _loop(step, image, lambda k: k, process.num_timesteps, options)


def ancestral_step(prediction, noise):
  """x_{t-1} of p(x_{t-1} | x_t)."""
  return prediction.mean + tf.exp(0.5 * prediction.log_variance) * noise


def ddim_step(process, x_start, x_t, t, *, eta, noise):
  """x_{t-1}: Eq. 12 and 16 of Song et al. (2020), from the predicted x_0."""
  eps = process.eps_from_x_start(x_t, t, x_start)
  alpha, alpha_prev = at(process.alphas_cumprod, t), at(process.alphas_cumprod_prev, t)
  sigma = eta * tf.sqrt((1 - alpha_prev) / (1 - alpha)) * tf.sqrt(1 - alpha / alpha_prev)
  # Rounding can make it negative where sigma^2 is all of the variance.
  direction = tf.sqrt(tf.maximum(1 - alpha_prev - tf.square(sigma), 0.0))
  return tf.sqrt(alpha_prev) * x_start + direction * eps + sigma * noise


def ddim_reverse_step(process, x_start, x_t, t):
  """x_{t+1}: the same with eta 0 and time reversed."""
  eps = process.eps_from_x_start(x_t, t, x_start)
  alpha_next = at(process.alphas_cumprod_next, t)
  return tf.sqrt(alpha_next) * x_start + tf.sqrt(1 - alpha_next) * eps


def seeded_noise(seeds, shape, stream=0):
  """A `noise_fn` with which each image depends on its own seed alone.

  Args:
    seeds: int64 `[B]`.
    shape: of an image, `(H, W, C)`.
    stream: seeds give other numbers in another one: each stage of a chain of models has its own.
  """

  def noise_fn(k):
    def of_image(seed):
      key = tf.stack([seed, tf.cast(k, tf.int64) + (stream << 32)])
      # Philox by name: the same numbers on every kind of device.
      return tf.random.stateless_normal(shape, key, alg="philox")

    return tf.map_fn(of_image, seeds, fn_output_signature=tf.TensorSpec(shape, tf.float32))

  return noise_fn


def python_progress(callback):
  """`Options.progress` that calls Python; not for graphs that are exported."""

  def report(done):
    callback(int(done))  # Its result, if any, is no tensor.

  return lambda done: tf.py_function(report, [done], [])


def _denoise(denoise_fn, process, config, x_t, t, options):
  output = denoise_fn(x_t, process.network_timesteps(t))
  return reverse.predict(
    process, config, output, x_t, t, clip=options.clip, constrain=options.constrain
  )


def _no_noise_at_the_end(process):
  return [0.0] + [1.0] * (process.num_timesteps - 1)


def _loop(step, x, timestep_of, steps, options):
  """`x = step(x, t, k)` for k = 0 ... steps - 1, with t = timestep_of(k) for the whole batch."""
  frames = tf.TensorArray(tf.float32, steps + 1 if options.trajectory else 0, element_shape=x.shape)
  if options.trajectory:
    frames = frames.write(0, x)

  def body(k, x, frames):
    shape = x.shape
    x = tf.ensure_shape(step(x, tf.fill(tf.shape(x)[:1], timestep_of(k)), k), shape)
    if options.trajectory:
      frames = frames.write(k + 1, x)
    if options.progress:
      options.progress(k + 1)
    return k + 1, x, frames

  _, x, frames = tf.while_loop(
    lambda k, *_: k < steps, body, [tf.constant(0), x, frames], parallel_iterations=1
  )
  return Samples(x, frames.stack() if options.trajectory else None)
