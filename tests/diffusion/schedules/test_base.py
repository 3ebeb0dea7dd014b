"""What all noise schedules have in common, and schedules that are registered from outside."""

import numpy as np
import pytest

from iddpm_tf import config as config_lib
from iddpm_tf import registries
from iddpm_tf import settings
from iddpm_tf.diffusion import gaussian_diffusion
from iddpm_tf.diffusion.schedules import base

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
def test_betas_are_float64_probabilities(schedule, steps):
  betas = base.make_betas(schedule, steps)
  assert betas.shape == (steps,) and betas.dtype == np.float64
  assert betas.min() > 0 and betas.max() < 1


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_betas_of_the_paper_never_decrease(schedule):
  assert np.all(np.diff(base.make_betas(schedule, 1000)) >= 0)


def test_the_cases_contain_every_schedule():
  assert {schedule for schedule, _ in CASES} == set(registries.NOISE_SCHEDULES.names())


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_last_timestep_is_nearly_pure_noise(schedule):
  assert np.prod(1 - base.make_betas(schedule, 1000)) < 1e-4


def test_the_linear_schedule_destroys_information_sooner():
  linear, cosine = (np.cumprod(1 - base.make_betas(name, 1000)) for name in ("linear", "cosine"))
  # At the very end, neither leaves any.
  assert np.all(linear[:980] < cosine[:980])


def test_an_unknown_schedule_is_refused():
  names = ", ".join(registries.NOISE_SCHEDULES.names())
  message = f"^noise_schedule: expected one of {names}, received 'unknown'$"
  with pytest.raises(settings.InputError, match=message):
    base.make_betas("unknown", 100)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_process_without_steps_is_refused(schedule):
  message = "^diffusion_steps: expected a number of at least 1, received 0$"
  with pytest.raises(settings.InputError, match=message):
    base.make_betas(schedule, 0)


@pytest.mark.usefixtures("temporary_registrations")
def test_a_schedule_that_is_registered_from_outside_is_used_by_its_name():
  @registries.NOISE_SCHEDULES.register("constant")
  class ConstantSchedule(base.Schedule):
    """The same beta at every timestep."""

    def betas(self, steps):
      return np.full(steps, 0.1)

  assert "constant" in registries.NOISE_SCHEDULES.names()
  config = config_lib.Config.from_settings(noise_schedule="constant", diffusion_steps=5)
  assert config_lib.Config.from_json(config.to_json()) == config
  diffusion = gaussian_diffusion.make_diffusion(config.diffusion)
  np.testing.assert_allclose(diffusion.process.alphas_cumprod, 0.9 ** np.arange(1, 6))
  message = r"^noise_schedule: expected one of constant, .*\blinear\b.*, received 'other'$"
  with pytest.raises(settings.InputError, match=message):
    config_lib.Config.from_settings(noise_schedule="other")
