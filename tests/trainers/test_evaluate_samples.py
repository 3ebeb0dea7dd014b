"""Commands that score samples: `evaluate --fid ...`, `reference_stats` and their classifier."""

import json
import os
import re
import shutil

import numpy as np
import pytest

import iddpm_tf
from iddpm_tf import config as config_lib
from iddpm_tf.data import sources
from iddpm_tf.evaluation import features
from iddpm_tf.evaluation import frechet
from iddpm_tf.evaluation import results_log

ALL = ("--fid", "--fid_infinity", "--sfid", "--inception_score", "--precision_recall", "--kid")


@pytest.fixture(name="copy")
def fixture_copy(model_dir, tmp_path):
  """A copy of the model folder, because evaluations are kept in it."""
  results = shutil.ignore_patterns("evaluations", "results.jsonl")
  return shutil.copytree(model_dir, tmp_path / "model", ignore=results)


@pytest.fixture(name="samples", scope="module")
def fixture_samples(tmp_path_factory):
  """An .npz of the first hundred real test digits, in the authors' layout."""
  source = sources.load(config_lib.DataConfig(), "test")
  path = tmp_path_factory.mktemp("samples") / "samples.npz"
  np.savez(path, source.images[:100], source.labels[:100])
  return path


def test_scores_of_a_model_are_printed_and_logged(run, copy):
  result = run(
    "evaluate",
    f"--model_dir={copy}",
    *ALL,
    "--num_samples=30",
    "--samplers=ddim:5,ancestral:5",
    "--ema=0.5",
    "--seed=7",
    "--batch_size=20",
  )
  assert result.status == 0, result.err
  lines = results_log.read(copy)
  checksum = features.load("digits").checksum
  for name, line in zip(("ddim_5", "ancestral_5"), lines, strict=True):
    expected = {
      "sampler": name,
      "sampling_steps": 5,
      "num_samples": 30,
      "training_step": 10,
      "ema": 0.5,
      "seed": 7,
      "version": iddpm_tf.__version__,
      "features": "digits",
      "features_sha256": checksum,
    }
    assert expected.items() <= line.items()
    assert line["reference_about"]["num_examples"] == 1437
    assert line["reference_about"]["split"] == "train"
    pairs = {f"{score}_k{k}" for score in ("precision", "recall") for k in (3, 5)}
    unbiased = {
      f"{score}{end}" for score in ("fid_infinity", "kid") for end in ("", "_standard_error")
    }
    assert set(line["scores"]) == {"fid", "sfid", "inception_score", *pairs, *unbiased}
    assert f"FID: {line['scores']['fid']:.4f}" in result.out
  assert "warning: 30 samples are too few for a covariance of 64 features" in result.out
  # Random weights draw nothing like a digit.
  assert lines[0]["scores"]["fid"] > 10


def test_the_fid_is_that_of_the_images_that_sample_draws(run, copy, tmp_path):
  common = (f"--model_dir={copy}", "--samplers=ddim:5", "--num_samples=80", "--batch_size=80")
  assert run("evaluate", *common, "--fid").status == 0
  assert run("sample", *common, f"--output_dir={tmp_path}").status == 0
  drawn = tmp_path / "ddim_5_samples_80x8x8x1.npz"
  assert run("evaluate", f"--model_dir={copy}", "--fid", f"--samples={drawn}").status == 0
  of_model, of_file = results_log.read(copy)
  assert of_file["scores"]["fid"] == pytest.approx(of_model["scores"]["fid"], rel=1e-9)
  assert of_file["samples"] == str(drawn) and "training_step" not in of_file
  extractor, train = features.load("digits"), sources.load(config_lib.DataConfig(), "train")
  with np.load(drawn) as content:
    gaussians = [
      frechet.statistics(extractor(images).pool).gaussian
      for images in (train.images, content["arr_0"])
    ]
  expected = frechet.frechet_distance(*gaussians)
  assert of_file["scores"]["fid"] == pytest.approx(expected, rel=1e-5)


def test_a_model_that_cannot_be_written_is_scored_into_another_folder(
  run, copy, tmp_path, read_only
):
  before = sorted(copy.rglob("*"))
  read_only(copy)
  flags = ("--samplers=ddim:5", "--num_samples=70", f"--output_dir={tmp_path / 'out'}")
  assert run("evaluate", f"--model_dir={copy}", "--fid", *flags).status == 0
  assert sorted(copy.rglob("*")) == before
  (line,) = results_log.read(tmp_path / "out")
  assert line["num_samples"] == 70 and line["model"] == str(copy)
  written = (tmp_path / "out/evaluations").rglob("*")
  assert {path.suffix for path in written if path.is_file()} == {".npz", ".npy"}


def test_samples_in_a_file_need_no_model(run, samples, tmp_path):
  """They may be of any program. The distance between equal images is 0."""
  output = f"--output_dir={tmp_path / 'out'}"
  assert run("evaluate", f"--samples={samples}", f"--reference={samples}", *ALL, output).status == 0
  (line,) = results_log.read(tmp_path / "out")
  assert line["scores"]["fid"] == pytest.approx(0, abs=1e-6) == line["scores"]["sfid"]
  assert run("evaluate", f"--samples={samples}", "--inception_score", output).status == 0
  assert 5 < results_log.read(tmp_path / "out")[1]["scores"]["inception_score"] <= 10


def test_pictures_of_any_size_are_scored_without_a_download(run, tmp_path):
  images = np.random.default_rng(0).integers(0, 256, [200, 6, 9, 3], np.uint8)
  for name, part in (("samples", images[:100]), ("real", images[100:])):
    np.save(tmp_path / f"{name}.npy", part)
  flags = [f"--samples={tmp_path}/samples.npy", f"--reference={tmp_path}/real.npy"]
  result = run("evaluate", "--kid", *flags, f"--output_dir={tmp_path}/out")
  assert result.status == 0 and "note: these scores use random features" in result.out
  (line,) = results_log.read(tmp_path / "out")
  kid, error = line["scores"]["kid"], line["scores"]["kid_standard_error"]
  assert line["features"] == "random" and abs(kid) < 4 * error
  assert f"KID: {kid:.3g}\nstandard error of KID: {error:.3g}\n" in result.out


def test_reference_stats_are_a_reference(run, samples, tmp_path):
  path = tmp_path / "digits.npz"
  flags = ("--dataset=digits", f"--output={path}", "--num_images=50")
  result = run("reference_stats", *flags)
  assert result.status == 0 and f"wrote {path}" in result.out
  train = sources.load(config_lib.DataConfig(), "train").images
  expected = features.load("digits")(train)
  with np.load(path) as content:
    np.testing.assert_allclose(content["mu"], expected.pool.mean(axis=0), rtol=1e-4, atol=1e-5)
    covariance = np.cov(expected.pool, rowvar=False)
    np.testing.assert_allclose(content["sigma"], covariance, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(content["arr_0"], train[np.arange(50) * 1437 // 50])
  result = run(
    "evaluate", f"--samples={samples}", f"--reference={path}", *ALL, f"--output_dir={tmp_path}"
  )
  assert result.status == 0, result.err
  scores = results_log.read(tmp_path)[0]["scores"]
  # There are few images for so many features. Random weights have hundreds.
  assert 1 < scores["fid"] < 12 and scores["precision_k5"] > 0.9


def test_a_killed_evaluation_continues_with_its_samples(run, copy):
  common = ("evaluate", f"--model_dir={copy}", "--fid", "--samplers=ddim:5", "--batch_size=8")
  assert run(*common, "--num_samples=24").status == 0
  (store,) = (copy / "evaluations/samples").iterdir()
  first = {path.name: path.read_bytes() for path in store.iterdir()}
  assert len(first) == 3
  os.unlink(store / "00000016.npy")
  result = run(*common, "--num_samples=32")
  assert result.status == 0 and f"16 of 32 samples are in {store}" in result.out
  assert {name: (store / name).read_bytes() for name in first} == first
  result = run(*common, "--num_samples=24")
  assert result.status == 0 and "samples are in" not in result.out
  line, _, again = results_log.read(copy)
  assert again["scores"] == line["scores"] and again["num_samples"] == 24


def test_samples_of_two_seeds_have_no_image_in_common(run, copy):
  common = ("evaluate", f"--model_dir={copy}", "--fid", "--samplers=ddim:5", "--num_samples=20")
  for seed in (0, 1):
    assert run(*common, f"--seed={seed}").status == 0
  first, other = (
    {image.tobytes() for image in np.load(store / "00000000.npy")}
    for store in (copy / "evaluations/samples").iterdir()
  )
  assert not first & other


def refused(run, *flags):
  """Runs the command, and returns the one line that it refuses the flags with."""
  result = run("evaluate", *flags)
  # Progress bars precede it.
  lines = [line for line in result.err.splitlines() if line.startswith("evaluate:")]
  assert result.status == 2 and len(lines) == 1 and result.err.endswith(f"{lines[0]}\n"), result.err
  assert "FID" not in result.out and "recall" not in result.out
  return lines[0]


@pytest.fixture(name="files", scope="module")
def fixture_files(samples, tmp_path_factory):
  """Files of samples by name: `good`, `colours`, `floats` and `few`."""
  folder = tmp_path_factory.mktemp("files")
  arrays = {
    "colours": np.tile(np.arange(3, dtype=np.uint8), (9, 8, 8, 1)),
    "floats": np.zeros((9, 8, 8, 1)),
    "few": np.zeros((5, 8, 8, 1), np.uint8),
  }
  for name, array in arrays.items():
    np.savez(folder / f"{name}.npz", array)
  return {"good": samples} | {name: folder / f"{name}.npz" for name in arrays}


@pytest.mark.parametrize(
  "flags, message",
  [
    ("{model}", "--nll: expected a score to compute"),
    ("{model} --nll --features=digits", "--features: requires a score of samples, such as --fid"),
    ("--fid", "--model_dir: expected the folder of a run"),
    ("{model} --nll --nll_schedule=strided", "--nll_schedule: requires nll_steps"),
    ("{model} --nll --ensemble_steps=3", "--ensemble_steps: .*ensemble_dir"),
    ("{model} --nll --ensemble_ema=0.9", "--ensemble_ema: .*ensemble_dir"),
    ("{output} --samples={good} --nll", "--nll: requires --model_dir"),
    ("{model} --samples={good} --nll --split=train", "--split: cannot be combined with --samples"),
    ("{model} --fid --nll_steps=3", "--nll_steps: requires --nll"),
    ("{model} --fid --decoder=tanh", "--decoder: requires --nll"),
    ("{model} --nll --nll_stderr=1e-170", "--nll_stderr: expected a number of at least 1e-06"),
    ("{model} --fid --samples={few} --num_samples=3", "--num_samples: cannot be .* with --samples"),
    ("{model} --fid --samples={few} --best", "--best: cannot be combined with --samples"),
    ("{model} --fid --samples={few} --consistent", "--consistent: cannot be .* with --samples"),
    ("{model} --fid --samples={few} --noclip_denoised", "--clip_denoised: cannot be combined"),
    ("{model} --fid --samples={few} --classifier_dir=c", "--classifier_dir: cannot be combined"),
    ("{model} --fid --labels=3", "--labels: there is no such flag"),
    ("{output} --fid --samples=no.npz --reference={good}", r"--samples: .*no\.npz"),
    ("{output} --fid --samples={good}", "--reference: expected a file"),
    ("--fid --samples={good} --reference={good}", "--output_dir: expected a folder"),
  ],
)
def test_flags_that_are_wrong_alone_are_refused_without_tensorflow(
  run, copy, files, tmp_path, monkeypatch, flags, message
):
  monkeypatch.setattr("trainers.cli.command.load_tensorflow", lambda: pytest.fail("TensorFlow"))
  names = {"model": f"--model_dir={copy}", "output": f"--output_dir={tmp_path / 'none'}"}
  line = refused(run, *flags.format(**names, **files).split())
  assert re.search(message, line), line
  assert not (copy / "results.jsonl").exists() and not (tmp_path / "none").exists()


@pytest.mark.parametrize(
  "flags, message",
  [
    ("{model} --fid --samples={colours}", r"--samples: expected uint8 \[N, 8, 8, 1\]"),
    ("{model} --nll --samples={few}", "--samples: expected labels of the images"),
    ("{output} --sfid --samples={colours} --reference={colours}", "--sfid: requires a feature"),
    ("{output} --fid --samples={floats} --reference={good}", "--samples: .*uint8"),
    (
      "{output} --precision_recall --samples={few} --reference={good}",
      "--samples: expected more than 5",
    ),
    ("{model} --fid --reference={colours}", "--reference: .*images of 8x8x3.*colours"),
    (
      "{model} --nll --nll_steps=2 --fid --features=no.pb",
      r"--features: .*no\.pb, which does not exist",
    ),
    ("{model} --precision_recall --num_samples=5", "--num_samples: expected more than 5"),
    ("{model} --fid --num_samples=1", "--num_samples: expected 2"),
  ],
)
def test_everything_is_checked_before_the_first_score(run, copy, files, tmp_path, flags, message):
  names = {"model": f"--model_dir={copy}", "output": f"--output_dir={tmp_path / 'none'}"}
  line = refused(run, *flags.format(**names, **files).split())
  assert re.search(message, line), line
  assert not (copy / "results.jsonl").exists() and not (tmp_path / "none/results.jsonl").exists()


def test_a_super_resolution_model_has_no_samples_of_its_own(run, copy):
  """It draws none from noise alone."""
  path = copy / "config.json"
  content = json.loads(path.read_text())
  content["network"]["low_res_size"] = 4
  path.write_text(json.dumps(content))
  line = refused(run, f"--model_dir={copy}", "--fid")
  assert "--samples: expected an .npz file of images, because a super-resolution model" in line


def test_weights_of_a_classifier_are_an_npz_file(run, tmp_path):
  result = run("train_digits_classifier", f"--output={tmp_path}/weights")
  assert result.status == 2 and "--output: expected a path that ends with .npz" in result.err
