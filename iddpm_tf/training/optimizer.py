"""AdamW and its learning rate."""

import keras
from keras import ops


class LinearSchedule(keras.optimizers.schedules.LearningRateSchedule):
  """Linear warm-up over `warmup_steps`, then linear decay that reaches 0 at `decay_steps` (0: none)."""

  def __init__(self, learning_rate, warmup_steps, decay_steps):
    self.learning_rate, self.warmup_steps, self.decay_steps = (
      learning_rate,
      warmup_steps,
      decay_steps,
    )

  def __call__(self, step):
    step = ops.cast(step, "float32")
    factor = ops.ones_like(step)
    if self.warmup_steps:
      factor = ops.minimum(factor, (step + 1.0) / self.warmup_steps)
    if self.decay_steps:
      factor *= ops.clip(1.0 - step / self.decay_steps, 0.0, 1.0)
    return self.learning_rate * factor

  def get_config(self):
    return {
      "learning_rate": self.learning_rate,
      "warmup_steps": self.warmup_steps,
      "decay_steps": self.decay_steps,
    }


class AdamW(keras.optimizers.AdamW):
  """AdamW as in Algorithm 2 of Loshchilov and Hutter (2019), and in PyTorch.

  Keras adds epsilon before it corrects the second moment's bias, which makes epsilon 30 times larger
  in the first step. Over the twelve steps of `tests/parity/test_train.py` the network's output then
  parts from the authors' by 2e-3; so it stays within 1e-4.
  """

  def build(self, variables):
    if self.built:
      return
    super().build(variables)
    # The value of `iterations` at which the moments were zero. Not a number of steps since: this one never
    # changes, whatever the number of replicas.
    self.moments_start = self.add_variable(
      shape=(), dtype="int", aggregation="only_first_replica", name="moments_start"
    )

  def start_at(self, step):
    """Goes on from a step of which there are weights but no moments; on an optimizer that has made no step.

    The learning rate is then that step's, while the moments' bias is corrected as from their zeros: by the
    step itself it would not be, and the next hundred updates would be up to six times too large.
    """
    self.iterations.assign(step)
    self.moments_start.assign(step)

  def update_step(self, gradient, variable, learning_rate):
    index = self._get_variable_index(variable)
    m, v = self._momentums[index], self._velocities[index]
    learning_rate, gradient = (
      ops.cast(value, variable.dtype) for value in (learning_rate, gradient)
    )
    step = ops.cast(self.iterations - self.moments_start + 1, variable.dtype)
    self.assign_add(m, (gradient - m) * (1 - self.beta_1))
    self.assign_add(v, (ops.square(gradient) - v) * (1 - self.beta_2))
    m_hat = m / (1 - ops.power(self.beta_1, step))
    v_hat = v / (1 - ops.power(self.beta_2, step))
    self.assign_sub(variable, learning_rate * m_hat / (ops.sqrt(v_hat) + self.epsilon))


def make_optimizer(config):
  """Of a `TrainingConfig`; not yet built."""
  schedule = LinearSchedule(config.learning_rate, config.warmup_steps, config.decay_steps)
  return AdamW(schedule, weight_decay=config.weight_decay, epsilon=1e-8, name="adamw")
