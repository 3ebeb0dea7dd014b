"""Everything that changes in training, hence everything that a checkpoint holds."""

import keras
import tensorflow as tf

from iddpm_tf.diffusion import process as process_lib
from iddpm_tf.diffusion import timestep_sampling
from iddpm_tf.networks import build_network
from iddpm_tf.training import ema
from iddpm_tf.training import optimizer as optimizer_lib


class TrainState:
  """The network, the optimizer, the moving averages and the timestep sampler of a run."""

  def __init__(self, config):
    """Initialises from `config.training.seed`; inside `strategy.scope()`. `config`: a `Config`."""
    keras.utils.set_random_seed(config.training.seed)
    self.config = config
    self.process = process_lib.make_process(config.diffusion)
    self.network = build_network(config)
    self.optimizer = optimizer_lib.make_optimizer(config.training)
    # Built here: under a strategy it cannot be while a graph is traced.
    self.optimizer.build(self.network.trainable_variables)
    self.averages = ema.MovingAverages(self.network.trainable_variables, config.training.ema)
    self.timestep_sampler = timestep_sampling.make_timestep_sampler(config.diffusion)

  @property
  def step(self):
    """Steps done, a Keras variable."""
    return self.optimizer.iterations

  def checkpoint(self, *, moments_start=True):
    """A `tf.train.Checkpoint` of all of it; of version 1, which had no `moments_start` (0, that is), without.

    Variables are listed by their paths: Keras layers in lists and dictionaries would be left out
    without a word if the network itself were handed over.
    """
    return tf.train.Checkpoint(
      network=by_path(self.network),
      optimizer={
        variable.path: variable.value
        for variable in self.optimizer.variables
        if moments_start or variable is not self.optimizer.moments_start
      },
      averages={
        str(rate): by_path(self.network, self.averages.at_rate(rate))
        for rate in self.averages.rates
      },
      timestep_sampler=self.timestep_sampler,
    )


def by_path(network, values=None):
  """The network's trainable variables, or `values` in their order, by the variables' paths."""
  variables = network.trainable_variables
  if values is None:
    values = [variable.value for variable in variables]
  named = {variable.path: value for variable, value in zip(variables, values, strict=True)}
  assert len(named) == len(variables), "two variables of one path"
  return named
