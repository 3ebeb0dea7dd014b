"""The settings of the diffusion process and of the objective."""

import dataclasses
import math

from iddpm_tf import registries
from iddpm_tf import settings


@dataclasses.dataclass(frozen=True)
class DiffusionConfig:
  """The noising process, what the network predicts, and the objective (sections 2 and 3)."""

  diffusion_steps: int = settings.setting(1000, "T, the number of noising steps")
  noise_schedule: str = settings.setting(
    "cosine", "schedule of the noise", choices=registries.NOISE_SCHEDULES
  )
  mean_type: str = settings.setting(
    "eps", "what the network predicts for the mean", choices=("eps", "x_start", "x_prev")
  )
  variance_type: str = settings.setting(
    "learned_range",
    "variance of the reverse process; learned_range is Eq. 15",
    choices=("fixed_small", "fixed_large", "learned", "learned_range"),
  )
  objective: str = settings.setting(
    "hybrid", "loss to minimise: L_simple, L_vlb or L_hybrid", choices=("simple", "vlb", "hybrid")
  )
  vlb_weight: float | None = settings.setting(
    None, "weight of L_vlb in the objective; unset: 0.001 for hybrid (lambda), 1 for vlb"
  )
  decoder: str = settings.setting(
    "exact",
    "Gaussian CDF in L_0; tanh is the authors' approximation, for comparison with their numbers",
    choices=("exact", "tanh"),
  )
  rescale_timesteps: bool = settings.setting(
    True, "scale the timesteps that the network sees to 0..1000; otherwise the network sees t"
  )
  timestep_sampler: str = settings.setting(
    "uniform",
    "how training draws t; loss_second_moment is the importance sampling of Eq. 18",
    choices=("uniform", "loss_second_moment"),
  )

  def __post_init__(self) -> None:
    """Checks the values, and raises `InputError` for a wrong one."""
    settings.convert(self)
    settings.require_choices(self)
    settings.require_positive(self, "diffusion_steps")
    settings.require(
      self.noise_schedule != "linear" or self.diffusion_steps > 20,
      "diffusion_steps",
      "more than 20 for the linear schedule (its last beta is 0.02 * 1000 / T, below 1)",
      self.diffusion_steps,
    )
    if self.objective == "simple":
      settings.require(
        not self.learns_variance,
        "variance_type",
        "fixed_small or fixed_large for objective=simple, which trains no variance",
        self.variance_type,
      )
      settings.require(
        self.vlb_weight is None, "vlb_weight", "no value for objective=simple", self.vlb_weight
      )
    if self.objective == "hybrid":
      settings.require(
        self.learns_variance,
        "variance_type",
        "learned or learned_range for objective=hybrid",
        self.variance_type,
      )
    settings.require(
      self.vlb_weight is None or 0 < self.vlb_weight < math.inf,
      "vlb_weight",
      "a positive number",
      self.vlb_weight,
    )

  @property
  def learns_variance(self) -> bool:
    """Whether the network's output has values for the variance."""
    return self.variance_type in ("learned", "learned_range")
