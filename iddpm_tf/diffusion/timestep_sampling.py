"""How training draws t: uniformly, or by the size of the losses (section 3.3)."""

import tensorflow as tf

from iddpm_tf import config as config_lib

HISTORY = 10  # Losses kept of each timestep.
UNIFORM_MIX = 0.001  # Share of the probability that is spread evenly: no timestep is forgotten.


class UniformSampler(tf.Module):
  """Draws every timestep with the same probability."""

  def __init__(self, num_timesteps: int):
    super().__init__(name="uniform_sampler")
    self.num_timesteps = num_timesteps

  def probabilities(self) -> tf.Tensor:
    """Returns the probability of each timestep, float32 `[T]`."""
    return tf.fill([self.num_timesteps], 1.0 / self.num_timesteps)

  def sample(self, count: int | tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws timesteps.

    Args:
      count: the number of timesteps.
      seed: integers `[2]`.

    Returns:
      The timesteps t, int32 `[count]`, and weights 1 / (T p_t), float32 `[count]`, which keep the
      mean loss unbiased (Eq. 18).
    """
    t = tf.random.stateless_uniform(
      [count], seed, maxval=self.num_timesteps, dtype=tf.int32, alg="philox"
    )
    return t, tf.ones([count])

  def update(self, t: tf.Tensor, losses: tf.Tensor) -> None:
    """Learns from unweighted losses.

    Args:
      t: timesteps of all replicas, int32 `[N]`, oldest first.
      losses: their losses, float32 `[N]`.
    """
    del t, losses


class LossSecondMomentSampler(UniformSampler):
  """Draws t in proportion to sqrt(E[L_t^2]) (Eq. 18), once every timestep has ten losses."""

  def __init__(self, num_timesteps: int):
    super().__init__(num_timesteps)
    # Ring buffers: the next loss goes to the number of losses seen, modulo HISTORY.
    self.losses = tf.Variable(tf.zeros([num_timesteps, HISTORY]), trainable=False, name="losses")
    self.counts = tf.Variable(tf.zeros([num_timesteps], tf.int32), trainable=False, name="counts")

  def probabilities(self) -> tf.Tensor:
    """Returns the probability of each timestep, float32 `[T]`."""
    full = tf.reduce_all(self.counts >= HISTORY)
    # In units of the largest loss, whose square may not fit into float32.
    losses = tf.math.divide_no_nan(self.losses, tf.reduce_max(tf.abs(self.losses)))
    weights = tf.sqrt(tf.reduce_mean(tf.square(losses), axis=-1))
    # If all losses are zero, there is nothing to weigh by.
    total = tf.reduce_sum(weights)
    uniform = super().probabilities()
    adapted = tf.math.divide_no_nan(weights, total) * (1 - UNIFORM_MIX) + UNIFORM_MIX * uniform
    return tf.where(full & (total > 0), adapted, uniform)

  def sample(self, count: int | tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws timesteps and their weights, as `UniformSampler.sample` does."""
    probabilities = self.probabilities()
    cumulative = tf.cumsum(probabilities)
    uniform = tf.random.stateless_uniform([count], seed, alg="philox") * cumulative[-1]
    t = tf.minimum(tf.searchsorted(cumulative, uniform, side="right"), self.num_timesteps - 1)
    return t, 1.0 / (self.num_timesteps * tf.gather(probabilities, t))

  def update(self, t: tf.Tensor, losses: tf.Tensor) -> None:
    """Keeps the newest ten losses of each timestep."""
    same = t[:, None] == t[None, :]  # [N, N]
    earlier = tf.linalg.band_part(tf.cast(same, tf.int32), -1, 0) - tf.eye(
      tf.size(t), dtype=tf.int32
    )
    rank = tf.reduce_sum(earlier, axis=1)  # [N], among the losses of the same timestep.
    per_timestep = tf.reduce_sum(tf.cast(same, tf.int32), axis=1)  # [N]
    # Only the newest ten of a timestep fit. The others would be overwritten at once.
    kept = tf.where(per_timestep - rank <= HISTORY)[:, 0]
    position = (tf.gather(self.counts, t) + rank) % HISTORY
    slots = tf.gather(tf.stack([t, position], axis=1), kept)
    self.losses.assign(tf.tensor_scatter_nd_update(self.losses, slots, tf.gather(losses, kept)))
    # Counts stay small, so that they never overflow, and keep their value modulo HISTORY.
    counts = tf.tensor_scatter_nd_add(self.counts, t[:, None], tf.ones_like(t))
    self.counts.assign(tf.where(counts >= 2 * HISTORY, HISTORY + counts % HISTORY, counts))


SAMPLERS = {"uniform": UniformSampler, "loss_second_moment": LossSecondMomentSampler}


def make_timestep_sampler(config: config_lib.DiffusionConfig) -> UniformSampler:
  """Returns the sampler of timesteps of a configuration."""
  return SAMPLERS[config.timestep_sampler](config.diffusion_steps)
