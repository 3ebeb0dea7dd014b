"""How training draws t: uniformly, or in proportion to the size of the losses (section 3.3)."""

import tensorflow as tf

HISTORY = 10  # Losses kept a timestep.
UNIFORM_MIX = 0.001  # Probability that is spread evenly, so that no timestep is forgotten.


class UniformSampler(tf.Module):
  """Every timestep alike."""

  def __init__(self, num_timesteps):
    super().__init__(name="uniform_sampler")
    self.num_timesteps = num_timesteps

  def probabilities(self):
    """`[T]`, summing to 1."""
    return tf.fill([self.num_timesteps], 1.0 / self.num_timesteps)

  def sample(self, count, seed):
    """Draws timesteps.

    Returns:
      t int32 `[count]`, and the weights 1 / (T p_t) `[count]` that keep the mean loss unbiased (Eq. 18).
    """
    t = tf.random.stateless_uniform(
      [count], seed, maxval=self.num_timesteps, dtype=tf.int32, alg="philox"
    )
    return t, tf.ones([count])

  def update(self, t, losses):
    """Learns from the unweighted losses `[N]` of timesteps `[N]`, of all replicas, oldest first."""
    del t, losses


class LossSecondMomentSampler(UniformSampler):
  """p_t in proportion to sqrt(E[L_t^2]) (Eq. 18), once every timestep has ten losses."""

  def __init__(self, num_timesteps):
    super().__init__(num_timesteps)
    # Rings: where the next loss goes is the number of losses seen, modulo HISTORY.
    self.losses = tf.Variable(tf.zeros([num_timesteps, HISTORY]), trainable=False, name="losses")
    self.counts = tf.Variable(tf.zeros([num_timesteps], tf.int32), trainable=False, name="counts")

  def probabilities(self):
    full = tf.reduce_all(self.counts >= HISTORY)
    # In units of the largest, whose square may not be a float32.
    losses = tf.math.divide_no_nan(self.losses, tf.reduce_max(tf.abs(self.losses)))
    weights = tf.sqrt(tf.reduce_mean(tf.square(losses), axis=-1))
    # All losses zero, for once, leaves nothing to go by.
    total = tf.reduce_sum(weights)
    uniform = super().probabilities()
    adapted = tf.math.divide_no_nan(weights, total) * (1 - UNIFORM_MIX) + UNIFORM_MIX * uniform
    return tf.where(full & (total > 0), adapted, uniform)

  def sample(self, count, seed):
    probabilities = self.probabilities()
    cumulative = tf.cumsum(probabilities)
    uniform = tf.random.stateless_uniform([count], seed, alg="philox") * cumulative[-1]
    t = tf.minimum(tf.searchsorted(cumulative, uniform, side="right"), self.num_timesteps - 1)
    return t, 1.0 / (self.num_timesteps * tf.gather(probabilities, t))

  def update(self, t, losses):
    same = t[:, None] == t[None, :]  # [N, N]
    earlier = tf.linalg.band_part(tf.cast(same, tf.int32), -1, 0) - tf.eye(
      tf.size(t), dtype=tf.int32
    )
    rank = tf.reduce_sum(earlier, axis=1)  # [N], among those of its timestep.
    of_timestep = tf.reduce_sum(tf.cast(same, tf.int32), axis=1)  # [N]
    # Only the newest ten of a timestep fit; the rest would be overwritten at once.
    kept = tf.where(of_timestep - rank <= HISTORY)[:, 0]
    position = (tf.gather(self.counts, t) + rank) % HISTORY
    slots = tf.gather(tf.stack([t, position], axis=1), kept)
    self.losses.assign(tf.tensor_scatter_nd_update(self.losses, slots, tf.gather(losses, kept)))
    # Counts stay small, so that they never overflow, and the same modulo HISTORY.
    counts = tf.tensor_scatter_nd_add(self.counts, t[:, None], tf.ones_like(t))
    self.counts.assign(tf.where(counts >= 2 * HISTORY, HISTORY + counts % HISTORY, counts))


SAMPLERS = {"uniform": UniformSampler, "loss_second_moment": LossSecondMomentSampler}


def make_timestep_sampler(config):
  """The sampler of a `DiffusionConfig`."""
  return SAMPLERS[config.timestep_sampler](config.diffusion_steps)
