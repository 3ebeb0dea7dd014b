"""The timesteps that a shorter process keeps."""

import re

import numpy as np
import pytest

from iddpm_tf import settings
from iddpm_tf.diffusion.respacing import likelihood_timesteps
from iddpm_tf.diffusion.respacing import space_timesteps

STEPS = (1, 2, 3, 7, 21, 100, 999, 1000, 4000)


def is_valid(timesteps, steps):
  return (
    timesteps.dtype == np.int32
    and np.all(np.diff(timesteps) > 0)
    and timesteps[0] >= 0
    and timesteps[-1] < steps
  )


@pytest.mark.parametrize("steps", STEPS)
def test_an_empty_text_and_the_number_of_all_timesteps_keep_all(steps):
  for respacing in ("", str(steps), f"ddim{steps}"):
    np.testing.assert_array_equal(space_timesteps(steps, respacing), np.arange(steps))


@pytest.mark.parametrize("steps", STEPS)
def test_a_number_keeps_evenly_spaced_timesteps_from_the_first_to_the_last(steps):
  for count in range(2, min(steps, 60) + 1):
    kept = space_timesteps(steps, str(count))
    assert len(kept) == count and is_valid(kept, steps)
    assert kept[0] == 0 and kept[-1] == steps - 1
    assert np.ptp(np.diff(kept)) <= 1


@pytest.mark.parametrize("steps", STEPS)
def test_one_timestep_is_the_first(steps):
  for respacing in ("1", "ddim1"):
    np.testing.assert_array_equal(space_timesteps(steps, respacing), [0])


@pytest.mark.parametrize(
  "steps, respacing", [(300, "10,15,20"), (10, "1,1,1"), (11, "2,3,1,2"), (7, "3,2,2")]
)
def test_each_of_the_equal_sections_keeps_its_count(steps, respacing):
  counts = list(map(int, respacing.split(",")))
  sections = np.array_split(np.arange(steps), len(counts))  # The first ones take the remainder.
  kept = space_timesteps(steps, respacing)
  assert is_valid(kept, steps)
  assert [np.isin(section, kept).sum() for section in sections] == counts
  for section, count in zip(sections, counts, strict=True):
    assert section[0] in kept and (count == 1 or section[-1] in kept)


@pytest.mark.parametrize("steps", STEPS)
def test_ddim_has_a_constant_stride_from_the_first_timestep(steps):
  for count in {-(-steps // stride) for stride in range(1, min(steps, 60) + 1)} - {1}:
    kept = space_timesteps(steps, f"ddim{count}")
    assert len(kept) == count and is_valid(kept, steps) and kept[0] == 0
    assert len(set(np.diff(kept))) == 1


def test_ddim_refuses_a_number_without_a_stride_and_names_the_nearest():
  message = (
    "an integer stride keeps of 100 timesteps, received 'ddim60'; the nearest are 34 and 50$"
  )
  with pytest.raises(settings.InputError, match=message):
    space_timesteps(100, "ddim60")
  with pytest.raises(settings.InputError, match=r"received 'ddim101'; the nearest are 50 and 100$"):
    space_timesteps(100, "ddim101")


@pytest.mark.parametrize(
  "respacing",
  [
    "0",
    "-1",
    "1.5",
    " 5",
    "5 ",
    "5,",
    ",5",
    "5,,5",
    "0,5",
    "ddim",
    "ddim0",
    "ddim-5",
    "ddim5,5",
    "ddimx",
    "DDIM5",
    "x",
    "²",
    "٣",
  ],
)
def test_other_texts_are_refused(respacing):
  message = f"^respacing: expected .*, received {re.escape(repr(respacing))}$"
  with pytest.raises(settings.InputError, match=message):
    space_timesteps(100, respacing)


@pytest.mark.parametrize("respacing", ["101", "51,1", "1,51", "34,33,33,1"])
def test_more_timesteps_than_a_section_has_are_refused(respacing):
  message = rf"^respacing: expected at most .*, received \d+ \('{respacing}'\)$"
  with pytest.raises(settings.InputError, match=message):
    space_timesteps(100, respacing)


@pytest.mark.parametrize(
  "steps, count", [(4000, 25), (4000, 250), (1000, 50), (100, 7), (10, 10), (5, 1), (3, 2)]
)
def test_likelihoods_keep_the_strided_timesteps_and_all_early_ones(steps, count):
  """Appendix E: "... and every t from 1 to T/K" (1-based)."""
  kept = likelihood_timesteps(steps, count)
  assert is_valid(kept, steps)
  strided, early = space_timesteps(steps, str(count)), np.arange(steps // count)
  assert set(kept) == set(strided) | set(early)
  assert len(kept) == count + len(early) - np.isin(early, strided).sum()


@pytest.mark.parametrize("count", [0, -1, 101])
def test_likelihood_timesteps_refuse_impossible_numbers(count):
  with pytest.raises(settings.InputError, match=r"^respacing: expected"):
    likelihood_timesteps(100, count)
