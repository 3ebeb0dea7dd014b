"""The settings of a training."""

import dataclasses

from iddpm_tf import settings


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
  """The optimisation, and how often training is saved and measured."""

  train_steps: int = settings.setting(
    1500, "steps in all; a larger number continues a finished run", changeable=True
  )
  batch_size: int = settings.setting(
    128, "images per step, summed over all replicas", changeable=True
  )
  microbatches: int = settings.setting(
    1,
    "parts of each replica's images whose gradients are computed one after the other, to save "
    "memory, and averaged",
    changeable=True,
    since=3,
  )
  max_examples: int = settings.setting(
    0,
    "training images to use, evenly spaced in their order; few of them show whether a model "
    "overfits; 0: all",
    changeable=True,
    since=9,
  )
  remat: bool = settings.setting(
    False,
    "compute the activations of each block of the network again in the backward pass, to save "
    "memory; takes a third more time",
    changeable=True,
    since=6,
  )
  graph_optimizer: str = settings.setting(
    "auto",
    "what prepares the graph of a training step: grappler, TensorFlow's graph optimizer; xla, a "
    "compiler, of the losses and their gradient; none, which begins soonest; auto: none on CPUs, "
    "grappler on other devices and with remat",
    choices=("auto", "none", "grappler", "xla"),
    changeable=True,
    since=10,
  )
  learning_rate: float = settings.setting(1e-3, "learning rate of AdamW", changeable=True)
  warmup_steps: int = settings.setting(
    0, "steps of linear warm-up of the learning rate", changeable=True
  )
  decay_steps: int = settings.setting(
    0, "step at which the learning rate has fallen linearly to 0; 0 means never", changeable=True
  )
  weight_decay: float = settings.setting(0.0, "decoupled weight decay of AdamW", changeable=True)
  ema: tuple[float, ...] = settings.setting(
    (0.995,), "rates of the moving averages of the weights", extendable=True
  )
  seed: int = settings.setting(0, "seed of the weights, the order of the data and all noise")
  steps_per_call: int = settings.setting(
    10, "training steps per call of the graph", changeable=True
  )
  log_every: int = settings.setting(100, "steps between TensorBoard scalars", changeable=True)
  sample_every: int = settings.setting(
    0, "steps between sample grids; 0 draws one only at the end", changeable=True
  )
  profile_steps: tuple[int, ...] = settings.setting(
    (),
    "the first and the last step that TensorBoard's profiler records, such as 101,110; unset: none",
    changeable=True,
    since=7,
  )
  save_every: int = settings.setting(500, "steps between checkpoints", changeable=True)
  keep_checkpoints: int = settings.setting(3, "newest checkpoints to keep", changeable=True)
  keep_every: int = settings.setting(
    0,
    "also keep checkpoints whose step is a multiple of this; 0: keep only the newest",
    changeable=True,
    since=7,
  )
  max_grad_norm_ratio: float = settings.setting(
    1000.0,
    "skip a step whose gradient has a norm above this many times the median of the last 128 steps; "
    "0: skip only steps that are not finite",
    changeable=True,
    since=7,
  )
  max_skipped_steps: int = settings.setting(
    10,
    "skipped steps in a row after which training goes back to the last checkpoint with other noise",
    changeable=True,
    since=7,
  )
  max_restarts: int = settings.setting(
    3,
    "times in a row that training goes back to the same checkpoint before it stops with an error",
    changeable=True,
    since=7,
  )

  def __post_init__(self) -> None:
    """Checks the values, and raises `InputError` for a wrong one."""
    settings.convert(self)
    settings.require_choices(self)
    settings.require(
      not self.remat or self.graph_optimizer != "xla",
      "graph_optimizer",
      "auto, none or grappler with remat, because XLA computes nothing again",
      self.graph_optimizer,
    )
    settings.require_positive(
      self,
      "train_steps",
      "batch_size",
      "microbatches",
      "learning_rate",
      "steps_per_call",
      "log_every",
      "save_every",
      "keep_checkpoints",
      "max_skipped_steps",
    )
    settings.require(
      self.batch_size % self.microbatches == 0,
      "microbatches",
      f"a divisor of batch_size={self.batch_size}",
      self.microbatches,
    )
    settings.require_not_negative(
      self,
      "warmup_steps",
      "decay_steps",
      "weight_decay",
      "sample_every",
      "keep_every",
      "max_examples",
      "max_grad_norm_ratio",
      "max_restarts",
    )
    settings.require(
      self.decay_steps == 0 or self.decay_steps > self.warmup_steps,
      "decay_steps",
      f"0, or more than warmup_steps={self.warmup_steps}",
      self.decay_steps,
    )
    settings.require(
      self.decay_steps == 0 or self.decay_steps >= self.train_steps,
      "decay_steps",
      f"0, or at least train_steps={self.train_steps}, because the learning rate is 0 from then on",
      self.decay_steps,
    )
    settings.require_seed(self.seed)
    settings.require(
      not self.profile_steps
      or (len(self.profile_steps) == 2 and 0 < self.profile_steps[0] <= self.profile_steps[1]),
      "profile_steps",
      "the first and the last step, such as 101,110",
      self.profile_steps,
    )
    settings.require(
      len(set(self.ema)) == len(self.ema) and all(0 < rate < 1 for rate in self.ema),
      "ema",
      "distinct rates between 0 and 1",
      self.ema,
    )
