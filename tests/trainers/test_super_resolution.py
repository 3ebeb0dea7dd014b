"""Super-resolution (Appendix C): an upsampler alone, after a base model, and as one export."""

import json

import numpy as np
from PIL import Image
import pytest
import tensorflow as tf

from iddpm_tf.models import model_dir as model_dir_lib
from tests import small_model
from tests.trainers import test_bad_input
from trainers import sample

NETWORK = ("base_channels", "channel_multipliers", "num_res_blocks", "attention_resolutions")


def config_of(size, low_res_size=0, classes=10, channels=1):
  return small_model.make_config(
    (size, size, channels),
    classes,
    low_res_size=low_res_size,
    image_size=size,
    resize="area",
    samplers=("ddim:2",),
  )


def make_model(folder, config):
  return small_model.write(folder, config, seed=config.network.low_res_size)


@pytest.fixture(name="base", scope="module")
def fixture_base(tmp_path_factory):
  return make_model(tmp_path_factory.mktemp("models") / "base", config_of(4))


@pytest.fixture(name="upsampler", scope="module")
def fixture_upsampler(tmp_path_factory):
  return make_model(tmp_path_factory.mktemp("models") / "upsampler", config_of(8, low_res_size=4))


@pytest.fixture(name="drawn", scope="module")
def fixture_drawn(base, upsampler, tmp_path_factory):
  """The folder of what the two-stage command writes."""
  folder = tmp_path_factory.mktemp("drawn")
  assert (
    sample.COMMAND.run(
      [
        "sample",
        f"--model_dir={base}",
        f"--upsampler_dir={upsampler}",
        f"--output_dir={folder}",
        "--upsampler_sampler=ancestral:3",
        "--png",
      ],
    )
    == 0
  )
  return folder


def images(folder, name):
  (path,) = folder.glob(f"{name}_samples_*.npz")
  with np.load(path) as content:
    return dict(content)


def test_the_two_stage_command_writes_both_sizes(drawn):
  small, large = images(drawn, "ddim_2"), images(drawn, "ddim_2_upsampled_ancestral_3")
  assert small["arr_0"].shape == (12, 4, 4, 1) and large["arr_0"].shape == (12, 8, 8, 1)
  for content in (small, large):
    np.testing.assert_array_equal(content["arr_1"], np.arange(12) % 10)
    assert len(np.unique(content["arr_0"])) > 10
  assert Image.open(drawn / "ddim_2_upsampled_ancestral_3.png").size[0] > 60
  assert (drawn / "ddim_2_upsampled_ancestral_3/seed_11_label_1.png").exists()


def test_the_upsampler_alone_enlarges_what_was_written_to_the_same_images(
  run, upsampler, drawn, tmp_path
):
  (path,) = drawn.glob("ddim_2_samples_*.npz")
  assert (
    run(
      "sample",
      f"--model_dir={upsampler}",
      f"--base_samples={path}",
      f"--output_dir={tmp_path}",
      "--samplers=ancestral:3",
    ).status
    == 0
  )
  chained = images(drawn, "ddim_2_upsampled_ancestral_3")
  for name, value in images(tmp_path, "ancestral_3").items():
    np.testing.assert_array_equal(value, chained[name])


@pytest.mark.parametrize("sampler", ("ancestral:3", "ddim:2"))
def test_a_consistent_image_averages_to_the_one_that_was_enlarged(
  run, upsampler, drawn, tmp_path, sampler
):
  (path,) = drawn.glob("ddim_2_samples_*.npz")

  def error(name, *flags):
    run(
      "sample",
      f"--model_dir={upsampler}",
      f"--base_samples={path}",
      f"--output_dir={tmp_path / name}",
      f"--samplers={sampler}",
      *flags,
    )
    large = images(tmp_path / name, sampler.replace(":", "_"))["arr_0"].astype(float)
    squares = large.reshape(12, 4, 2, 4, 2, 1)
    # Only where no pixel was clipped to black or white.
    inside = (squares.min((2, 4)) > 0) & (squares.max((2, 4)) < 255)
    assert inside.sum() > 10
    return np.abs(squares.mean((2, 4)) - images(drawn, "ddim_2")["arr_0"])[inside].max()

  assert error("free") > 5
  assert error("held", "--consistent") <= 0.5  # Rounding alone.


def test_the_small_image_and_the_label_both_matter(run, upsampler, drawn, tmp_path):
  low_res = images(drawn, "ddim_2")["arr_0"]

  def enlarged(name, low_res, labels):
    np.savez(tmp_path / f"{name}.npz", low_res, labels)
    run(
      "sample",
      f"--model_dir={upsampler}",
      f"--base_samples={tmp_path}/{name}.npz",
      "--num_samples=2",
      f"--output_dir={tmp_path / name}",
    )
    return images(tmp_path / name, "ddim_2")["arr_0"]

  labels = np.arange(12) % 10
  whole = enlarged("whole", low_res, labels)
  assert len(whole) == 2
  assert np.any(enlarged("other_images", low_res[::-1], labels) != whole)
  assert np.any(enlarged("other_labels", low_res, labels[::-1]) != whole)


def test_the_chain_as_one_servable(run, base, upsampler, drawn, tmp_path):
  result = run(
    "export",
    f"--model_dir={base}",
    f"--upsampler_dir={upsampler}",
    "--upsampler_sampler=ancestral:3",
    f"--output_dir={tmp_path}",
    "--name=chain",
    "--verify",
  )
  assert result.status == 0 and "byte for byte" in result.out
  signature = tf.saved_model.load(tmp_path / "chain/1").signatures["ddim_2"]
  assert signature.structured_input_signature[1].keys() == {"seed", "label"}
  content = images(drawn, "ddim_2_upsampled_ancestral_3")
  inputs = {"seed": tf.range(12, dtype=tf.int64), "label": tf.constant(content["arr_1"])}
  np.testing.assert_array_equal(signature(**inputs)["image"], content["arr_0"])
  made_from = json.loads((tmp_path / "chain/1/assets.extra/made_from.json").read_text())
  assert made_from["upsampler_training_step"] == small_model.STEP
  assert (tmp_path / "chain/1/assets.extra/upsampler_config.json").exists()


def test_an_upsampler_is_a_servable_of_its_own(run, upsampler, drawn, tmp_path):
  assert (
    run(
      "export",
      f"--model_dir={upsampler}",
      "--samplers=ancestral:3",
      f"--output_dir={tmp_path}",
      "--name=up",
      "--verify",
    ).status
    == 0
  )
  signature = tf.saved_model.load(tmp_path / "up/1").signatures["serving_default"]
  small, large = images(drawn, "ddim_2"), images(drawn, "ddim_2_upsampled_ancestral_3")
  drawn_again = signature(
    seed=tf.range(12, dtype=tf.int64),
    label=tf.constant(small["arr_1"]),
    low_res=tf.constant(small["arr_0"]),
  )["image"]
  np.testing.assert_array_equal(drawn_again, large["arr_0"])


def test_training_an_upsampler_and_its_bits_per_dim(run, tmp_path):
  flags = small_model.flags(**{name: small_model.SETTINGS[name] for name in NETWORK})
  folder = tmp_path / "run"
  assert (
    run(
      "train",
      *flags,
      "--low_res_size=4",
      "--diffusion_steps=25",
      "--batch_size=4",
      "--train_steps=2",
      "--samplers=ddim:1",
      "--num_samples=4",
      f"--model_dir={folder}",
    ).status
    == 0
  )
  # Triples of 32 pixels (8, magnified), 2 between.
  assert Image.open(folder / "samples/step_2_raw.png").size == (2 + 34 * 6, 2 + 34 * 2)
  assert (
    run("evaluate", f"--model_dir={folder}", "--nll", "--num_examples=2", "--nll_steps=2").status
    == 0
  )


@pytest.mark.parametrize("name", ("sample", "export"))
def test_models_that_do_not_fit_are_refused(run, base, upsampler, name, tmp_path):
  def refused(model, *flags, words):
    output = tmp_path / "out"
    test_bad_input.assert_refused(
      run(name, f"--model_dir={model}", f"--output_dir={output}", *flags), *words
    )
    assert not output.exists()

  refused(base, f"--upsampler_dir={base}", words=("--upsampler_dir", "low_res_size"))
  refused(upsampler, f"--upsampler_dir={upsampler}", words=("--model_dir", "4x4x1"))
  refused(base, f"--upsampler_dir={tmp_path}/none", words=("--upsampler_dir", "does not exist"))
  refused(base, "--upsampler_sampler=ddim:5", words=("--upsampler_sampler", "upsampler_dir"))
  refused(
    base,
    f"--upsampler_dir={upsampler}",
    "--upsampler_sampler=ddim:50",
    words=("--upsampler_sampler", "25", "50"),
  )
  refused(
    base, f"--upsampler_dir={upsampler}", "--upsampler_ema=0.7", words=("--upsampler_ema", "0.7")
  )
  for kind, config in (
    ("larger", config_of(16, low_res_size=8)),
    ("fewer", config_of(8, 4, classes=3)),
    ("colour", config_of(8, 4, channels=3)),
  ):
    # The configuration is enough: the networks are not loaded.
    model_dir_lib.ModelDir(tmp_path / kind).write_config(config)
    refused(base, f"--upsampler_dir={tmp_path / kind}", words=("--upsampler_dir", kind))


def test_an_upsampler_needs_images_to_enlarge(run, base, upsampler, tmp_path):
  def refused(model, *flags, words):
    test_bad_input.assert_refused(
      run("sample", f"--model_dir={model}", f"--output_dir={tmp_path / 'out'}", *flags), *words
    )

  def saved(*arrays):
    np.savez(tmp_path / "images.npz", *arrays)
    return f"--base_samples={tmp_path}/images.npz"

  small = np.zeros([3, 4, 4, 1], np.uint8)
  refused(upsampler, words=("--base_samples", "4x4x1", "upsampler_dir"))
  refused(base, saved(small), words=("--base_samples", "none"))
  refused(upsampler, f"--base_samples={tmp_path}/none.npz", words=("none.npz",))
  refused(upsampler, saved(small.astype(float)), words=("--base_samples", "float64"))
  refused(upsampler, saved(small[:, :3]), words=("--base_samples", "4, 4, 1", "[3, 3, 4, 1]"))
  refused(upsampler, saved(small), words=("--base_samples", "arr_1"))
  refused(upsampler, saved(small, np.array([0, 1, 10])), words=("--base_samples", "0 to 9", "10"))
  refused(
    upsampler, saved(small, np.arange(3)), "--num_samples=4", words=("--num_samples", "3", "4")
  )
  (tmp_path / "text.npz").write_text("no archive")
  refused(upsampler, f"--base_samples={tmp_path}/text.npz", words=("text.npz",))
