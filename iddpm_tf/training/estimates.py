"""What a run will take, before its first step: memory and time, and what is likely a mistake.

Estimates: memory within about a tenth, times within a factor of two where nothing else runs.
"""

import math
import subprocess
import time

import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf.diffusion import respacing
from iddpm_tf.diffusion import samplers
from iddpm_tf.networks import blocks
from iddpm_tf.networks import cost as cost_lib
from iddpm_tf.networks import layers
from iddpm_tf.utils import host

_GIB = 2**30
# What a graph takes on the host, a weight array; measured on a small and a large network.
_TRACING_BYTES = 2 * 2**20
# The arithmetic that is timed: a few tenths of a second on two cores, milliseconds on a GPU.
_TIMED_FLOPS = {"CPU": 6e9, "GPU": 2e12}


def report(state, source, strategy):
  """Prints what the rest of the run will take: a `TrainState`, a `Source` and a `tf.distribute.Strategy`."""
  options, (height, width, channels) = state.config.training, state.config.data.image_shape
  cost = cost_lib.network_cost(state.network, height, width)
  share = options.batch_size // strategy.num_replicas_in_sync // options.microbatches
  need, have = memory(state, cost, strategy)
  rate = flops_per_second(
    state.network, (height, width), share, strategy.extended.worker_devices[0]
  )
  step, grid = (
    step_seconds(state.config, cost, rate, strategy),
    grid_seconds(state.config, cost, rate),
  )
  left = options.train_steps - int(state.step.value.numpy())
  grids = left // options.sample_every if options.sample_every else 1
  classes = f" in {source.num_classes} classes" if source.num_classes else ""
  epochs = options.train_steps * options.batch_size / len(source.images)
  print(
    f"{len(source.images):,} images of {height}x{width}x{channels}{classes}, each seen {epochs:,.3g} "
    f"times; {cost.parameters:,} parameters, {cost.flops / 1e9:,.3g} GFLOP an image forward"
  )
  every = state.config.evaluation.eval_every
  evaluation = evaluation_seconds(state.config, cost, rate)
  evaluations = left // every + 1 if every else 0
  total = duration(left * step + grids * grid + evaluations * evaluation)
  evaluated = f"{duration(evaluation)} an evaluation, " if every else ""
  print(
    f"estimates: {need / _GIB:.1f} GiB of memory{f' of {have / _GIB:.1f}' if have else ''}, "
    f"{duration(step)} a step, {duration(grid)} a sample grid, {evaluated}{total} in all"
  )
  for text in warnings(state.config, need, have):
    print(f"warning: {text}")


def warnings(config, need, have):
  """What is likely a mistake, though it can be: texts. `need` and `have`: bytes; 0: not known."""
  options, found = config.training, []
  if have and need > have:
    less = "" if config.network.precision != "float32" else ", or take --precision=mixed_bfloat16"
    more = (
      ""
      if options.microbatches == options.batch_size
      else f"raise --microbatches={options.microbatches} or "
    )
    found.append(
      f"that is more memory than there is: {more}lower --batch_size={options.batch_size}{less}"
    )
  slow = [rate for rate in options.ema if rate**options.train_steps > 0.05]
  for rate in slow:
    found.append(
      f"--ema={rate} will be {rate**options.train_steps:.0%} initial weights after "
      f"--train_steps={options.train_steps}"
    )
  begins = resampling_begins(config)
  if begins > options.train_steps:
    found.append(
      f"--timestep_sampler=loss_second_moment begins after some {begins} steps, and "
      f"--train_steps={options.train_steps}"
    )
  return found


def resampling_begins(config):
  """About the step at which every timestep has its ten losses (0 for uniform timesteps).

  Coupons of T kinds, ten of each: T (ln T + 9 ln ln T) draws (Erdos & Renyi, 1961).
  """
  steps = config.diffusion.diffusion_steps
  if config.diffusion.timestep_sampler == "uniform":
    return 0
  draws = steps * (math.log(steps) + 9 * math.log(max(math.log(steps), 1)))
  return math.ceil(draws / config.training.batch_size)


def memory(state, cost, strategy):
  """Bytes that the fullest device will hold, and that it has (0: not known)."""
  weights = sum(math.prod(variable.shape) * 4 for variable in state.network.trainable_variables)
  replicas = strategy.num_replicas_in_sync
  # Of each replica the activations of one microbatch, and its gradients with their sums or scaled copies. The
  # weights, Adam and the averages are there already.
  images = state.config.training.batch_size // state.config.training.microbatches
  to_come = replicas * 2 * weights + images * cost.activation_bytes
  grids = weights  # A copy of the weights that draws.
  if on_gpu(strategy):
    return _gpu_bytes(strategy) + to_come // replicas + grids, _gpu_total_bytes()
  tracing = replicas * _TRACING_BYTES * len(state.network.trainable_variables)
  used, available = host.memory()
  return used + to_come + grids + tracing, available and used + available


def on_gpu(strategy):
  return ":GPU:" in strategy.extended.worker_devices[0].upper()


def step_seconds(config, cost, rate, strategy):
  """Of a training step: forward, and twice that backward. Logical CPUs share the cores."""
  images = config.training.batch_size / (strategy.num_replicas_in_sync if on_gpu(strategy) else 1)
  return 3 * cost.flops * images / rate


def grid_seconds(config, cost, rate):
  """Of drawing a sample grid, from the raw weights and from each moving average."""
  steps = (
    samplers.SamplerSpec.parse(config.sampling.samplers[0]).steps
    or config.diffusion.diffusion_steps
  )
  return (1 + len(config.training.ema)) * config.sampling.num_samples * steps * cost.flops / rate


def evaluation_seconds(config, cost, rate):
  """Of the scores of each moving average: of drawing the images, and of the bound's terms of test images."""
  options, steps = config.evaluation, config.diffusion.diffusion_steps
  evaluations = 0  # Of the network, of an image each.
  likelihoods = set(options.eval_scores) & set(config_lib.LIKELIHOODS)
  if set(options.eval_scores) - likelihoods:
    evaluations += options.eval_samples * (
      samplers.SamplerSpec.parse(config.sampling.samplers[0]).steps or steps
    )
  if likelihoods:
    evaluations += (
      len(likelihoods)
      * options.eval_examples
      * (
        len(respacing.likelihood_timesteps(steps, options.eval_nll_steps))
        if options.eval_nll_steps
        else steps
      )
    )
  return max(len(config.training.ema), 1) * evaluations * cost.flops / rate


def flops_per_second(network, size, batch_size, device):
  """Measured on the network's own residual block of the most work on the way down, forward and backward.

  `size`: (height, width) of the images. In a graph, as in training: op by op it would be a quarter as fast.
  """
  (height, width), block = _largest_block(network, *size)
  budget = _TIMED_FLOPS["GPU" if ":GPU:" in device.upper() else "CPU"]
  while _work(block, height, width) > budget and min(height, width) > 1:
    height, width = height // 2, width // 2  # A part of a large image.
  images = max(1, min(batch_size, int(budget / _work(block, height, width))))
  with tf.device(device):
    x = tf.random.stateless_normal([images, height, width, block.in_conv.kernel.shape[-2]], [0, 0])
    seconds = _seconds(block, tf.cast(x, block.compute_dtype))
  return images * _work(block, height, width) / seconds


def _largest_block(network, height, width):
  """((height, width), residual block)."""
  found = []
  for layer in (layer for block in network.input_blocks for layer in block):
    if isinstance(layer, layers.Downsample):
      height, width = height // 2, width // 2
    elif isinstance(layer, blocks.ResBlock):
      found.append(((height, width), layer))
  return max(found, key=lambda entry: _work(entry[1], *entry[0]))


def _work(block, height, width):
  """FLOP of an image's forward and backward pass."""
  return 3 * cost_lib.layer_flops(block, height * width)


def _seconds(block, x):
  """Of the forward and backward pass of a residual block."""
  emb = tf.zeros([x.shape[0], block.emb_dense.kernel.shape[0]], block.compute_dtype)
  weights = [variable.value for variable in block.trainable_variables]

  @tf.function(autograph=False)
  def passes():
    with tf.GradientTape() as tape:
      tape.watch(x)
      total = tf.reduce_sum(block(x, emb))
    gradients = tape.gradient(total, [x, *weights])
    # A number that needs them all: they themselves would have to come from a GPU.
    return tf.add_n([tf.reduce_sum(tf.cast(gradient, tf.float32)) for gradient in gradients])

  passes().numpy()  # Traces, and chooses kernels.
  taken = []
  for _ in range(3):
    start = time.perf_counter()
    passes().numpy()
    taken.append(time.perf_counter() - start)
  return min(taken)


def _gpu_bytes(strategy):
  """What the fullest GPU holds now."""
  numbers = (device.rsplit(":", 1)[1] for device in strategy.extended.worker_devices)
  return max(
    tf.config.experimental.get_memory_info(f"GPU:{number}")["current"] for number in numbers
  )


def _gpu_total_bytes():
  """Of the smallest GPU, as its driver says; TensorFlow does not tell."""
  try:
    said = subprocess.run(
      ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"],
      capture_output=True,
      check=True,
      text=True,
      timeout=5,
    )
    return min(int(line) for line in said.stdout.split()) * 2**20
  except (OSError, subprocess.SubprocessError, ValueError):
    return 0


def duration(seconds):
  """Such as 0.27 s, 12 min, 3.4 h, 21 days."""
  for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
    if seconds >= 2 * size:
      return (
        f"{seconds / size:.2g} {unit}" if seconds < 99 * size else f"{seconds / size:,.0f} {unit}"
      )
  return f"{seconds:.2g} s" if seconds < 99 else f"{seconds:.0f} s"
