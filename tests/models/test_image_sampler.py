"""The graph of a sampler: its inputs, what an image depends on, frames and latents."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf import networks
from iddpm_tf import settings
from iddpm_tf.diffusion.samplers import base
from iddpm_tf.diffusion.samplers import loop
from iddpm_tf.models import image_sampler
from tests import small_model

SEEDS = tf.constant([3, 2**40, 5, 3], tf.int64)
LABELS = tf.constant([0, 1, 2, 0], tf.int32)


def make_sampler(model, text, **options):
  return image_sampler.ImageSampler(model.config, model.network, base.parse(text), **options)


@pytest.mark.parametrize(
  "changes, names",
  [
    ({"class_conditional": False}, ["seed"]),
    ({}, ["seed", "label"]),
    ({"low_res_size": 4}, ["seed", "label", "low_res"]),
    ({"low_res_size": 4, "class_conditional": False}, ["seed", "low_res"]),
  ],
)
def test_the_inputs_depend_on_the_configuration(changes, names):
  config = small_model.make_config(**changes)
  sampler = image_sampler.ImageSampler(config, networks.build_network(config), base.parse("ddim:5"))
  signature = sampler.input_signature()
  assert [spec.name for spec in signature] == names
  if "low_res" in names:
    assert signature[-1].shape.as_list() == [None, 4, 4, 1] and signature[-1].dtype == tf.uint8


def test_an_image_depends_on_its_own_seed_and_label_only(ancestral):
  draw = ancestral.image_sampler.draw
  images = draw(SEEDS, LABELS).numpy()
  assert images.dtype == np.uint8 and images.shape == (4, 8, 8, 1)
  np.testing.assert_array_equal(images[0], images[3])
  # Kernels round differently for different numbers of images.
  alone = draw(SEEDS[2:3], LABELS[2:3]).numpy()[0]
  assert np.abs(alone.astype(int) - images[2]).max() <= 1
  other_label = draw(SEEDS, LABELS + 1).numpy()
  other_seed = draw(SEEDS + 1, LABELS).numpy()
  for other in (other_label, other_seed):
    assert np.all(np.any(other != images, axis=(1, 2, 3)))


@pytest.mark.parametrize(
  "seeds, labels, message",
  [
    ([], [], "seed: expected 1 or more, received none"),
    ([1, 2], [1], "label: expected as many as seeds"),
    ([1], [10], "label: expected 0 to 9, received"),
    ([1], [-1], "label: expected 0 to 9, received"),
  ],
)
def test_wrong_inputs_are_refused_in_the_graph(ancestral, seeds, labels, message):
  with pytest.raises(tf.errors.InvalidArgumentError, match=message):
    ancestral.image_sampler.draw(tf.constant(seeds, tf.int64), tf.constant(labels, tf.int32))


@pytest.mark.parametrize("text", ["dpmpp_2s:5", "heun:3", "heun_churn:3"])
def test_the_last_frame_of_other_evaluations_is_the_image(model, text):
  """Some samplers evaluate the network more often than once at a timestep."""
  sampler = make_sampler(model, text)
  frames = tf.function(lambda *inputs: sampler.frames(2, *inputs), autograph=False)(SEEDS, LABELS)
  np.testing.assert_array_equal(frames[:, -1], sampler.draw(SEEDS, LABELS))


def test_frames_go_from_noise_to_the_image(model):
  """Frames are evenly spaced, and the last of them is the image."""
  sampler = make_sampler(model, "ddim:5")
  graph = tf.function(lambda *inputs: sampler.frames(3, *inputs), autograph=False)
  frames = graph(SEEDS, LABELS).numpy()
  assert frames.shape == (4, 3, 8, 8, 1) and frames.dtype == np.uint8
  noise = loop.seeded_noise(SEEDS, (8, 8, 1))(tf.constant(0)).numpy()
  expected = np.clip((noise + 1) * 127.5, 0, 255)
  assert np.abs(frames[:, 0] - expected).max() <= 1
  # DDIM without noise draws the same images from the noise as latents.
  images = tf.function(sampler.from_latents, autograph=False)(noise, SEEDS, LABELS).numpy()
  np.testing.assert_array_equal(images, frames[:, -1])


def test_pixels_can_be_lowered_to_whole_levels(model):
  lowered = dataclasses.replace(model, config=model.config.with_settings(truncate=True))
  nearest, lower = (
    make_sampler(each, "ddim:1").draw(SEEDS, LABELS).numpy().astype(int)
    for each in (model, lowered)
  )
  assert set(np.unique(nearest - lower)) == {0, 1}


def test_more_steps_than_the_model_has_are_refused(model):
  message = "^samplers: expected at most 25 steps, which the model has, received ddim:26$"
  with pytest.raises(settings.InputError, match=message):
    make_sampler(model, "ddim:26")


def test_a_chain_has_the_inputs_of_its_base_model(model):
  config = small_model.make_config(low_res_size=4, class_conditional=False)
  upsampler = image_sampler.ImageSampler(
    config, networks.build_network(config), base.parse("ddim:1")
  )
  base_config = small_model.make_config((4, 4, 1))
  small = image_sampler.ImageSampler(
    base_config, networks.build_network(base_config), base.parse("ddim:2")
  )
  chain = image_sampler.TwoStageSampler(small, upsampler)
  assert [spec.name for spec in chain.input_signature()] == ["seed", "label"]
  assert chain.sampler == base.parse("ddim:2")
