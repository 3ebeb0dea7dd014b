"""SDE-DPM-Solver++(2M): 2M with noise in each step (Lu et al., 2022, arXiv:2211.01095)."""

import dataclasses

import numpy as np

from iddpm_tf import registries
from iddpm_tf.diffusion import gaussian_diffusion
from iddpm_tf.diffusion.samplers import linear


@registries.SAMPLERS.register("dpmpp_sde")
@dataclasses.dataclass(frozen=True)
class SDEDPMSolverPP(linear.LinearSampler):
  """Solves the reverse stochastic differential equation, with the extrapolation of 2M.

  Its steps of first order are those of ancestral sampling with the smaller fixed variance.
  """

  name = "dpmpp_sde"
  own_spacing = "logsnr"
  least_steps = 2

  def coefficients(self, diffusion: gaussian_diffusion.GaussianDiffusion) -> linear.Coefficients:
    """Returns the factors of SDE-DPM-Solver++(2M) (section 5 and Appendix B)."""
    levels = linear.Levels.of_process(diffusion.process)
    count = diffusion.num_timesteps
    table = linear.Coefficients.zeros(count)
    table.keeps[:] = True
    for k in range(count):
      # exp(-h), for the step h in lambda.
      decay = levels.noise_levels[k + 1] / levels.noise_levels[k]
      gain = levels.alphas[k + 1] * (1 - decay**2)
      table.x[k] = levels.sigmas[k + 1] / levels.sigmas[k] * decay
      table.x_start[k] = gain
      table.noise[k] = levels.sigmas[k + 1] * np.sqrt(1 - decay**2)
      table.extrapolate(k, gain, levels)
    return table
