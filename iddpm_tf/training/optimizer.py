"""AdamW and the schedule of its learning rate."""

from collections.abc import Sequence
import dataclasses

import numpy as np
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf.training import flat


@dataclasses.dataclass(frozen=True)
class LinearSchedule:
  """A linear warm-up over `warmup_steps`, then a linear decay to 0 at `decay_steps`, if any."""

  learning_rate: float
  warmup_steps: int
  decay_steps: int

  def __call__(self, step: tf.Tensor) -> tf.Tensor:
    """Returns the learning rate of a step, float32 `[]`."""
    step = tf.cast(step, tf.float32)
    factor = tf.ones_like(step)
    if self.warmup_steps:
      factor = tf.minimum(factor, (step + 1.0) / self.warmup_steps)
    if self.decay_steps:
      factor *= tf.clip_by_value(1.0 - step / self.decay_steps, 0.0, 1.0)
    return self.learning_rate * factor


class AdamW:
  """AdamW as in Algorithm 2 of Loshchilov and Hutter (2019), and as in PyTorch.

  It updates all weights by one call of TensorFlow's kernel. Keras does so weight by weight, with
  some 25 operations each, and adds epsilon before it corrects the bias of the second moment, which
  makes epsilon 30 times larger in the first step.

  Attributes:
    schedule: the learning rate as a function of the step.
    weight_decay: the rate of the decay, which is multiplied by the learning rate.
    iterations: the number of finished steps, int64.
    moments_start: the value of `iterations` at which the moments were zero, plus the number of
      steps that were skipped since then. A step that is taken does not change it.
    momentum: the first moments.
    velocity: the second moments.
  """

  def __init__(
    self,
    weights: flat.FlatVariable,
    schedule: LinearSchedule,
    *,
    weight_decay: float = 0.0,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-8,
  ):
    """Makes the moments; inside `strategy.scope()` if there is a strategy."""
    self.schedule, self.weight_decay = schedule, weight_decay
    # As the kernel has them: the corrections of the bias must fit the moments.
    self._betas = tuple(float(np.float32(beta)) for beta in (beta_1, beta_2))
    self._epsilon = epsilon
    self._weights = weights
    self.iterations, self.moments_start = (
      tf.Variable(
        0,
        dtype=tf.int64,
        trainable=False,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
      )
      for _ in range(2)
    )
    self.momentum = flat.FlatVariable(weights.layout)
    self.velocity = flat.FlatVariable(weights.layout)

  @property
  def learning_rate(self) -> tf.Tensor:
    """The learning rate of the next step, float32 `[]`."""
    return self.schedule(self.iterations.read_value())

  def start_at(self, step: int) -> None:
    """Continues from a step of which there are weights but no moments.

    The learning rate is then the one of that step, and the bias of the moments is corrected from
    their zeros on. A correction by the step itself would make the next hundred updates up to six
    times too large. The optimizer must not have made a step.
    """
    self.iterations.assign(step)
    self.moments_start.assign(step)

  def checkpointed(
    self, paths: Sequence[str], *, copied: bool = False
  ) -> dict[str, tf.Variable | tf.Module]:
    """Returns the variables and the moments by the names that checkpoints have for them.

    Args:
      paths: the paths of the weights, such as `unet/out_conv/kernel`, in their order.
      copied: whether they are copies of now, in host memory, which cannot be restored.
    """
    content: dict[str, tf.Variable | tf.Module] = {
      "adamw/iteration": flat.copy_of(self.iterations) if copied else self.iterations,
      "adamw/moments_start": flat.copy_of(self.moments_start) if copied else self.moments_start,
    }
    for name, moments in (("momentum", self.momentum), ("velocity", self.velocity)):
      names = [f"adamw/{path.replace('/', '_')}_{name}" for path in paths]
      content |= moments.checkpointed(names, copied=copied)
    return content

  def skip(self) -> None:
    """Counts a step that changes no weights; in replica context under a strategy.

    The bias of the moments is corrected by the number of steps that were taken, which is therefore
    one less than the number of all.
    """
    for variable in (self.iterations, self.moments_start):
      tf.raw_ops.AssignAddVariableOp(resource=variable.handle, value=tf.constant(1, tf.int64))

  def apply(self, gradient: tf.Tensor) -> None:
    """Takes one step; in replica context under a strategy.

    Args:
      gradient: the gradient of all weights, as the layout of the weights joins them. It must be the
        same in all replicas.
    """
    rate = self.learning_rate
    if self.weight_decay:
      tf.raw_ops.ResourceApplyGradientDescent(
        var=self._weights.handle,
        alpha=rate * self.weight_decay,
        delta=self._weights.variable.read_value(),
      )
    # rate m / (1 - b1^n) / (sqrt(v / (1 - b2^n)) + epsilon), with the corrections in float64 and
    # taken out of the root. The kernel's own corrections are float32, and leave epsilon inside.
    steps = tf.cast(self.iterations.read_value() - self.moments_start.read_value() + 1, tf.float64)
    correction_1, correction_2 = (
      1.0 - tf.pow(tf.constant(b, tf.float64), steps) for b in self._betas
    )
    root = tf.sqrt(correction_2)
    tf.raw_ops.ResourceApplyAdam(
      var=self._weights.handle,
      m=self.momentum.handle,
      v=self.velocity.handle,
      beta1_power=tf.constant(0.0),
      beta2_power=tf.constant(0.0),
      lr=tf.cast(tf.cast(rate, tf.float64) * root / correction_1, tf.float32),
      beta1=tf.constant(self._betas[0]),
      beta2=tf.constant(self._betas[1]),
      epsilon=tf.cast(self._epsilon * root, tf.float32),
      grad=gradient,
    )
    tf.raw_ops.AssignAddVariableOp(resource=self.iterations.handle, value=tf.constant(1, tf.int64))


def make_optimizer(config: config_lib.TrainingConfig, weights: flat.FlatVariable) -> AdamW:
  """Returns the optimizer of a configuration."""
  schedule = LinearSchedule(config.learning_rate, config.warmup_steps, config.decay_steps)
  return AdamW(weights, schedule, weight_decay=config.weight_decay)
