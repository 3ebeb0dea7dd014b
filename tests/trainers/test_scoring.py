"""`trainers.evaluate --fid ...` and `trainers.reference_stats`, as a user runs them."""

import json
import os
import re
import resource
import shutil

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf.data import sources
from iddpm_tf.evaluation import features
from iddpm_tf.evaluation import frechet
from iddpm_tf.evaluation import results_log as results_lib
from iddpm_tf.evaluation import sample_store
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.models import seeds as samples_lib
from iddpm_tf.models import trained_model
from iddpm_tf.utils import devices as strategy_lib

ALL = ("--fid", "--sfid", "--inception_score", "--precision_recall")


def results(folder):
  return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


@pytest.fixture(name="copy")
def fixture_copy(model_dir, tmp_path):
  """A model folder of its own, since evaluations are kept in it."""
  return shutil.copytree(
    model_dir, tmp_path / "model", ignore=shutil.ignore_patterns("evaluations", "results.jsonl")
  )


@pytest.fixture(name="samples")
def fixture_samples(tmp_path):
  """An .npz of the first hundred real test digits, in the authors' layout."""
  source = sources.load(config_lib.DataConfig(), "test")
  path = tmp_path / "samples.npz"
  np.savez(path, source.images[:100], source.labels[:100])
  return path


def test_scores_of_a_model_are_printed_and_stamped(run, copy):
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
  ddim, ancestral = results(copy)
  for name, line in (("ddim_5", ddim), ("ancestral_5", ancestral)):
    assert line["sampler"] == name and line["sampling_steps"] == 5 and line["num_samples"] == 30
    assert (line["training_step"], line["ema"], line["seed"], line["version"]) == (
      10,
      0.5,
      7,
      "0.1.0",
    )
    assert (
      line["features"] == "digits" and line["features_sha256"] == features.load("digits").checksum
    )
    assert (
      line["reference_about"]["num_examples"] == 1437
      and line["reference_about"]["split"] == "train"
    )
    assert set(line["scores"]) == {
      "fid",
      "sfid",
      "inception_score",
      "precision_k3",
      "recall_k3",
      "precision_k5",
      "recall_k5",
    }
    assert f"FID: {line['scores']['fid']:.4f}" in result.out
  assert "warning: 30 samples are too few for a covariance of 64 features" in result.out
  # Ten steps of training draw nothing like a digit.
  assert ddim["scores"]["fid"] > 10


def test_the_fid_is_that_of_the_samples_which_sample_draws(run, copy, tmp_path):
  common = (f"--model_dir={copy}", "--samplers=ddim:5", "--num_samples=80", "--batch_size=80")
  assert run("evaluate", *common, "--fid").status == 0
  assert run("sample", *common, f"--output_dir={tmp_path}").status == 0
  drawn = tmp_path / "ddim_5_samples_80x8x8x1.npz"
  assert run("evaluate", f"--model_dir={copy}", "--fid", f"--samples={drawn}").status == 0
  of_model, of_file = results(copy)
  assert of_file["scores"]["fid"] == pytest.approx(of_model["scores"]["fid"], rel=1e-9)
  assert of_file["samples"] == str(drawn) and "training_step" not in of_file
  extractor, train = features.load("digits"), sources.load(config_lib.DataConfig(), "train")
  with np.load(drawn) as content:
    gaussians = [
      frechet.statistics(extractor(images).pool).gaussian
      for images in (train.images, content["arr_0"])
    ]
  assert of_file["scores"]["fid"] == pytest.approx(frechet.frechet_distance(*gaussians), rel=1e-5)


def test_samples_need_no_model(run, samples, tmp_path):
  """Files of any code, against a reference of any code: of the same images the distance is 0."""
  output = f"--output_dir={tmp_path / 'out'}"
  assert run("evaluate", f"--samples={samples}", f"--reference={samples}", *ALL, output).status == 0
  (line,) = results(tmp_path / "out")
  assert line["scores"]["fid"] == pytest.approx(0, abs=1e-6) == line["scores"]["sfid"]
  assert all(
    line["scores"][f"{name}_k{k}"] == 1 for name in ("precision", "recall") for k in (3, 5)
  )
  assert run("evaluate", f"--samples={samples}", "--inception_score", output).status == 0
  assert 5 < results(tmp_path / "out")[1]["scores"]["inception_score"] <= 10


def test_reference_stats_are_in_the_authors_layout(run, samples, tmp_path):
  path = tmp_path / "digits.npz"
  assert (
    run("reference_stats", "--dataset=digits", f"--output={path}", "--num_images=50").status == 0
  )
  with np.load(path) as content:
    train = sources.load(config_lib.DataConfig(), "train").images
    found = features.load("digits")(train)
    np.testing.assert_allclose(content["mu"], found.pool.mean(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
      content["sigma"], np.cov(found.pool, rowvar=False), rtol=1e-3, atol=1e-4
    )
    np.testing.assert_allclose(
      content["sigma_s"], np.cov(found.spatial, rowvar=False), rtol=1e-3, atol=1e-4
    )
    # Evenly over the split.
    np.testing.assert_array_equal(content["arr_0"], train[np.arange(50) * 1437 // 50])
  assert (
    run(
      "evaluate", f"--samples={samples}", f"--reference={path}", *ALL, f"--output_dir={tmp_path}"
    ).status
    == 0
  )
  scores = results(tmp_path)[0]["scores"]
  # So few of so many features; ten steps of training come to hundreds.
  assert 1 < scores["fid"] < 12 and scores["precision_k5"] > 0.9


def test_a_killed_evaluation_goes_on_and_a_larger_one_begins_with_it(run, copy, monkeypatch):
  drawn = []
  batches = sample_store.sampling.batches

  def counted(model, spec, inputs, batch_size, strategy):
    for images in batches(model, spec, inputs, batch_size, strategy):
      drawn.append(len(images))
      yield images

  monkeypatch.setattr(sample_store.sampling, "batches", counted)
  common = ("evaluate", f"--model_dir={copy}", "--fid", "--samplers=ddim:5", "--batch_size=8")
  assert run(*common, "--num_samples=24").status == 0
  (store,) = (copy / "evaluations/samples").iterdir()
  first = {path.name: path.read_bytes() for path in store.iterdir()}
  assert drawn == [8, 8, 8]
  # As a kill leaves it: a batch not begun, and one half-written.
  os.unlink(store / "00000016.npy")
  (store / "00000008.npy").write_bytes(first["00000008.npy"][:-50])
  drawn.clear()
  assert run(*common, "--num_samples=40").status == 0
  assert drawn == [8, 8, 8, 8]
  assert {name: (store / name).read_bytes() for name in first} == first
  drawn.clear()
  assert run(*common, "--num_samples=24").status == 0
  assert not drawn
  one, _, again = results(copy)
  assert again["scores"] == one["scores"] and again["num_samples"] == 24


def test_samples_of_weights_that_were_trained_anew_are_drawn_anew(copy, tmp_path):
  """Of the same step and flags, as where a run was started over in its folder."""
  config, strategy = model_dir_lib.read_config(copy), strategy_lib.make_strategy()
  with strategy.scope():
    model = trained_model.load(copy, config, None)
  (spec, *_) = samples_lib.require_samplers(config)

  def images():
    return sample_store.drawn(
      model, spec, tmp_path, count=4, first_seed=0, batch_size=4, strategy=strategy
    )[:]

  before = images()
  np.testing.assert_array_equal(images(), before)
  kernel = model.network.out_conv.kernel
  kernel.assign(1.5 * kernel)
  assert np.any(images() != before) and len(list((tmp_path / "samples").iterdir())) == 2


def test_sets_of_two_seeds_share_no_image(run, copy):
  drawn = {}
  for seed in (0, 1):
    assert (
      run(
        "evaluate",
        f"--model_dir={copy}",
        "--fid",
        "--samplers=ddim:5",
        "--num_samples=20",
        f"--seed={seed}",
      ).status
      == 0
    )
  for store in (copy / "evaluations/samples").iterdir():
    drawn[store.name] = np.load(store / "00000000.npy")
  one, other = drawn.values()
  assert not {image.tobytes() for image in one} & {image.tobytes() for image in other}


@pytest.mark.parametrize(
  "damage",
  [
    lambda data: data[:60] + b" " + data[61:],
    lambda data: data[:-9],
    lambda data: b"",
    lambda data: data.replace(b")", b" "),
  ],
)
def test_a_damaged_file_of_samples_is_drawn_again(run, copy, damage):
  common = ("evaluate", f"--model_dir={copy}", "--fid", "--samplers=ddim:5", "--num_samples=70")
  assert run(*common).status == 0
  (store,) = (copy / "evaluations/samples").iterdir()
  before = (store / "00000000.npy").read_bytes()
  (store / "00000000.npy").write_bytes(damage(before))
  result = run(*common)
  assert result.status == 0, result.err
  one, again = results(copy)
  assert (
    again["images_sha256"] == one["images_sha256"]
    and (store / "00000000.npy").read_bytes() == before
  )


def test_more_files_of_samples_than_a_process_may_open(run, copy):
  common = ("evaluate", f"--model_dir={copy}", "--fid", "--samplers=ddim:2")
  limits = resource.getrlimit(resource.RLIMIT_NOFILE)
  few = len(os.listdir("/proc/self/fd")) + 40
  try:
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, limits[1]))
    for count in (60, 64):
      result = run(*common, f"--num_samples={count}", "--batch_size=1")
      assert result.status == 0, result.err
  finally:
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
  assert "60 of 64 samples are in" in result.out and results(copy)[-1]["num_samples"] == 64


def test_results_go_on_after_a_line_that_was_cut(tmp_path):
  (tmp_path / "results.jsonl").write_bytes(b'{"scores": 1}\n5\n\xff\n{"scores": {"fid": 3')
  results_lib.append(
    tmp_path, {"scores": {"nll": 2.0}}, {"scores": {"nll": float("nan"), "fid": 3.0}}
  )
  assert [line["scores"] for line in results_lib.read(tmp_path)] == [
    1,
    {"nll": 2.0},
    {"nll": None, "fid": 3.0},
  ]
  assert "NaN" not in (tmp_path / "results.jsonl").read_text(errors="replace")


def test_other_weights_are_never_scored_by_the_samples_of_these(run, copy):
  common = ("evaluate", f"--model_dir={copy}", "--fid", "--samplers=ddim:5", "--num_samples=8")
  for flags in ((), ("--ema=0",), ("--noclip_denoised",), ("--seed=1",)):
    assert run(*common, *flags).status == 0
  assert len(list((copy / "evaluations/samples").iterdir())) == 4
  assert len({line["scores"]["fid"] for line in results(copy)}) == 4


def refused(run, *flags):
  result = run("evaluate", *flags)
  # Beside bars of progress.
  lines = [line for line in result.err.splitlines() if line.startswith("evaluate:")]
  assert result.status == 2 and len(lines) == 1 and result.err.endswith(f"{lines[0]}\n"), result.err
  assert "FID" not in result.out and "recall" not in result.out
  return lines[0]


def test_a_network_of_nan_is_one_line_that_says_whose(run, samples, tmp_path):
  function = tf.function(
    lambda image: {"pool": tf.cast(image[:, 0, 0], tf.float32) * np.nan},
    input_signature=[tf.TensorSpec((None, None, None, 1), tf.uint8, name="image")],
  )
  module = tf.Module()
  tf.saved_model.save(
    module, tmp_path / "nan", signatures={"serving_default": function.get_concrete_function()}
  )
  err = refused(
    run,
    "--fid",
    f"--samples={samples}",
    f"--reference={samples}",
    f"--features={tmp_path / 'nan'}",
    f"--output_dir={tmp_path / 'scores'}",
  )
  assert "features of the reference: expected finite numbers" in err


def test_bad_input_is_one_line_and_no_score(run, copy, samples, tmp_path):
  model, output = f"--model_dir={copy}", f"--output_dir={tmp_path / 'none'}"
  colours = tmp_path / "colours.npz"
  np.savez(colours, np.zeros((9, 8, 8, 3), np.uint8))
  floats = tmp_path / "floats.npz"
  np.savez(floats, np.zeros((9, 8, 8, 1)))
  few = tmp_path / "few.npz"
  np.savez(few, np.zeros((5, 8, 8, 1), np.uint8))
  for flags, said in (
    ((model,), "--nll: expected a score"),
    (
      (model, "--nll", "--features=digits"),
      "--features: expected nothing without a score of samples",
    ),
    (("--fid",), "--model_dir: expected the folder"),
    ((model, "--fid", f"--samples={colours}"), "--samples: expected images of 8x8x1"),
    ((output, "--fid", f"--samples={colours}"), "Inception graph for images of 8x8x3.*https"),
    ((output, "--fid", f"--samples={floats}"), "--samples: .*uint8"),
    ((output, "--fid", "--samples=no.npz"), "--samples: no.npz.*none"),
    ((output, "--fid", f"--samples={samples}"), "--reference: expected a file"),
    (
      ("--fid", f"--samples={samples}", f"--reference={samples}"),
      "--output_dir: expected a folder",
    ),
    (
      (output, "--precision_recall", f"--samples={few}", f"--reference={samples}"),
      "--samples: expected more than 5",
    ),
    ((model, "--fid", f"--reference={colours}"), "--reference: .*images of 8x8x3.*colours"),
    (
      (model, "--nll", "--nll_steps=2", "--fid", "--features=no.pb"),
      "--features: .*no.pb, which does not exist",
    ),
    (
      (model, "--nll", "--nll_schedule=strided"),
      "--nll_schedule: expected nothing without --nll_steps",
    ),
    (
      (model, "--nll", "--ensemble_steps=3"),
      "--ensemble_steps: expected nothing without --ensemble_dir",
    ),
    (
      (model, "--nll", "--ensemble_ema=0.9"),
      "--ensemble_ema: expected nothing without --ensemble_dir",
    ),
    ((model, "--fid", "--samples=x.npz", "--nll"), "--samples: expected nothing with --nll"),
    ((model, "--fid", "--features=no.pb"), "--features: .*no.pb, which does not exist"),
    ((model, "--precision_recall", "--num_samples=5"), "--num_samples: expected more than 5"),
    ((model, "--fid", "--num_samples=1"), "--num_samples: expected 2"),
    (
      (model, "--fid", f"--samples={few}", "--num_samples=3"),
      "--num_samples: expected nothing with --samples",
    ),
    ((model, "--fid", f"--samples={few}", "--best"), "--best: expected nothing with --samples"),
    ((model, "--fid", "--nll_steps=3"), "--nll_steps: expected nothing with anything but --nll"),
    ((model, "--nll", "--nll_stderr=1e-170"), "--nll_stderr: expected a number of at least 1e-06"),
    ((model, "--fid", "--labels=3"), "labels"),
  ):
    err = refused(run, *flags)
    assert re.search(said, err), (said, err)
  assert not (copy / "results.jsonl").exists() and not (tmp_path / "none/results.jsonl").exists()


def test_a_reference_by_other_features_is_refused(run, samples, tmp_path):
  path = tmp_path / "other.npz"
  about = json.dumps({"features": "classify_image_graph_def.pb", "features_sha256": "0" * 64})
  np.savez(path, mu=np.zeros(64), sigma=np.eye(64), about=np.array(about))
  assert "by those of classify_image_graph_def.pb" in refused(
    run, f"--samples={samples}", f"--reference={path}", "--fid", f"--output_dir={tmp_path}"
  )
  np.savez(path, mu=np.zeros(2048), sigma=np.eye(2048))
  assert (
    "--reference: expected 64 numbers a feature for --fid, as digits gives, received"
    in refused(
      run, f"--samples={samples}", f"--reference={path}", "--fid", f"--output_dir={tmp_path}"
    )
  )
  np.savez(path, mu=np.zeros(64), sigma=np.eye(64))
  assert "expected 6 images (arr_0) or more" in refused(
    run,
    f"--samples={samples}",
    f"--reference={path}",
    "--precision_recall",
    f"--output_dir={tmp_path}",
  )
