"""Which timesteps a shorter process keeps."""

import numpy as np
import pytest

from iddpm_tf.diffusion.respacing import likelihood_timesteps
from iddpm_tf.diffusion.respacing import space_timesteps

STEPS = (1, 2, 3, 7, 21, 100, 999, 1000, 4000)


def valid(timesteps, steps):
  return (
    timesteps.dtype == np.int32
    and np.all(np.diff(timesteps) > 0)
    and timesteps[0] >= 0
    and timesteps[-1] < steps
  )


@pytest.mark.parametrize("steps", STEPS)
def test_all_timesteps_are_kept_by_default_and_by_their_number(steps):
  for respacing in ("", str(steps), f"ddim{steps}"):
    np.testing.assert_array_equal(space_timesteps(steps, respacing), np.arange(steps))


@pytest.mark.parametrize("steps", STEPS)
def test_a_count_keeps_so_many_from_the_first_to_the_last(steps):
  for count in range(2, min(steps, 60) + 1):
    kept = space_timesteps(steps, str(count))
    assert len(kept) == count and valid(kept, steps)
    assert kept[0] == 0 and kept[-1] == steps - 1
    assert np.ptp(np.diff(kept)) <= 1  # Evenly.


@pytest.mark.parametrize("steps", STEPS)
def test_one_timestep_is_the_first(steps):
  for respacing in ("1", "ddim1"):
    np.testing.assert_array_equal(space_timesteps(steps, respacing), [0])


@pytest.mark.parametrize(
  "steps, respacing", [(300, "10,15,20"), (10, "1,1,1"), (11, "2,3,1,2"), (7, "3,2,2")]
)
def test_sections_are_equal_and_each_keeps_its_count(steps, respacing):
  counts = list(map(int, respacing.split(",")))
  sections = np.array_split(np.arange(steps), len(counts))  # The first ones take the remainder.
  kept = space_timesteps(steps, respacing)
  assert valid(kept, steps)
  assert [np.isin(section, kept).sum() for section in sections] == counts
  for section, count in zip(sections, counts):
    assert section[0] in kept and (count == 1 or section[-1] in kept)


@pytest.mark.parametrize("steps", STEPS)
def test_ddim_strides_are_constant_from_the_first_timestep(steps):
  for count in {-(-steps // stride) for stride in range(1, min(steps, 60) + 1)} - {1}:
    kept = space_timesteps(steps, f"ddim{count}")
    assert len(kept) == count and valid(kept, steps) and kept[0] == 0
    assert len(set(np.diff(kept))) == 1


def test_ddim_refuses_a_count_without_a_stride_and_names_the_nearest():
  with pytest.raises(ValueError, match="no integer stride keeps 60 of 100 .* 34 and 50$"):
    space_timesteps(100, "ddim60")
  with pytest.raises(ValueError, match="no integer stride keeps 101 of 100"):
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
  with pytest.raises(ValueError, match="^respacing: expected .*, received ") as caught:
    space_timesteps(100, respacing)
  assert repr(respacing) in str(caught.value)


@pytest.mark.parametrize("respacing", ["101", "51,1", "1,51", "34,33,33,1"])
def test_more_timesteps_than_a_section_has_are_refused(respacing):
  with pytest.raises(ValueError, match=f"^respacing '{respacing}': expected at most"):
    space_timesteps(100, respacing)


@pytest.mark.parametrize(
  "steps, count", [(4000, 25), (4000, 250), (1000, 50), (100, 7), (10, 10), (5, 1), (3, 2)]
)
def test_likelihoods_keep_the_stride_and_every_early_timestep(steps, count):
  """Appendix E: "... and every t from 1 to T/K" (1-based)."""
  kept = likelihood_timesteps(steps, count)
  assert valid(kept, steps)
  strided, early = space_timesteps(steps, str(count)), np.arange(steps // count)
  assert set(kept) == set(strided) | set(early)
  # The strided ones among the early ones are kept once.
  assert len(kept) == count + len(early) - np.isin(early, strided).sum()


def test_likelihood_timesteps_refuse_what_a_count_refuses():
  for count in (0, -1, 101):
    with pytest.raises(ValueError, match="^respacing"):
      likelihood_timesteps(100, count)
