"""Times the network on a GPU: Keras on JAX beside PyTorch, as shares of the matrix rate.

TensorFlow is not needed. Install jax[cuda], keras, torch and diffusers, then:

  python -m benchmarks.accelerator --network=imagenet64 --batch_size=128 --output=speed.json

Each framework runs in a process of its own. A training step is a forward and a backward pass in
bfloat16 with dropout, Adam and one moving average. A sampling loop is ancestral sampling in 50
steps with a learned variance. The peak memory is that of the forward passes and training steps.
"""

from collections.abc import Callable
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
from typing import Any

from absl import app
from absl import flags

from benchmarks.speed_comparison import contestants
from benchmarks.speed_comparison import pytorch

_SAMPLING_STEPS = 50
# The modes of `torch.compile`. The second one records CUDA graphs.
_COMPILATIONS = {"pytorch_compiled": "default", "pytorch_cuda_graphs": "reduce-overhead"}
_PROGRAMS = ("jax", "pytorch", *_COMPILATIONS)
# Each with how many forward passes have its FLOP.
_MEASURES = {"forward": 1, "training": 3, "sampling": _SAMPLING_STEPS}

_NETWORK = flags.DEFINE_enum("network", "cifar10", list(contestants.NETWORKS), "the network")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 128, "images of each pass and step")
_REPEATS = flags.DEFINE_integer("repeats", 20, "measurements of each, after 3 that do not count")
_CHOSEN_MEASURES = flags.DEFINE_list("measures", list(_MEASURES), "what to time, in this order")
_OUTPUT = flags.DEFINE_string("output", None, "where to write the result as JSON")
_CHOSEN = flags.DEFINE_list("programs", list(_PROGRAMS[:3]), "what to run, in this order")
_PROGRAM = flags.DEFINE_enum("program", None, _PROGRAMS, "run one program in this process")


def main(argv: list[str]) -> None:
  """Measures all programs, and prints a table."""
  del argv
  if _PROGRAM.value:
    print(json.dumps(_measure(_PROGRAM.value)))
    return
  results: dict[str, Any] = {}
  for program in _CHOSEN.value:
    command = [sys.executable, "-m", "benchmarks.accelerator", f"--program={program}"]
    command += [f"--network={_NETWORK.value}", f"--batch_size={_BATCH_SIZE.value}"]
    command += [f"--repeats={_REPEATS.value}", f"--measures={','.join(_CHOSEN_MEASURES.value)}"]
    environment = os.environ | {"KERAS_BACKEND": "jax", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
      sys.exit(f"{program}: {done.stderr[-2000:]}")
    results[program] = json.loads(done.stdout.splitlines()[-1])
    print(program, json.dumps(results[program]), flush=True)
    result = {"network": _NETWORK.value, "batch_size": _BATCH_SIZE.value, "programs": results}
    if _OUTPUT.value:
      text = json.dumps(result, indent=2) + "\n"
      pathlib.Path(_OUTPUT.value).write_text(text, encoding="utf-8")
  peers = [name for name in results if name != "jax"]
  if "jax" not in results or not peers:
    return
  for measure in _CHOSEN_MEASURES.value:
    ours = results["jax"][measure]["median"]
    ratio = min(results[name][measure]["median"] for name in peers) / ours
    print(f"{measure}: {ours * 1e3:.1f} ms, {ratio:.2f} times as fast as PyTorch's fastest")


def _measure(program: str) -> dict[str, Any]:
  network = contestants.NETWORKS[_NETWORK.value]
  subject = _Jax(network) if program == "jax" else _PyTorch(network, _COMPILATIONS.get(program))
  result: dict[str, Any] = {"device": subject.device, "matrix_rate": subject.matrix_rate()}
  flops = _flops(network) * _BATCH_SIZE.value
  for measure in _CHOSEN_MEASURES.value:
    run = getattr(subject, measure)
    start = time.perf_counter()
    run()
    first = time.perf_counter() - start
    seconds = _times(run)
    median = statistics.median(seconds)
    result[measure] = {
      "median": median,
      "quartiles": statistics.quantiles(seconds, n=4),
      "first": first,
      "share_of_matrix_rate": _MEASURES[measure] * flops / median / result["matrix_rate"],
    }
    if measure == "training":
      result["peak_gib"] = subject.peak_bytes() / 2**30
  return result


def _times(run: Callable[[], object]) -> list[float]:
  seconds = []
  for _ in range(3 + _REPEATS.value):
    start = time.perf_counter()
    run()
    seconds.append(time.perf_counter() - start)
  return seconds[3:]


def _flops(network: contestants.Network) -> int:
  """Returns the FLOP of a forward pass of one image."""
  os.environ.setdefault("KERAS_BACKEND", "jax")
  from iddpm_tf.networks import cost

  return cost.network_cost(_keras_network(network), *network.image_shape[:2]).flops


def _keras_network(network: contestants.Network) -> Any:
  from iddpm_tf import config as config_lib
  from iddpm_tf import networks

  config = config_lib.Config.from_settings(**network.settings("bfloat16"))
  return networks.build_network(config.with_data(image_shape=network.image_shape, num_classes=0))


class _Jax:
  """The network of this project on Keras' JAX backend."""

  def __init__(self, network: contestants.Network):
    import jax
    from jax import numpy as jnp

    from iddpm_tf.networks import stateless

    self._jax = jax
    self.device = jax.devices()[0].device_kind
    self._network = _keras_network(network)
    self._x = jax.random.normal(jax.random.key(0), (_BATCH_SIZE.value, *network.image_shape))
    self._t = jnp.arange(_BATCH_SIZE.value, dtype="float32")
    # Copies, because the training gives its buffers away.
    weights = [jnp.copy(variable.value) for variable in self._network.trainable_variables]
    self._weights = [jnp.copy(weight) for weight in weights]
    self._forward = jax.jit(
      lambda weights: stateless.call_network(self._network, self._x, self._t, weights=weights)
    )

    def loss(weights, seed):
      x_t, noise = jax.random.normal(jax.random.key(seed), (2, *self._x.shape))
      output = stateless.call_network(
        self._network,
        x_t,
        self._t,
        weights=weights,
        dropout_seed=jnp.stack([seed, 0]) if network.dropout else None,
      )
      return jnp.mean(jnp.square(output[..., :3] - noise))

    def step(count, weights, first, second, averages):
      value, gradients = jax.value_and_grad(loss)(weights, count)
      n = count + 1.0
      first = [0.9 * m + 0.1 * g for m, g in zip(first, gradients)]
      second = [0.999 * v + 0.001 * jnp.square(g) for v, g in zip(second, gradients)]
      weights = [
        w - contestants.LEARNING_RATE * m / (1 - 0.9**n) / (jnp.sqrt(v / (1 - 0.999**n)) + 1e-8)
        for w, m, v in zip(weights, first, second)
      ]
      averages = [a + (1 - contestants.EMA) * (w - a) for a, w in zip(averages, weights)]
      return value, weights, first, second, averages

    self._step = jax.jit(step, donate_argnums=(1, 2, 3, 4))
    zeros = [[jnp.zeros_like(weight) for weight in weights] for _ in range(2)]
    self._state = (weights, *zeros, [jnp.copy(weight) for weight in weights])
    self._count = 0
    self._sample = jax.jit(self._make_sampling())

  def _make_sampling(self):
    jax = self._jax
    from jax import numpy as jnp

    from iddpm_tf.networks import stateless

    process = pytorch.Process(_SAMPLING_STEPS)
    names = (
      "timesteps",
      "x_of_x_t",
      "x_of_eps",
      "mean_of_x_start",
      "mean_of_x_t",
      "log_variance",
      "log_beta",
    )
    tables = [jnp.array(getattr(process, name), "float32")[::-1] for name in names]

    def sample(weights, key):
      def step(carry, coefficients):
        x, key = carry
        t, x_of_x_t, x_of_eps, mean_of_x_start, mean_of_x_t, log_variance, log_beta = coefficients
        output = stateless.call_network(
          self._network, x, jnp.broadcast_to(t, x.shape[:1]), weights=weights
        )
        eps, variance = jnp.split(output.astype("float32"), 2, axis=-1)
        x_start = jnp.clip(x_of_x_t * x - x_of_eps * eps, -1, 1)
        mean = mean_of_x_start * x_start + mean_of_x_t * x
        v = (variance + 1) / 2
        log_variance = v * log_beta + (1 - v) * log_variance
        key, noise_key = jax.random.split(key)
        noise = jax.random.normal(noise_key, x.shape) * (t > 0)
        return (mean + jnp.exp(0.5 * log_variance) * noise, key), None

      noise_key, key = jax.random.split(key)
      x = jax.random.normal(noise_key, self._x.shape)
      (x, _), _ = jax.lax.scan(step, (x, key), tables)
      return jnp.clip(jnp.round((x + 1) * 127.5), 0, 255).astype("uint8")

    return sample

  def peak_bytes(self) -> int:
    """Returns the largest number of bytes that were in use on the device."""
    return self._jax.devices()[0].memory_stats()["peak_bytes_in_use"]

  def matrix_rate(self) -> float:
    """Returns FLOP per second of a bfloat16 product of matrices 8192 x 8192."""
    from jax import numpy as jnp

    key = self._jax.random.key(1)
    a = self._jax.random.normal(key, (8192, 8192), jnp.bfloat16)
    product = self._jax.jit(lambda a: a @ a)
    return 2 * 8192**3 / statistics.median(_times(lambda: product(a).block_until_ready()))

  def forward(self) -> None:
    """Computes a forward pass."""
    self._forward(self._weights).block_until_ready()

  def sampling(self) -> None:
    """Draws images."""
    self._sample(self._weights, self._jax.random.key(2)).block_until_ready()

  def training(self) -> None:
    """Takes a step."""
    value, *state = self._step(self._count, *self._state)
    self._state, self._count = tuple(state), self._count + 1
    value.block_until_ready()


class _PyTorch:
  """`diffusers`' `UNet2DModel` in channels_last, eager or compiled in a mode."""

  def __init__(self, network: contestants.Network, mode: str | None):
    import diffusers
    import torch

    self._torch = torch
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = True
    self.device = torch.cuda.get_device_name()
    self._model = diffusers.UNet2DModel(**pytorch.unet_options(network))
    self._model.to("cuda", memory_format=torch.channels_last)
    self._network = torch.compile(self._model, mode=mode) if mode else self._model
    height, width, channels = network.image_shape
    x = torch.randn(_BATCH_SIZE.value, channels, height, width, device="cuda")
    self._x = x.contiguous(memory_format=torch.channels_last)
    self._t = torch.arange(_BATCH_SIZE.value, device="cuda")
    weights = list(self._model.parameters())
    self._weights, self._averages = weights, [weight.detach().clone() for weight in weights]
    self._optimizer = torch.optim.AdamW(
      weights, lr=contestants.LEARNING_RATE, weight_decay=0.0, fused=True
    )

  def matrix_rate(self) -> float:
    """Returns FLOP per second of a bfloat16 product of matrices 8192 x 8192."""
    torch = self._torch
    a = torch.randn(8192, 8192, dtype=torch.bfloat16, device="cuda")

    def product():
      torch.mm(a, a)
      torch.cuda.synchronize()

    return 2 * 8192**3 / statistics.median(_times(product))

  def forward(self) -> None:
    """Computes a forward pass."""
    torch = self._torch
    self._model.eval()
    with torch.inference_mode(), torch.autocast("cuda", dtype=torch.bfloat16):
      self._network(self._x, self._t)
    torch.cuda.synchronize()

  def sampling(self) -> None:
    """Draws images."""
    torch = self._torch
    self._model.eval()
    process = pytorch.Process(_SAMPLING_STEPS)
    with torch.inference_mode(), torch.autocast("cuda", dtype=torch.bfloat16):
      x = torch.randn_like(self._x)
      for k in reversed(range(process.steps)):
        t = torch.full(x.shape[:1], process.timesteps[k], device="cuda")
        eps, variance = self._network(x, t).sample.float().chunk(2, dim=1)
        x_start = (process.x_of_x_t[k] * x - process.x_of_eps[k] * eps).clamp(-1, 1)
        x = process.mean_of_x_start[k] * x_start + process.mean_of_x_t[k] * x
        v = (variance + 1) / 2
        log_variance = v * process.log_beta[k] + (1 - v) * process.log_variance[k]
        if k:
          x = x + torch.exp(0.5 * log_variance) * torch.randn_like(x)
      ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu()

  def peak_bytes(self) -> int:
    """Returns the largest number of bytes that were in use on the device."""
    return self._torch.cuda.max_memory_allocated()

  def training(self) -> None:
    """Takes a step."""
    torch = self._torch
    self._model.train()
    noise, x_t = torch.randn_like(self._x), torch.randn_like(self._x)
    with torch.autocast("cuda", dtype=torch.bfloat16):
      output = self._network(x_t, self._t).sample
    loss = torch.nn.functional.mse_loss(output[:, :3].float(), noise)
    loss.backward()
    self._optimizer.step()
    self._optimizer.zero_grad(set_to_none=True)
    with torch.no_grad():
      torch._foreach_lerp_(self._averages, self._weights, 1 - contestants.EMA)
    torch.cuda.synchronize()


if __name__ == "__main__":
  app.run(main)
