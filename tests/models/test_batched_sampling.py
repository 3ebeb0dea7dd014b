"""Sampling in batches: the images, and the progress."""

import numpy as np
import pytest

from iddpm_tf import settings
from iddpm_tf.models import batched_sampling
from iddpm_tf.models import seeds
from iddpm_tf.utils import progress as progress_lib

INPUTS = seeds.make_inputs(7, seed=3, num_classes=10)


def test_the_images_do_not_depend_on_the_batches(ancestral):
  whole, parts = (
    ancestral.draw(INPUTS, batch_size=batch_size, progress=progress_lib.Silent())
    for batch_size in (100, 3)
  )
  assert whole.shape == (7, 8, 8, 1) and whole.dtype == np.uint8
  assert np.abs(whole.astype(int) - parts).max() <= 1
  batches = ancestral.batches(INPUTS, batch_size=3, progress=progress_lib.Silent())
  assert [len(batch) for batch in batches] == [3, 3, 1]


def test_the_bar_shows_every_step_of_every_batch(ancestral, recorder):
  ancestral.draw(INPUTS, batch_size=3, progress=recorder)
  assert recorder.total == recorder.done == 15  # Three batches of five steps.
  assert recorder.descriptions == ["ancestral_5"]


def test_the_samplers_of_a_configuration_are_parsed(model):
  texts = [sampler.to_text() for sampler in batched_sampling.parse_samplers(model.config)]
  assert texts == ["ancestral:5", "ddim:5"]
  (sampler,) = batched_sampling.parse_samplers(model.config, ("ddim:5:0.5",))
  assert sampler.eta == 0.5
  for text, message in (
    ("ddim:26", "expected at most 25 steps"),
    ("ddmi:5", "expected NAME"),
    ("ddim:12", "the nearest are"),
  ):
    with pytest.raises(settings.InputError, match=f"^samplers: .*{message}"):
      batched_sampling.parse_samplers(model.config, (text,))
