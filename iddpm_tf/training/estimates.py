"""Estimates of the memory and time of a run before its first step, and warnings of likely mistakes.

Memory is right within about a tenth. Times are right within a factor of two where nothing else
runs.
"""

import math
import subprocess
import time

import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf import networks
from iddpm_tf.data import sources
from iddpm_tf.diffusion import respacing
from iddpm_tf.diffusion.samplers import base as samplers
from iddpm_tf.networks import blocks
from iddpm_tf.networks import cost as cost_lib
from iddpm_tf.training import state as state_lib
from iddpm_tf.utils import devices
from iddpm_tf.utils import gradients as gradients_lib
from iddpm_tf.utils import host
from iddpm_tf.utils import progress as progress_lib

_GIB = 2**30
# Host memory of the graph per variable, measured on a small and a large network.
_TRACING_BYTES = 2**20
# The work that is timed: a few tenths of a second on two cores, milliseconds on a GPU.
_TIMED_FLOPS = {"CPU": 6e9, "GPU": 2e12}


def report(
  state: state_lib.TrainState,
  source: sources.Source,
  strategy: tf.distribute.Strategy,
  progress: progress_lib.Progress,
) -> None:
  """Says what the rest of a run will take, and warns of likely mistakes."""
  config = state.config
  options, (height, width, channels) = config.training, config.data.image_shape
  cost = cost_lib.network_cost(state.network, height, width)
  share = options.batch_size // strategy.num_replicas_in_sync // options.microbatches
  needed, available = memory(state, cost, strategy)
  device = strategy.extended.worker_devices[0]
  rate = flops_per_second(state.network, (height, width), share, device)
  step = step_seconds(config, cost, rate, strategy)
  first_step = int(state.step.numpy())
  classes = f" in {source.num_classes} classes" if source.num_classes else ""
  epochs = options.train_steps * options.batch_size / len(source.images)
  progress.say(
    f"{len(source.images):,} images of {height}x{width}x{channels}{classes}, each seen "
    f"{epochs:,.3g} times; {cost.parameters:,} parameters, {cost.flops / 1e9:,.3g} GFLOP per image "
    "forward"
  )
  parts = [f"{duration(step)} per step"]
  total = (options.train_steps - first_step) * step
  if not config.is_classifier:
    grid = grid_seconds(config, cost, rate)
    parts.append(f"{duration(grid)} per sample grid")
    total += num_due(first_step, options.train_steps, options.sample_every) * grid
  every = config.evaluation.eval_every
  if every:
    evaluation = evaluation_seconds(config, cost, rate, len(source.images))
    parts.append(f"{duration(evaluation)} per evaluation")
    total += num_due(first_step, options.train_steps, every) * evaluation
  of_available = f" of {available / _GIB:.1f}" if available else ""
  progress.say(
    f"estimates: {needed / _GIB:.1f} GiB of memory{of_available}, {', '.join(parts)}, "
    f"{duration(total)} in all"
  )
  for text in warnings(config, needed, available):
    progress.say(f"warning: {text}")


def warnings(config: config_lib.Config, needed: float, available: float) -> list[str]:
  """Returns texts about likely mistakes.

  Args:
    config: the configuration of the run.
    needed: bytes of memory that the run will take.
    available: bytes of memory that there are; 0 if that is unknown.
  """
  options, texts = config.training, []
  if available and needed > available:
    bfloat16 = config.network.precision == "float32"
    parts = options.microbatches < options.batch_size
    more_parts = f"raise microbatches={options.microbatches} or " if parts else ""
    remat = "" if options.remat else ", set remat"
    precision = ", or take precision=mixed_bfloat16" if bfloat16 else ""
    texts.append(
      f"this is more memory than there is: {more_parts}lower batch_size={options.batch_size}"
      f"{remat}{precision}"
    )
  for rate in options.ema:
    initial = rate**options.train_steps
    if initial > 0.05:
      texts.append(
        f"the average of rate ema={rate} will be {initial:.0%} initial weights after "
        f"train_steps={options.train_steps}"
      )
  first = resampling_begins(config)
  if first > options.train_steps:
    texts.append(
      f"timestep_sampler=loss_second_moment begins after about {first} steps, and "
      f"train_steps={options.train_steps}"
    )
  return texts


def num_due(first_step: int, last_step: int, every: int) -> int:
  """Returns how often something is due after a step: at an interval (0: none), and at the end."""
  if first_step >= last_step:
    return 0
  if not every:
    return 1
  return last_step // every - first_step // every + bool(last_step % every)


def resampling_begins(config: config_lib.Config) -> int:
  """Returns about the step at which every timestep has ten losses; 0 for uniform timesteps.

  This is the coupon collector's problem with T kinds of coupons, ten of each:
  T (ln T + 9 ln ln T) draws (Erdos and Renyi, 1961).
  """
  steps = config.diffusion.diffusion_steps
  if config.diffusion.timestep_sampler == "uniform":
    return 0
  draws = steps * (math.log(steps) + 9 * math.log(max(math.log(steps), 1)))
  return math.ceil(draws / config.training.batch_size)


def memory(
  state: state_lib.TrainState, cost: cost_lib.Cost, strategy: tf.distribute.Strategy
) -> tuple[float, float]:
  """Returns the bytes that the fullest device will hold, and those that it has (0: unknown)."""
  variables = state.network.trainable_variables
  weights = sum(math.prod(variable.shape) * 4 for variable in variables)
  replicas = strategy.num_replicas_in_sync
  # For each replica: the activations of one microbatch, and its gradient with the sum over the
  # microbatches or replicas. The weights, Adam's moments and the averages are there already.
  images = state.config.training.batch_size // state.config.training.microbatches
  activations = cost.remat_bytes if state.config.training.remat else cost.activation_bytes
  to_come = replicas * 2 * weights + images * activations
  if devices.is_on_gpu(strategy):
    return _gpu_bytes(strategy) + to_come // replicas, _gpu_total_bytes()
  tracing = replicas * _TRACING_BYTES * len(variables)
  used, available = host.memory()
  return used + to_come + tracing, available and used + available


def step_seconds(
  config: config_lib.Config, cost: cost_lib.Cost, rate: float, strategy: tf.distribute.Strategy
) -> float:
  """Returns the seconds of a training step.

  It is one pass forward, two with `remat`, and twice that backward.

  Args:
    config: the configuration of the run.
    cost: the cost of the network for one image.
    rate: FLOP per second of one device.
    strategy: the devices. Logical CPUs share the cores.
  """
  replicas = strategy.num_replicas_in_sync if devices.is_on_gpu(strategy) else 1
  passes = 4 if config.training.remat else 3
  return passes * cost.flops * config.training.batch_size / replicas / rate


def grid_seconds(config: config_lib.Config, cost: cost_lib.Cost, rate: float) -> float:
  """Returns the seconds of a sample grid, from the raw weights and from each moving average."""
  weight_sets = 1 + len(config.training.ema)
  return (
    weight_sets * config.sampling.num_samples * _sampling_evaluations(config) * cost.flops / rate
  )


def evaluation_seconds(
  config: config_lib.Config, cost: cost_lib.Cost, rate: float, num_images: int
) -> float:
  """Returns the seconds of an evaluation of all moving averages: images drawn, and likelihoods.

  For a classifier, they are those of its held-out images, each at four timesteps.

  Args:
    config: the configuration of the run.
    cost: the cost of the network for one image.
    rate: FLOP per second of one device.
    num_images: the training images. Where all images of a split are evaluated, they are taken to be
      as many, which is too many for most test splits.
  """
  options, steps = config.evaluation, config.diffusion.diffusion_steps
  examples = options.eval_examples or num_images
  if config.is_classifier:
    return 4 * examples * cost.flops / rate
  evaluations = 0  # Evaluations of the network, of one image each.
  likelihoods = set(options.eval_scores) & set(config_lib.LIKELIHOODS)
  if set(options.eval_scores) - likelihoods:
    evaluations += options.eval_samples * _sampling_evaluations(config)
  if likelihoods:
    terms = steps
    if options.eval_nll_steps:
      terms = len(respacing.likelihood_timesteps(steps, options.eval_nll_steps))
    evaluations += len(likelihoods) * examples * terms
  return max(len(config.training.ema), 1) * evaluations * cost.flops / rate


def flops_per_second(
  network: networks.Encoder, size: tuple[int, int], batch_size: int, device: str
) -> float:
  """Measures FLOP per second on the network's residual block of the most work, both ways.

  The block runs in a graph, as in training: op by op it would be a quarter as fast.

  Args:
    network: the built network.
    size: the height and width of the images.
    batch_size: the images of one replica's microbatch.
    device: the name of the device.
  """
  (height, width), block = _largest_block(network, *size)
  budget = _TIMED_FLOPS["GPU" if ":GPU:" in device.upper() else "CPU"]
  while _work(block, height, width) > budget and min(height, width) > 1:
    height, width = height // 2, width // 2  # A part of a large image.
  images = max(1, min(batch_size, int(budget / _work(block, height, width))))
  with tf.device(device):
    shape = [images, height, width, block.in_conv.kernel.shape[-2]]
    x = tf.random.stateless_normal(shape, [0, 0])
    seconds = _seconds(block, tf.cast(x, block.compute_dtype))
  return images * _work(block, height, width) / seconds


def duration(seconds: float) -> str:
  """Returns a time in words, such as 0.27 s, 12 min, 3.4 h or 21 days."""
  for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
    if seconds >= 2 * size:
      value = seconds / size
      return f"{value:.2g} {unit}" if value < 99 else f"{value:,.0f} {unit}"
  return f"{seconds:.2g} s" if seconds < 99 else f"{seconds:.0f} s"


def _sampling_evaluations(config):
  """Returns how often the first sampler evaluates the network for an image."""
  sampler = samplers.parse(config.sampling.samplers[0])
  evaluations = sampler.num_evaluations(config.diffusion.diffusion_steps)
  # Guidance evaluates it with and without the label.
  return 2 * evaluations if config.network.label_dropout else evaluations


def _largest_block(network, height, width):
  """Returns ((height, width), residual block)."""
  candidates = []
  for layer in (layer for block in network.input_blocks for layer in block):
    if isinstance(layer, blocks.ResBlock) and layer.resample == "none":
      candidates.append(((height, width), layer))
    elif cost_lib.positions_after(layer, 4) == 1:
      height, width = height // 2, width // 2
  return max(candidates, key=lambda candidate: _work(candidate[1], *candidate[0]))


def _work(block, height, width):
  """Returns the FLOP of one image's forward and backward pass."""
  return 3 * cost_lib.layer_flops(block, height * width)


def _seconds(block, x):
  """Returns the seconds of the forward and backward pass of a residual block."""
  emb = tf.zeros([x.shape[0], block.emb_dense.kernel.shape[0]], block.compute_dtype)
  weights = [variable.value for variable in block.trainable_variables]

  @tf.function(autograph=False)
  def passes():
    with tf.GradientTape() as tape:
      tape.watch(x)
      total = tf.reduce_sum(block(x, emb))
    gradients = tape.gradient(total, [x, *weights])
    # One number that depends on all gradients: the gradients themselves would be copied from a GPU.
    return tf.add_n([tf.reduce_sum(tf.cast(gradient, tf.float32)) for gradient in gradients])

  with gradients_lib.forgotten_custom_gradients():
    passes().numpy()  # Traces, and chooses kernels.
  times = []
  for _ in range(3):
    start = time.perf_counter()
    passes().numpy()
    times.append(time.perf_counter() - start)
  return min(times)


def _gpu_bytes(strategy):
  """Returns the bytes that the fullest GPU holds now."""
  numbers = (device.rsplit(":", 1)[1] for device in strategy.extended.worker_devices)
  info = (tf.config.experimental.get_memory_info(f"GPU:{number}") for number in numbers)
  return max(each["current"] for each in info)


def _gpu_total_bytes():
  """Returns the bytes of the smallest GPU by its driver, since TensorFlow does not tell; or 0."""
  query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
  try:
    result = subprocess.run(query, capture_output=True, check=True, text=True, timeout=5)
    return min(int(line) for line in result.stdout.split()) * 2**20
  except (OSError, subprocess.SubprocessError, ValueError):
    return 0
