"""How much of the predicted x_0 and v left their ranges: numbers and words."""

import pytest

from iddpm_tf.diffusion.samplers import loop
from iddpm_tf.models import out_of_range
from tests import small_model

OUTSIDE = loop.OutOfRange(x_start=50, last_x_start=4, v=1, values=100, last_values=20)


@pytest.fixture(name="config")
def fixture_config():
  return small_model.make_config()


def test_batches_are_added_up():
  counter = out_of_range.Counter()
  assert counter.total() is None
  counter.add([1, 2, 3, 4, 5])
  counter.add([10, 0, 0, 0, 1])
  assert counter.total() == loop.OutOfRange(11, 2, 3, 4, 6)
  counter.clear()
  assert counter.total() is None


def test_shares_are_of_all_steps_and_of_the_last_one(config):
  expected = {
    "x_start_out_of_range": 0.5,
    "x_start_out_of_range_last_step": 0.2,
    "v_out_of_range": 0.01,
  }
  assert out_of_range.shares(config, OUTSIDE) == expected
  del expected["v_out_of_range"]
  fixed = config.with_settings(variance_type="fixed_small", objective="simple")
  assert out_of_range.shares(fixed, OUTSIDE) == expected


@pytest.mark.parametrize(
  "changes, words",
  [
    ({}, "and was clipped; 1.0% of v left [0, 1]"),
    ({"clip_denoised": False}, "and was not clipped; 1.0% of v left [0, 1]"),
    (
      {"dynamic_threshold": 0.9},
      "and was scaled back by dynamic_threshold=0.9; 1.0% of v left [0, 1]",
    ),
    ({"variance_type": "fixed_small", "objective": "simple"}, "and was clipped"),
  ],
)
def test_the_words_name_what_happened(config, changes, words):
  text = out_of_range.describe(config.with_settings(**changes), OUTSIDE)
  assert text == f"50.0% of the predicted x_0 left [-1, 1], 20.0% in the last step, {words}"


def test_half_of_all_steps_is_large():
  assert out_of_range.is_large(OUTSIDE)
  assert not out_of_range.is_large(OUTSIDE._replace(x_start=49))


def test_unclipped_images_of_black_and_white_are_noted(config):
  free = config.with_settings(clip_denoised=False)
  note = out_of_range.note_of_extremes(free, OUTSIDE)
  assert note and note.startswith("note: 20.0% of the values are outside [-1, 1]")
  assert out_of_range.note_of_extremes(config, OUTSIDE) is None
  assert out_of_range.note_of_extremes(free, OUTSIDE._replace(last_x_start=0)) is None
