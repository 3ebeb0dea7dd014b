"""The linear schedule."""

import numpy as np
import pytest

from iddpm_tf import settings
from iddpm_tf.diffusion.schedules import linear

SCHEDULE = linear.LinearSchedule()


def test_the_end_points_are_those_of_ho_et_al_scaled_by_1000_over_steps():
  np.testing.assert_allclose(SCHEDULE.betas(1000)[[0, -1]], [1e-4, 0.02])
  np.testing.assert_allclose(SCHEDULE.betas(4000)[[0, -1]], [2.5e-5, 0.005])
  np.testing.assert_allclose(np.diff(SCHEDULE.betas(50), 2), 0, atol=1e-12)


def test_20_steps_are_too_few():
  message = "^diffusion_steps: expected more than 20 for the linear schedule, received 20$"
  with pytest.raises(settings.InputError, match=message):
    SCHEDULE.betas(20)
