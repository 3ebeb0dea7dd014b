"""The timesteps of samplers: their spacing, and that they are distinct."""

import numpy as np
import pytest

from iddpm_tf import settings
from iddpm_tf.diffusion import respacing
from iddpm_tf.diffusion.samplers import base
from iddpm_tf.diffusion.samplers import spacing
from tests.diffusion.samplers import gaussian_data


@pytest.fixture(name="alphas_cumprod", params=["cosine", "linear"])
def fixture_alphas_cumprod(request):
  return gaussian_data.make_diffusion(1000, request.param).process.alphas_cumprod


@pytest.mark.parametrize("name", ["logsnr", "rho", "rho3"])
@pytest.mark.parametrize("count", [1, 2, 10, 250, 999, 1000])
def test_timesteps_are_distinct_and_end_at_the_first(alphas_cumprod, name, count):
  timesteps = spacing.timesteps(alphas_cumprod, count, name)
  assert timesteps.shape == (count,) and timesteps[0] == 0 and timesteps.dtype == np.int32
  assert np.all(np.diff(timesteps) > 0) and timesteps[-1] < 1000
  if 1 < count <= 250:
    levels = spacing.noise_levels(alphas_cumprod)
    assert levels[timesteps[-1]] <= spacing.MAX_NOISE_LEVEL
    assert timesteps[-1] == 999 or levels[timesteps[-1] + 1] > spacing.MAX_NOISE_LEVEL


@pytest.mark.parametrize(
  "name, position", [("logsnr", np.log), ("rho", lambda x: x ** (1 / 7)), ("rho2", np.sqrt)]
)
def test_positions_are_evenly_spaced(name, position):
  alphas_cumprod = gaussian_data.make_diffusion(4000).process.alphas_cumprod
  levels = spacing.noise_levels(alphas_cumprod)
  chosen = position(levels[spacing.timesteps(alphas_cumprod, 12, name)])
  gaps = np.diff(chosen)
  # The first timesteps are too far apart to be exact.
  np.testing.assert_allclose(gaps[3:], np.mean(gaps), rtol=0.03)


@pytest.mark.parametrize("count", [1, 2, 10, 250, 1000])
def test_quadratic_timesteps_are_distinct_and_end_at_the_last(alphas_cumprod, count):
  timesteps = spacing.timesteps(alphas_cumprod, count, "quadratic")
  assert timesteps.shape == (count,) and timesteps[0] == 0 and timesteps.dtype == np.int32
  assert np.all(np.diff(timesteps) > 0) and timesteps[-1] == (999 if count > 1 else 0)


def test_sections_have_their_own_numbers_of_timesteps(alphas_cumprod):
  """Compares with what tests/parity holds against the authors' `--timestep_respacing`."""
  expected = respacing.space_timesteps(len(alphas_cumprod), "10,15,20")
  received = spacing.timesteps(alphas_cumprod, 45, "sections10-15-20")
  np.testing.assert_array_equal(received, expected)
  with pytest.raises(settings.InputError, match="expected 45 steps, the sum of those in sections"):
    spacing.timesteps(alphas_cumprod, 44, "sections10-15-20")
  assert base.parse("ancestral:45:sections10-15-20").to_text() == "ancestral:45:sections10-15-20"
  for text in ("ancestral:5:sections", "ancestral:5:sections0-5", "ancestral:sections10-5"):
    with pytest.raises(settings.InputError, match="samplers: expected NAME"):
      base.parse(text)


def test_quadratic_timesteps_are_squares(alphas_cumprod):
  expected = np.round(999 * (np.arange(10) / 9) ** 2)
  assert spacing.timesteps(alphas_cumprod, 10, "quadratic").tolist() == expected.tolist()
  for name in ("quadratic", "logsnr", "rho"):
    with pytest.raises(settings.InputError, match="expected at most 1000 timesteps"):
      spacing.timesteps(alphas_cumprod, 1001, name)


def test_uniform_and_stride_are_those_of_the_paper(alphas_cumprod):
  assert spacing.timesteps(alphas_cumprod, 4, "uniform").tolist() == [0, 333, 666, 999]
  assert spacing.timesteps(alphas_cumprod, 4, "stride").tolist() == [0, 250, 500, 750]
  assert spacing.timesteps(alphas_cumprod, None, "logsnr").tolist() == list(range(1000))
