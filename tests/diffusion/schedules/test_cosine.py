"""The cosine schedule: Eq. 17."""

import numpy as np
import pytest

from iddpm_tf.diffusion.schedules import cosine

SCHEDULE = cosine.CosineSchedule()


@pytest.mark.parametrize("steps", [10, 1000, 4000])
def test_alphas_cumprod_are_those_of_equation_17(steps):
  time = np.arange(1, steps + 1) / steps

  def f(time):
    return np.cos((time + 0.008) / 1.008 * np.pi / 2) ** 2

  alphas_cumprod = np.cumprod(1 - SCHEDULE.betas(steps))
  # The last beta is clipped.
  np.testing.assert_allclose(alphas_cumprod[:-1], f(time[:-1]) / f(0), rtol=1e-9)


@pytest.mark.parametrize("steps", [1, 10, 1000, 4000])
def test_betas_are_clipped_at_0_999(steps):
  assert SCHEDULE.betas(steps)[-1] == 0.999


def test_the_first_noise_is_just_smaller_than_the_bin_of_a_pixel():
  deviation = np.sqrt(SCHEDULE.betas(4000)[0])
  assert 0.4 / 127.5 < deviation < 1 / 127.5
