"""Super-resolution models (Appendix C): alone, after another model, and as one servable."""

import hashlib
import json
import shutil

import numpy as np
from PIL import Image
import pytest
import tensorflow as tf

from iddpm_tf.evaluation import results_log
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.utils import progress as progress_lib
from tests import small_model
from trainers import evaluate
from trainers.cli import model_options


def make_config(size, low_res_size=0, classes=10, channels=1, **changes):
  """Returns the configuration of a small model of images of some size."""
  settings = {
    "low_res_size": low_res_size,
    "image_size": size,
    "resize": "area",
    "ema": (0.9,),
    "samplers": ("ddim:2",),
  }
  return small_model.make_config((size, size, channels), classes, **{**settings, **changes})


@pytest.fixture(name="base", scope="module")
def fixture_base(tmp_path_factory):
  """The folder of a model that draws images of 4x4, with random weights."""
  folder = tmp_path_factory.mktemp("models") / "base"
  return small_model.write(folder, make_config(4))


@pytest.fixture(name="upsampler", scope="module")
def fixture_upsampler(tmp_path_factory):
  """The folder of a model that enlarges images of 4x4 to 8x8."""
  folder = tmp_path_factory.mktemp("models") / "upsampler"
  return small_model.write(folder, make_config(8, low_res_size=4), seed=1)


@pytest.fixture(name="drawn", scope="module")
def fixture_drawn(graphs, base, upsampler, tmp_path_factory):
  """The folder of what the command for two stages has written."""
  from trainers import sample

  folder = tmp_path_factory.mktemp("drawn")
  flags = (
    f"--model_dir={base}",
    f"--upsampler_dir={upsampler}",
    "--upsampler_sampler=ancestral:3",
    f"--output_dir={folder}",
    "--png",
  )
  with pytest.MonkeyPatch.context() as monkeypatch, graphs.used(monkeypatch):
    assert sample.COMMAND.run(["sample", *flags]) == 0
  return folder


def path_of(folder, name):
  (path,) = folder.glob(f"{name}_samples_*.npz")
  return path


def images(folder, name):
  """Returns the arrays of an .npz file of images by name."""
  with np.load(path_of(folder, name)) as content:
    return dict(content)


def test_two_stages_write_both_sizes(drawn):
  small, large = images(drawn, "ddim_2"), images(drawn, "ddim_2_upsampled_ancestral_3")
  assert small["arr_0"].shape == (12, 4, 4, 1) and large["arr_0"].shape == (12, 8, 8, 1)
  for content in (small, large):
    np.testing.assert_array_equal(content["arr_1"], np.arange(12) % 10)
    assert len(np.unique(content["arr_0"])) > 10
  assert Image.open(drawn / "ddim_2_upsampled_ancestral_3.png").size[0] > 60
  assert (drawn / "ddim_2_upsampled_ancestral_3/seed_11_label_1.png").exists()


def test_the_upsampler_alone_draws_the_images_of_the_second_stage(run, upsampler, drawn, tmp_path):
  flags = (f"--base_samples={path_of(drawn, 'ddim_2')}", f"--output_dir={tmp_path}")
  sampled = run("sample", f"--model_dir={upsampler}", *flags, "--samplers=ancestral:3")
  assert sampled.status == 0
  expected = images(drawn, "ddim_2_upsampled_ancestral_3")
  for name, value in images(tmp_path, "ancestral_3").items():
    np.testing.assert_array_equal(value, expected[name])


def test_the_images_of_two_stages_are_scored_and_kept(run, base, upsampler, drawn, tmp_path):
  """The score is that of the images that `sample` draws. A stopped evaluation continues."""
  copied = tmp_path / "base"
  shutil.copytree(base, copied)
  flags = (
    f"--model_dir={copied}",
    f"--upsampler_dir={upsampler}",
    "--upsampler_sampler=ancestral:3",
    "--fid",
    "--batch_size=5",
  )
  assert run("evaluate", *flags).status == 0
  (line,) = results_log.read(copied)
  expected = images(drawn, "ddim_2_upsampled_ancestral_3")["arr_0"]
  assert line["images_sha256"] == hashlib.sha256(expected).hexdigest()
  assert line["upsampler"] == str(upsampler) and line["upsampler_sampler"] == "ancestral_3"
  assert (line["upsampler_sampling_steps"], line["sampling_steps"]) == (3, 2)
  # The reference are the training images of the upsampler, which are of 8x8 pixels.
  assert line["reference_about"]["num_examples"] == 1437 and line["features"] == "digits"
  (enlarged,) = (copied / "evaluations/samples").glob("*ancestral_3*")
  (enlarged / "00000005.npy").unlink()
  result = run("evaluate", *flags)
  assert result.status == 0 and f"5 of 12 samples are in {enlarged}" in result.out
  assert results_log.read(copied)[1]["images_sha256"] == line["images_sha256"]


def test_data_that_has_moved_is_also_that_of_the_upsampler(base, upsampler, tmp_path):
  """Its training images are the reference."""
  options = evaluate.Options(model_dir=str(base), upsampler_dir=str(upsampler), fid=True)
  given = {"data_dir": str(tmp_path), "num_samples": 3}
  enlarging = model_options.load_enlarging(options, given, progress=progress_lib.Silent())
  assert enlarging.upsampler.config.data.data_dir == str(tmp_path)
  assert enlarging.upsampler.config.sampling.num_samples == 12
  assert str(enlarging.sampler) == "ddim_2"


@pytest.mark.parametrize("sampler", ("ancestral:3", "ddim:2"))
def test_the_mean_of_a_consistent_image_is_the_small_image(
  run, upsampler, drawn, tmp_path, sampler
):
  def largest_error(name, *flags):
    flags = (
      f"--base_samples={path_of(drawn, 'ddim_2')}",
      f"--output_dir={tmp_path / name}",
      *flags,
    )
    result = run("sample", f"--model_dir={upsampler}", f"--samplers={sampler}", *flags)
    assert result.status == 0
    large = images(tmp_path / name, sampler.replace(":", "_"))["arr_0"].astype(float)
    squares = large.reshape(12, 4, 2, 4, 2, 1)
    # Only squares in which no pixel is clipped at black or white.
    inside = (squares.min((2, 4)) > 0) & (squares.max((2, 4)) < 255)
    assert inside.sum() > 10
    return np.abs(squares.mean((2, 4)) - images(drawn, "ddim_2")["arr_0"])[inside].max()

  assert largest_error("free") > 5
  assert largest_error("consistent", "--consistent") <= 0.5  # Rounding.


def test_the_image_depends_on_the_small_image_and_on_the_label(run, upsampler, drawn, tmp_path):
  def enlarge(name, low_res, labels):
    np.savez(tmp_path / f"{name}.npz", low_res, labels)
    flags = (f"--base_samples={tmp_path}/{name}.npz", f"--output_dir={tmp_path / name}")
    run("sample", f"--model_dir={upsampler}", *flags, "--num_samples=2")
    return images(tmp_path / name, "ddim_2")["arr_0"]

  low_res, labels = images(drawn, "ddim_2")["arr_0"], np.arange(12) % 10
  enlarged = enlarge("enlarged", low_res, labels)
  assert len(enlarged) == 2
  assert np.any(enlarge("other_images", low_res[::-1], labels) != enlarged)
  assert np.any(enlarge("other_labels", low_res, labels[::-1]) != enlarged)


def test_two_stages_are_exported_as_one_servable(run, base, upsampler, drawn, tmp_path):
  flags = (
    f"--upsampler_dir={upsampler}",
    "--upsampler_sampler=ancestral:3",
    f"--output_dir={tmp_path}",
    "--name=chain",
    "--verify",
  )
  result = run("export", f"--model_dir={base}", *flags)
  assert result.status == 0 and "byte for byte" in result.out
  signature = tf.saved_model.load(tmp_path / "chain/1").signatures["ddim_2"]
  assert signature.structured_input_signature[1].keys() == {"seed", "label"}
  content = images(drawn, "ddim_2_upsampled_ancestral_3")
  inputs = {"seed": tf.range(12, dtype=tf.int64), "label": tf.constant(content["arr_1"])}
  np.testing.assert_array_equal(signature(**inputs)["image"], content["arr_0"])
  made_from = json.loads((tmp_path / "chain/1/assets.extra/made_from.json").read_text())
  assert made_from["upsampler_training_step"] == small_model.STEP
  assert (tmp_path / "chain/1/assets.extra/upsampler_config.json").exists()


def test_an_upsampler_is_exported_alone(run, upsampler, drawn, tmp_path):
  flags = ("--samplers=ancestral:3", f"--output_dir={tmp_path}", "--name=up")
  assert run("export", f"--model_dir={upsampler}", *flags).status == 0
  signature = tf.saved_model.load(tmp_path / "up/1").signatures["serving_default"]
  small, large = images(drawn, "ddim_2"), images(drawn, "ddim_2_upsampled_ancestral_3")
  enlarged = signature(
    seed=tf.range(12, dtype=tf.int64),
    label=tf.constant(small["arr_1"]),
    low_res=tf.constant(small["arr_0"]),
  )["image"]
  np.testing.assert_array_equal(enlarged, large["arr_0"])


def test_an_upsampler_is_trained_and_its_likelihood_evaluated(run, tmp_path):
  folder = tmp_path / "run"
  flags = small_model.flags(
    class_conditional=False,
    low_res_size=4,
    ema=(0.9,),
    train_steps=2,
    samplers=("ddim:1",),
    num_samples=4,
  )
  assert run("train", *small_model.FLAGS, *flags, f"--model_dir={folder}").status == 0
  # Triples of 32 pixels (8 pixels, magnified), with 2 pixels between them.
  assert Image.open(folder / "samples/step_2_raw.png").size == (2 + 34 * 6, 2 + 34 * 2)
  flags = ("--nll", "--num_examples=2", "--nll_steps=2")
  assert run("evaluate", f"--model_dir={folder}", *flags).status == 0


def assert_refused(result, *words):
  """Asserts that a command has said what is wrong, in one line."""
  assert result.status == 2 and result.err.count("\n") == 1, result.err
  assert all(word in result.err for word in words), result.err


@pytest.mark.parametrize("name", ("sample", "export"))
def test_models_that_do_not_fit_together_are_refused(run, base, upsampler, name, tmp_path):
  output = tmp_path / "out"

  def refused(model, *flags, words):
    result = run(name, f"--model_dir={model}", f"--output_dir={output}", *flags)
    assert_refused(result, *words)
    assert not output.exists()

  chain = f"--upsampler_dir={upsampler}"
  refused(base, f"--upsampler_dir={base}", words=("--upsampler_dir", "low_res_size"))
  refused(upsampler, chain, words=("--model_dir", "4x4x1"))
  refused(base, f"--upsampler_dir={tmp_path}/none", words=("--upsampler_dir", "does not exist"))
  refused(base, "--upsampler_sampler=ddim:5", words=("--upsampler_sampler", "upsampler_dir"))
  too_many = ("--upsampler_sampler", "25", "50")
  refused(base, chain, "--upsampler_sampler=ddim:50", words=too_many)
  refused(base, chain, "--upsampler_ema=0.5", words=("--upsampler_ema", "0.5"))
  # The configurations are enough to refuse these.
  for kind, config in (
    ("larger", make_config(16, low_res_size=8)),
    ("fewer", make_config(8, 4, classes=3)),
    ("colour", make_config(8, 4, channels=3)),
  ):
    model_dir_lib.ModelDir(tmp_path / kind).write_config(config)
    refused(base, f"--upsampler_dir={tmp_path / kind}", words=("--upsampler_dir", kind))


def test_wrong_images_to_enlarge_are_refused(run, base, upsampler, tmp_path):
  def refused(model, *flags, words):
    result = run("sample", f"--model_dir={model}", f"--output_dir={tmp_path / 'out'}", *flags)
    assert_refused(result, *words)

  def saved(*arrays):
    np.savez(tmp_path / "images.npz", *arrays)
    return f"--base_samples={tmp_path}/images.npz"

  small = np.zeros([3, 4, 4, 1], np.uint8)
  refused(upsampler, words=("--base_samples", "4x4x1", "upsampler_dir"))
  refused(base, saved(small), words=("--base_samples", "none"))
  refused(upsampler, f"--base_samples={tmp_path}/none.npz", words=("none.npz",))
  refused(upsampler, saved(small.astype(float)), words=("--base_samples", "float64"))
  refused(upsampler, saved(small[:, :3]), words=("--base_samples", "[3, 3, 4, 1]"))
  refused(upsampler, saved(small), words=("--base_samples", "arr_1"))
  refused(upsampler, saved(small, np.array([0, 1, 10])), words=("--base_samples", "0 to 9", "10"))
  images_and_labels = saved(small, np.arange(3))
  refused(upsampler, images_and_labels, "--num_samples=4", words=("--num_samples", "3", "4"))
  (tmp_path / "text.npz").write_text("no archive")
  refused(upsampler, f"--base_samples={tmp_path}/text.npz", words=("text.npz",))
