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
from iddpm_tf.training import ema
from iddpm_tf.training import optimizer as optimizer_lib


class TrainState:
  """The network, the optimizer, the moving averages and the timestep sampler of a run."""

  def __init__(self, config: config_lib.Config):
    """Initialises the state from the seed of the configuration.

    Under a strategy this is called inside `strategy.scope()`.
    """
    # Python's and NumPy's global generators belong to the caller, and get their states back.
    states = random.getstate(), np.random.get_state()
    keras.utils.set_random_seed(config.training.seed)
    self.config = config
    self.diffusion = gaussian_diffusion.make_diffusion(config.diffusion)
    self.network = build_network(config)
    self.optimizer = optimizer_lib.make_optimizer(config.training)
    # Under a strategy, the optimizer cannot be built while a graph is traced.
    self.optimizer.build(self.network.trainable_variables)
    self.averages = ema.MovingAverages(self.network.trainable_variables, config.training.ema)
    self.timestep_sampler = timestep_sampling.make_timestep_sampler(config.diffusion)
    random.setstate(states[0])
    np.random.set_state(states[1])

  @property
  def step(self) -> keras.Variable:
    """The number of finished steps."""
    return self.optimizer.iterations

  @property
  def weights(self) -> list[tf.Variable]:
    """The network's trainable variables."""
    return [variable.value for variable in self.network.trainable_variables]

  def checkpoint(self, names: Collection[str] | None = None) -> tf.train.Checkpoint:
    """Returns a checkpoint of the whole state, or of the part that a file holds.

    Variables are listed by their paths, because TensorFlow silently leaves out Keras layers in
    lists and dictionaries if it is given the network itself.

    Args:
      names: the names of the variables in the file; None for the whole state. Files of version 1
        have no `moments_start`, and its value is 0. Rates of averages may be newer than a file.
    """
    moments_start = names is None or any("moments_start" in name for name in names)
    return tf.train.Checkpoint(
      network=checkpoints.variables_by_path(self.network),
      optimizer={
        variable.path: variable.value
        for variable in self.optimizer.variables
        if moments_start or variable is not self.optimizer.moments_start
      },
      averages={
        str(rate): checkpoints.variables_by_path(self.network, self.averages.at_rate(rate))
        for rate in self.averages.rates
        if names is None or rate in checkpoints.average_rates(names)
      },
      timestep_sampler=self.timestep_sampler,
    )

  def complete(self, names: Collection[str]) -> None:
    """Begins the averages of the rates that a restored file lacks at the restored weights.

    Args:
      names: the names of the variables in the file.
    """
    for rate in set(self.averages.rates) - checkpoints.average_rates(names):
      self.averages.begin(rate)
