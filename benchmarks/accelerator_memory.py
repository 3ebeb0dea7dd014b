"""Measures the memory of training steps on a GPU, beside what `benchmarks.memory_table` counts.

TensorFlow is not needed: the network runs on Keras' JAX backend. Install jax[cuda] and keras, then:

  python -m benchmarks.accelerator_memory --flagfiles=imagenet64,imagenet256 --gpus=8

A step is that of one of the GPUs that share the batch of the flagfile: the loss and its gradient in
microbatches, Adam, and the moving averages of the weights. Each measurement runs in a process of
its own, takes two steps, and prints a row with the most memory that was in use. JAX takes three
quarters of the GPU at most, and more with XLA_PYTHON_CLIENT_MEM_FRACTION=0.95.
"""

import argparse
from collections.abc import Sequence
import json
import os
import pathlib
import subprocess
import sys
from typing import Any

_GIB = 2**30
_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8  # Of Adam.
_COLUMNS = ("flagfile", "computed in", "images", "microbatches", "counted, GiB", "measured, GiB")


def main() -> None:
  """Runs the command."""
  # Keras and JAX read these when they are imported, in the processes that measure, too.
  os.environ.setdefault("KERAS_BACKEND", "jax")
  os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
  from benchmarks import memory_table

  parser = argparse.ArgumentParser(prog="accelerator_memory")
  parser.add_argument("--flagfiles", default="cifar10", help="names in configs/, with commas")
  ways = list(memory_table.WAYS)
  parser.add_argument("--ways", default=",".join(ways), help="how to compute: some of the default")
  parser.add_argument("--microbatches", default="1", help="their numbers, with commas")
  parser.add_argument("--gpus", type=int, default=8, help="GPUs that share the batch")
  parser.add_argument("--output", type=pathlib.Path, help="file that also receives the table")
  parser.add_argument("--measure", help=argparse.SUPPRESS)  # A measurement, in its own process.
  options = parser.parse_args()
  if options.measure:
    print(json.dumps(_measure(**json.loads(options.measure))))
    return
  _write(_COLUMNS, options.output)
  _write(["---"] * len(_COLUMNS), options.output)
  for name in options.flagfiles.split(","):
    memory = memory_table.memory_of(name)
    for way in options.ways.split(","):
      for microbatches in map(int, options.microbatches.split(",")):
        counted = memory.counted(way, options.gpus, microbatches) / _GIB
        images = memory.batch_size // options.gpus
        question = {"name": name, "way": way, "images": images, "microbatches": microbatches}
        cells = [f"`{name}`", way, str(images), str(microbatches), f"{counted:.1f}"]
        _write([*cells, _answer(question)], options.output)


def _write(cells: Sequence[str], output: pathlib.Path | None) -> None:
  line = f"| {' | '.join(cells)} |"
  print(line, flush=True)
  if output:
    with output.open("a", encoding="utf-8") as file:
      file.write(line + "\n")


def _answer(question: dict[str, Any]) -> str:
  """Returns the memory that another process measures, in GiB, or why there is none."""
  command = [sys.executable, "-m", "benchmarks.accelerator_memory"]
  done = subprocess.run(
    [*command, f"--measure={json.dumps(question)}"],
    capture_output=True,
    text=True,
    check=False,
  )
  if done.returncode:
    print(done.stderr[-2000:], file=sys.stderr)
    return "out of memory" if "RESOURCE_EXHAUSTED" in done.stderr else "failed"
  return f"{json.loads(done.stdout.splitlines()[-1]) / _GIB:.1f}"


def _measure(name: str, way: str, images: int, microbatches: int) -> int:
  """Returns the bytes that the training steps of one GPU need at most."""
  import jax
  from jax import numpy as jnp

  from benchmarks import memory_table
  from iddpm_tf import config as config_lib
  from iddpm_tf import networks
  from iddpm_tf.networks import stateless

  if images % microbatches:
    sys.exit(f"--microbatches: expected a divisor of {images} images, received {microbatches}")
  config = config_lib.Config.from_flagfile(memory_table.CONFIGS / f"{name}.flags")
  config = memory_table.with_data(config.with_settings(**memory_table.WAYS[way]))
  network = networks.build_network(config)
  shape = (images // microbatches, *config.data.image_shape)
  inputs = _conditioning(config, shape)

  def loss(weights, key):
    x, noise = jax.random.normal(key, (2, *shape))
    output = stateless.call_network(
      network,
      x,
      jnp.arange(shape[0], dtype="float32"),
      weights=weights,
      dropout_seed=jax.random.randint(key, (2,), 0, 2**16) if config.network.dropout else None,
      remat=config.training.remat,
      **inputs,
    )
    return jnp.mean(jnp.square(output[..., : shape[-1]] - noise))

  def gradient(weights, key):
    value_and_gradient = jax.value_and_grad(loss)
    if microbatches == 1:
      return value_and_gradient(weights, key)

    def add(total, key):
      return jax.tree.map(jnp.add, total, value_and_gradient(weights, key)), None

    zeros = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, weights))
    total, _ = jax.lax.scan(add, zeros, jax.random.split(key, microbatches))
    return jax.tree.map(lambda value: value / microbatches, total)

  def step(weights, first, second, averages, key):
    value, gradients = gradient(weights, key)
    first = [_BETA_1 * m + (1 - _BETA_1) * g for m, g in zip(first, gradients)]
    second = [_BETA_2 * v + (1 - _BETA_2) * jnp.square(g) for v, g in zip(second, gradients)]
    weights = [
      w - config.training.learning_rate * m / (jnp.sqrt(v) + _EPSILON)
      for w, m, v in zip(weights, first, second)
    ]
    averages = [
      [rate * a + (1 - rate) * w for a, w in zip(average, weights)]
      for rate, average in zip(config.training.ema, averages)
    ]
    return value, weights, first, second, averages

  compiled = jax.jit(step, donate_argnums=(0, 1, 2, 3))
  # Copies, because each step gives its buffers away.
  weights = [jnp.copy(variable.value) for variable in network.trainable_variables]
  zeros = [[jnp.zeros_like(weight) for weight in weights] for _ in range(2)]
  averages = [[jnp.copy(weight) for weight in weights] for _ in config.training.ema]
  state = (weights, *zeros, averages)
  for count in range(2):
    value, *state = compiled(*state, jax.random.key(count))
    value.block_until_ready()
  return jax.devices()[0].memory_stats()["peak_bytes_in_use"]


def _conditioning(config: Any, shape: tuple[int, ...]) -> dict[str, Any]:
  """Returns the labels and the small images that the network takes."""
  from jax import numpy as jnp

  inputs = {}
  if config.network.class_conditional:
    inputs["label"] = jnp.arange(shape[0])
  if config.low_res_shape:
    inputs["low_res"] = jnp.zeros((shape[0], *config.low_res_shape))
  return inputs


if __name__ == "__main__":
  main()
