"""Noise schedules: the equations, and betas that a process can use."""

import numpy as np
import pytest

from iddpm_tf.diffusion import schedules

CASES = [
  ("cosine", 1),
  ("cosine", 2),
  ("cosine", 20),
  ("linear", 21),
  ("linear", 50),
  ("linear", 1000),
  ("cosine", 1000),
  ("linear", 4000),
  ("cosine", 4000),
]


@pytest.mark.parametrize("schedule, steps", CASES)
def test_betas_are_probabilities_in_float64_and_never_fall(schedule, steps):
  betas = schedules.make_betas(schedule, steps)
  assert betas.shape == (steps,) and betas.dtype == np.float64
  assert betas.min() > 0 and betas.max() < 1
  assert np.all(np.diff(betas) >= 0)


def test_linear_endpoints_are_those_of_ho_et_al_scaled_by_1000_over_steps():
  np.testing.assert_allclose(schedules.linear_betas(1000)[[0, -1]], [1e-4, 0.02])
  np.testing.assert_allclose(schedules.linear_betas(4000)[[0, -1]], [2.5e-5, 0.005])
  np.testing.assert_allclose(np.diff(schedules.linear_betas(50), 2), 0, atol=1e-12)


@pytest.mark.parametrize("steps", [10, 1000, 4000])
def test_cosine_alphas_cumprod_are_equation_17(steps):
  time = np.arange(1, steps + 1) / steps

  def f(time):
    return np.cos((time + 0.008) / 1.008 * np.pi / 2) ** 2

  alphas_cumprod = np.cumprod(1 - schedules.cosine_betas(steps))
  # Where no beta is clipped yet.
  np.testing.assert_allclose(alphas_cumprod[:-1], f(time[:-1]) / f(0), rtol=1e-9)


@pytest.mark.parametrize("steps", [1, 10, 1000, 4000])
def test_cosine_betas_are_clipped_at_0_999(steps):
  assert schedules.cosine_betas(steps)[-1] == 0.999


def test_cosine_starts_just_below_the_pixel_bin_size():
  deviation = np.sqrt(schedules.cosine_betas(4000)[0])
  assert 0.4 / 127.5 < deviation < 1 / 127.5


def test_both_schedules_end_near_pure_noise():
  for schedule in ("linear", "cosine"):
    assert np.prod(1 - schedules.make_betas(schedule, 1000)) < 1e-4


def test_the_linear_schedule_destroys_information_sooner():
  linear, cosine = (
    np.cumprod(1 - schedules.make_betas(name, 1000)) for name in ("linear", "cosine")
  )
  # But for the very end, where neither leaves any.
  assert np.all(linear[:980] < cosine[:980])


@pytest.mark.parametrize(
  "schedule, steps, message",
  [
    ("linear", 20, "linear schedule: expected more than 20 steps, received 20"),
    ("linear", 0, "linear schedule: expected at least 1 step, received 0"),
    ("cosine", 0, "cosine schedule: expected at least 1 step, received 0"),
    ("quadratic", 100, "schedule: expected one of linear, cosine, received 'quadratic'"),
  ],
)
def test_refusals_name_what_was_expected(schedule, steps, message):
  with pytest.raises(ValueError, match=f"^{message}$"):
    schedules.make_betas(schedule, steps)
