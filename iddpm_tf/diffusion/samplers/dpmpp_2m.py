"""DPM-Solver++(2M), a multistep solver of second order (Lu et al., 2022, arXiv:2211.01095)."""

import dataclasses

from iddpm_tf import registries
from iddpm_tf.diffusion import gaussian_diffusion
from iddpm_tf.diffusion.samplers import linear


@registries.SAMPLERS.register("dpmpp_2m")
@dataclasses.dataclass(frozen=True)
class DPMSolverPP2M(linear.LinearSampler):
  """Extrapolates the predicted x_0 from two evaluations, one of them kept from the step before."""

  name = "dpmpp_2m"
  own_spacing = "logsnr"
  least_steps = 2

  @property
  def is_stochastic(self) -> bool:
    """Whether a step uses its noise."""
    return False

  def coefficients(self, diffusion: gaussian_diffusion.GaussianDiffusion) -> linear.Coefficients:
    """Returns the factors of Algorithm 2, with steps of first order at both ends."""
    levels = linear.Levels.of_process(diffusion.process)
    count = diffusion.num_timesteps
    table = linear.Coefficients.zeros(count)
    table.keeps[:] = True
    for k in range(count):
      gain = table.set_exponential_step(k, levels, k, k + 1)
      table.extrapolate(k, gain, levels)
    return table
