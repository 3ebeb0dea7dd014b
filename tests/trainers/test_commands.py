"""What `sample`, `evaluate` and `export` make of a model folder alone."""

import json
import re

import numpy as np
from PIL import Image
import pytest
import tensorflow as tf

from iddpm_tf.models import batched_sampling

# The class itself: what shares graphs between tests takes its place meanwhile.
BatchedSampler = batched_sampling.BatchedSampler


def arrays(folder, name):
  (path,) = folder.glob(f"{name}_samples_*.npz")
  with np.load(path) as content:
    return path.name, dict(content)


def test_what_left_the_range_is_said_and_can_be_held(run, model_dir, tmp_path):
  flags = (f"--model_dir={model_dir}", "--samplers=ddim:5", "--num_samples=20", "--seed=3")
  flags = (*flags, f"--output_dir={tmp_path}")
  shares, extreme = {}, {}
  for name, flag, words in (
    ("clipped", "--clip_denoised", "was clipped"),
    ("free", "--noclip_denoised", "was not clipped"),
    ("scaled", "--dynamic_threshold=0.9", "was scaled back by dynamic_threshold=0.9"),
  ):
    result = run("sample", *flags, flag)
    (line,) = [line for line in result.out.splitlines() if "of the predicted x_0 left" in line]
    assert result.status == 0 and f"in the last step, and {words}; " in line
    note = "outside [-1, 1] and become black or white; clip_denoised or dynamic_threshold=0.995"
    assert (note in result.out) == (name == "free")
    numbers = re.fullmatch(
      r"(.*)% of the predicted x_0 left \[-1, 1\], (.*)% in .* (.*)% of v left \[0, 1\]", line
    )
    shares[name] = [float(number) for number in numbers.groups()]
    images = arrays(tmp_path, "ddim_5")[1]["arr_0"]
    extreme[name] = 100 * np.mean((images == 0) | (images == 255))
  # Random weights predict an x_0 that is far outside.
  assert shares["free"][1] > 10
  assert extreme["free"] == pytest.approx(shares["free"][1], abs=1)
  assert extreme["scaled"] < 0.9 * extreme["free"]


def test_sample_writes_a_grid_and_the_authors_npz(run, model_dir, tmp_path):
  """The flagfile of the training is accepted."""
  flagfile = tmp_path / "run.flags"
  flagfile.write_text(
    "# As in the training.\n--base_channels=32\n--diffusion_steps=25\n--learning_rate=1e-3\n"
  )
  output = tmp_path / "images"
  flags = (f"--flagfile={flagfile}", f"--model_dir={model_dir}", f"--output_dir={output}")
  assert run("sample", *flags, "--num_samples=25").status == 0
  for name in ("ancestral_5", "ddim_5"):
    path, content = arrays(output, name)
    assert path == f"{name}_samples_25x8x8x1.npz"
    assert content["arr_0"].shape == (25, 8, 8, 1) and content["arr_0"].dtype == np.uint8
    np.testing.assert_array_equal(content["arr_1"], np.arange(25) % 10)
    # One row per class, three columns; images are magnified 4 times, with 2 pixels between them.
    picture = np.asarray(Image.open(output / f"{name}.png"))
    assert picture.shape == (342, 104)
    np.testing.assert_array_equal(picture[36:68:4, 36:68:4], content["arr_0"][11, ..., 0])
  assert sorted(path.suffix for path in output.iterdir()) == [".npz", ".npz", ".png", ".png"]


def test_a_stopped_sampling_continues_with_the_images_that_it_has(
  run, model_dir, tmp_path, monkeypatch
):
  """The grid shows no more than 100 images."""
  flags = (f"--model_dir={model_dir}", "--samplers=ddim:5", "--num_samples=120", "--batch_size=50")
  assert run("sample", *flags, f"--output_dir={tmp_path / 'expected'}").status == 0
  drawn, each_of = [], BatchedSampler.each_of

  def until_stopped(self, batches, count, **options):
    for images in each_of(self, batches, count, **options):
      if len(drawn) == 2:
        raise KeyboardInterrupt
      drawn.append(len(images))
      yield images

  monkeypatch.setattr(BatchedSampler, "each_of", until_stopped)
  flags = (*flags, f"--output_dir={tmp_path / 'images'}")
  assert run("sample", *flags).status == 130 and drawn == [50, 50]
  drawn.clear()
  assert run("sample", *flags).status == 0 and drawn == [20]
  for name in ("arr_0", "arr_1"):
    ours, theirs = (arrays(tmp_path / folder, "ddim_5")[1] for folder in ("images", "expected"))
    np.testing.assert_array_equal(ours[name], theirs[name])
  assert np.asarray(Image.open(tmp_path / "images/ddim_5.png")).shape == (342, 342)
  assert len(list((tmp_path / "images").iterdir())) == 2


def test_an_image_depends_on_its_seed_and_not_on_the_batch(run, model_dir, tmp_path):
  common = (f"--model_dir={model_dir}", "--samplers=ancestral:5")
  run("sample", *common, f"--output_dir={tmp_path / 'a'}", "--num_samples=25", "--batch_size=10")
  run(
    "sample",
    *common,
    f"--output_dir={tmp_path / 'b'}",
    "--num_samples=3",
    "--seed=20",
    "--labels=0,1,2",
    "--png",
  )
  whole, few = (arrays(tmp_path / name, "ancestral_5")[1]["arr_0"] for name in "ab")
  # Kernels differ in the last bit between batch sizes, which can change a value by one level.
  np.testing.assert_allclose(few.astype(int), whole[20:23].astype(int), atol=1)
  names = sorted(path.name for path in (tmp_path / "b/ancestral_5").iterdir())
  assert names == ["seed_20_label_0.png", "seed_21_label_1.png", "seed_22_label_2.png"]
  np.testing.assert_array_equal(
    np.asarray(Image.open(tmp_path / "b/ancestral_5" / names[2])), few[2, ..., 0]
  )


def test_ema_chooses_the_weights(run, model_dir, tmp_path):
  drawn = {}
  for ema in ("0", "0.9", "0.5", None):
    output = tmp_path / str(ema)
    run(
      "sample",
      f"--model_dir={model_dir}",
      f"--output_dir={output}",
      "--samplers=ddim:5",
      *([f"--ema={ema}"] if ema else []),
    )
    drawn[ema] = arrays(output, "ddim_5")[1]["arr_0"]
  np.testing.assert_array_equal(drawn[None], drawn["0.9"])
  for one, other in (("0", "0.9"), ("0.9", "0.5"), ("0", "0.5")):
    assert np.any(drawn[one] != drawn[other])


def test_nll_writes_the_mean_its_standard_error_the_terms_and_a_plot(run, model_dir, tmp_path):
  result = run(
    "evaluate",
    f"--model_dir={model_dir}",
    f"--output_dir={tmp_path}",
    "--nll",
    "--num_examples=7",
    "--batch_size=4",
  )
  assert result.status == 0
  (path,) = tmp_path.glob("*.json")
  content = json.loads(path.read_text())
  images = content["bits_per_dim_of_images"]
  assert (
    len(images) == 7 and len(content["terms"]) == 25 and content["timesteps"] == list(range(25))
  )
  assert content["bits_per_dim"] == pytest.approx(np.mean(images), rel=1e-6)
  assert content["stderr"] == pytest.approx(np.std(images, ddof=1) / np.sqrt(7), rel=1e-5)
  assert content["bits_per_dim"] == pytest.approx(
    content["prior"] + sum(content["terms"]), rel=1e-5
  )
  assert f"{content['bits_per_dim']:.4f} bits/dim" in result.out
  assert Image.open(path.with_suffix(".png")).size == (900, 600)
  (line,) = map(json.loads, (tmp_path / "results.jsonl").read_text().splitlines())
  assert line["scores"] == {"nll": content["bits_per_dim"], "nll_stderr": content["stderr"]}
  assert (line["training_step"], line["num_examples"], line["split"], line["num_timesteps"]) == (
    10,
    7,
    "test",
    25,
  )


@pytest.mark.parametrize(
  "schedule, kept",
  [("strided", [0, 6, 12, 18, 24]), ("dense_start", [0, 1, 2, 3, 4, 6, 12, 18, 24])],
)
def test_nll_with_fewer_steps(run, model_dir, tmp_path, schedule, kept):
  run(
    "evaluate",
    f"--model_dir={model_dir}",
    f"--output_dir={tmp_path}",
    "--nll",
    "--num_examples=3",
    "--nll_steps=5",
    f"--nll_schedule={schedule}",
  )
  (path,) = tmp_path.glob("*.json")
  assert json.loads(path.read_text())["timesteps"] == kept


def test_an_export_draws_the_images_of_sample(run, model_dir, tmp_path):
  common = (f"--model_dir={model_dir}", "--samplers=ddim:5")
  run("sample", *common, f"--output_dir={tmp_path}")
  assert run("export", *common, f"--output_dir={tmp_path / 'saved'}", "--verify").status == 0
  loaded = tf.saved_model.load(tmp_path / "saved/small/1")
  assert set(loaded.signatures) == {
    "serving_default",
    "ddim_5",
    "png_ddim_5",
    "ddim_5_progress",
  }
  _, content = arrays(tmp_path, "ddim_5")
  inputs = {"seed": tf.range(12, dtype=tf.int64), "label": tf.constant(content["arr_1"])}
  for name in ("ddim_5", "serving_default"):
    np.testing.assert_array_equal(loaded.signatures[name](**inputs)["image"], content["arr_0"])
  assert (tmp_path / "saved/small/1/assets.extra/config.json").exists()
  with pytest.raises(tf.errors.InvalidArgumentError, match="0 to 9"):
    loaded.signatures["ddim_5"](seed=tf.constant([1], tf.int64), label=tf.constant([10]))


def test_exports_are_numbered_and_never_overwritten(run, model_dir, tmp_path):
  common = (
    "export",
    f"--model_dir={model_dir}",
    f"--output_dir={tmp_path}",
    "--samplers=ddim:5",
    "--name=m",
  )
  assert run(*common, "--version=7").status == 0
  assert run(*common).status == 0
  assert sorted(path.name for path in (tmp_path / "m").iterdir()) == ["7", "8"]
  refused = run(*common, "--version=7")
  assert refused.status == 2 and "--version" in refused.err
