"""The state of a training: everything that changes, and thus everything that a checkpoint holds."""

from collections.abc import Collection
import random

import keras
import numpy as np
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf.diffusion import gaussian_diffusion
from iddpm_tf.diffusion import timestep_sampling
from iddpm_tf.models import checkpoints
from iddpm_tf.networks import build_network
from iddpm_tf.networks import stateless
from iddpm_tf.training import ema
from iddpm_tf.training import flat
from iddpm_tf.training import optimizer as optimizer_lib
from iddpm_tf.training import step_guard
from iddpm_tf.training import tasks


class TrainState:
  """The weights, the optimizer, the moving averages and the timestep sampler of a run.

  Attributes:
    config: the configuration.
    diffusion: the diffusion process and the objective.
    task: what is trained: a diffusion model or a classifier.
    network: the network. Its own variables hold the initial weights, and later what is drawn from.
    weights: the weights that are trained.
    optimizer: the optimizer with its moments.
    averages: the moving averages of the weights.
    timestep_sampler: the distribution of timesteps.
    guard: decides which steps are skipped.
  """

  def __init__(self, config: config_lib.Config):
    """Initialises the state from the seed of the configuration.

    Under a strategy this is called inside `strategy.scope()`.
    """
    # Python's and NumPy's global generators belong to the caller, and get their states back.
    states = random.getstate(), np.random.get_state()
    keras.utils.set_random_seed(config.training.seed)
    self.config = config
    self.diffusion = gaussian_diffusion.make_diffusion(config.diffusion)
    self.task = tasks.make_task(config, self.diffusion)
    self.network = build_network(config)
    variables = self.network.trainable_variables
    layout = flat.Layout(
      [variable.shape for variable in variables], stateless.computation_dtypes(self.network)
    )
    self.weights = flat.FlatVariable(layout, [variable.value for variable in variables])
    self.optimizer = optimizer_lib.make_optimizer(config.training, self.weights)
    self.averages = ema.MovingAverages(self.weights, config.training.ema)
    self.timestep_sampler = timestep_sampling.make_timestep_sampler(config.diffusion)
    self.guard = step_guard.StepGuard(
      config.training.max_grad_norm_ratio,
      scales_loss=config.network.precision == "mixed_float16",
    )
    random.setstate(states[0])
    np.random.set_state(states[1])

  @property
  def step(self) -> tf.Variable:
    """The number of finished steps."""
    return self.optimizer.iterations

  @property
  def paths(self) -> list[str]:
    """The paths of the network's variables, such as `unet/out_conv/kernel`."""
    return [variable.path for variable in self.network.trainable_variables]

  def is_finite(self) -> bool:
    """Returns whether all weights, moments and averages are finite."""
    flats = (self.weights, self.optimizer.momentum, self.optimizer.velocity)
    return all(values.is_finite() for values in (*flats, *self.averages.averages))

  def load_into_network(self, values: flat.FlatVariable) -> None:
    """Gives the network the weights or an average, to draw or to evaluate."""
    for variable, value in zip(self.network.trainable_variables, values.read(), strict=True):
      variable.assign(value)

  def begin_at_network(self) -> None:
    """Sets the weights and all averages to those of the network, as at the start of a training."""
    self.weights.assign([variable.value for variable in self.network.trainable_variables])
    for rate in self.averages.rates:
      self.averages.begin(rate)

  def checkpoint(self, names: Collection[str] | None = None) -> tf.train.Checkpoint:
    """Returns a checkpoint of the whole state, or of the part that a file holds.

    Weights are listed by the paths of the network's variables, whatever their layout in memory.

    Args:
      names: the names of the variables in the file; None for the whole state. Files of version 1
        have no `moments_start`, and its value is 0. Earlier files have no `guard`. Rates of
        averages may be newer than a file.
    """
    paths = self.paths
    optimizer = self.optimizer.checkpointed(paths)
    if names is not None and not any("moments_start" in name for name in names):
      del optimizer["adamw/moments_start"]
    guard = {}
    if names is None or any(name.startswith("guard/") for name in names):
      guard = {"guard": self.guard}
    return tf.train.Checkpoint(
      network=self.weights.checkpointed(paths),
      optimizer=optimizer,
      averages={
        str(rate): self.averages.at_rate(rate).checkpointed(paths)
        for rate in self.averages.rates
        if names is None or rate in checkpoints.average_rates(names)
      },
      timestep_sampler=self.timestep_sampler,
      **guard,
    )

  def snapshot(self) -> tf.train.Checkpoint:
    """Returns a checkpoint of the current values in host memory, which later steps leave."""
    paths = self.paths
    return tf.train.Checkpoint(
      network=self.weights.checkpointed(paths, copied=True),
      optimizer=self.optimizer.checkpointed(paths, copied=True),
      averages={
        str(rate): self.averages.at_rate(rate).checkpointed(paths, copied=True)
        for rate in self.averages.rates
      },
      timestep_sampler=flat.copy_of_all(self.timestep_sampler),
      guard=flat.copy_of_all(self.guard),
    )

  def complete(self, names: Collection[str]) -> None:
    """Begins what a restored file lacks: averages at the restored weights, and the loss scale.

    Args:
      names: the names of the variables in the file.
    """
    for rate in set(self.averages.rates) - checkpoints.average_rates(names):
      self.averages.begin(rate)
    self.guard.fit_precision()
