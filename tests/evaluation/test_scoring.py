"""Scores of arrays and of files against each other."""

import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.data import sources
from iddpm_tf.data.records import reading
from iddpm_tf.evaluation import config as evaluation_config
from iddpm_tf.evaluation import features
from iddpm_tf.evaluation import frechet
from iddpm_tf.evaluation import reference as reference_lib
from iddpm_tf.evaluation import reference_statistics
from iddpm_tf.evaluation import scoring
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.utils import progress as progress_lib
from tests.evaluation.feature_extractors import networks

ALL = ("fid", "fid_infinity", "sfid", "inception_score", "precision_recall", "kid")
SILENT = progress_lib.Silent()


class Lines(progress_lib.Silent):
  """Keeps the lines that are shown."""

  def __init__(self):
    self.lines = []

  def say(self, text):
    self.lines.append(text)


@pytest.fixture(name="train_split", scope="module")
def fixture_train_split(model):
  """The `Source` of the training split of the digits."""
  return sources.load(model.config.data, "train")


def test_images_have_the_best_scores_against_themselves(test_split):
  images = test_split.images[:100]
  scores = scoring.score(images, images, scores=ALL, progress=SILENT)
  assert scores["fid"] == pytest.approx(0, abs=1e-6) == scores["sfid"]
  assert scores["kid"] < 0  # The unbiased estimate leaves out pairs of an image with itself.
  assert [scores[f"{name}_k{k}"] for name in ("precision", "recall") for k in (3, 5)] == [1] * 4
  assert 5 < scores["inception_score"] <= 10


def test_few_samples_are_said_to_be_too_few_to_extrapolate(test_split, train_split, recorder):
  images, real = test_split.images, train_split.images
  for count, expected in ((319, 1), (320, 0)):
    recorder.lines.clear()
    scoring.score(images[:count], real, scores=("fid_infinity",), progress=recorder)
    assert (
      sum("too few to extrapolate FID of 64 features" in line for line in recorder.lines)
      == expected
    )
  reference = {"images": images[:30], "reference": images[:1], "scores": ("fid_infinity",)}
  with pytest.raises(settings.InputError, match="to compute what fid_infinity requires"):
    scoring.score(**reference, progress=SILENT)


def test_the_reference_is_an_array_images_on_the_disk_or_a_file(train_split, test_split, tmp_path):
  images, real = test_split.images, train_split.images
  extractor = features.load("digits")
  gaussians = [frechet.statistics(extractor(each).pool).gaussian for each in (real, images)]
  expected = frechet.frechet_distance(*gaussians)
  records = reading.RecordImages([real[:500], real[500:]], (8, 8, 1))
  np.savez(tmp_path / "images.npz", real)
  np.savez(tmp_path / "statistics.npz", mu=gaussians[0].mean, sigma=gaussians[0].covariance)
  for reference in (real, records, tmp_path / "images.npz", str(tmp_path / "statistics.npz")):
    scores = scoring.score(images, reference, batch_size=77, progress=SILENT)
    assert scores == {"fid": pytest.approx(expected, rel=1e-6)}


def test_the_inception_score_needs_no_reference(test_split):
  scores = scoring.score(test_split.images, scores=("inception_score",), progress=SILENT)
  assert list(scores) == ["inception_score"] and 5 < scores["inception_score"] <= 10


def test_too_few_samples_for_a_covariance_are_a_warning(test_split):
  progress = Lines()
  scoring.score(test_split.images[:64], test_split.images, progress=progress)
  (line,) = progress.lines
  assert line.startswith("warning: 64 samples are too few for a covariance of 64 features")
  scoring.score(test_split.images[:65], test_split.images, progress=progress)
  assert len(progress.lines) == 1


def test_images_of_any_size_have_scores_and_a_note_about_their_features():
  progress = Lines()
  images = np.random.default_rng(0).integers(0, 256, [40, 5, 7, 3], np.uint8)
  scores = scoring.score(images[:20], images[20:], scores=("kid",), progress=progress)
  assert scores["kid"] == pytest.approx(0, abs=4 * scores["kid_standard_error"])
  (line,) = progress.lines
  assert line.startswith("note: these scores use random features, and can be compared with each")
  scoring.score(images[:20], images[20:], scores=("kid",), features="random", progress=progress)
  assert len(progress.lines) == 1


def test_statistics_of_other_features_need_a_choice(tmp_path):
  path = tmp_path / "other.npz"
  np.savez(path, mu=np.zeros(64), sigma=np.eye(64))
  for chosen, hint in (
    (None, "; features chooses the extractor of the statistics"),
    ("random", ""),
  ):
    with pytest.raises(settings.InputError) as caught:
      scoring.prepare(("fid",), (4, 4, 3), features=chosen, reference=path, num_samples=9)
    assert str(caught.value) == (
      "reference: expected statistics of 128 features per image for fid, which random gives, "
      f"received 64 ({path}){hint}"
    )


def test_a_result_says_what_it_depends_on(test_split, tmp_path):
  np.savez(tmp_path / "reference.npz", test_split.images)
  prepared = scoring.prepare(
    ("fid",), (8, 8, 1), reference=tmp_path / "reference.npz", num_samples=90
  )
  scorers = [prepared.make_scorer(batch_size=batch_size, progress=SILENT) for batch_size in (90, 7)]
  result, other = (scorer.score(test_split.images[:90]) for scorer in scorers)
  assert list(result) == [
    "scores",
    "num_samples",
    "images_sha256",
    "features",
    "features_sha256",
    "reference",
    "reference_sha256",
    "reference_about",
  ]
  assert result["features_sha256"] == prepared.extractor.checksum
  assert result["reference_sha256"] == prepared.reference.checksum and result["num_samples"] == 90
  assert other["images_sha256"] == result["images_sha256"]


def test_wrong_arguments_are_refused(test_split, tmp_path):
  images = test_split.images[:50]
  colours = np.zeros([9, 8, 8, 3], np.uint8)
  for arguments, message in (
    (
      {"images": images / 255.0},
      r"images: expected uint8 \[N, H, W, C\], received float64 \[50, 8",
    ),
    ({"images": images[:1]}, "images: expected 2 or more for a covariance, received 1"),
    ({"images": images[:5], "scores": ("precision_recall",)}, "images: expected more than 5"),
    ({"reference": None}, "reference: expected real images .* for fid, received none"),
    ({"reference": colours}, "reference: expected an extractor for images of 8x8x3"),
    ({"reference": images[:1]}, "reference: expected 2 images or more .* what fid requires, .* 1$"),
    ({"reference": tmp_path / "no.npz"}, r"reference: .*no\.npz: expected an .npz, received none"),
    ({"scores": ("nll",)}, "scores: expected names of fid"),
    ({"features": "no.pb"}, r"features: .*no\.pb, which does not exist"),
    ({"images": images[:1], "scores": ("kid",)}, "images: expected 2 or more for KID, received 1"),
    (
      {"images": colours, "reference": np.zeros([9, 16, 16, 3], np.uint8)},
      "reference: expected images of 8x8, as the samples have, because random features of other "
      "sizes cannot be compared, received 16x16",
    ),
    ({"batch_size": 0}, "batch_size: expected a positive number"),
  ):
    given = {"images": images, "reference": images} | arguments
    with pytest.raises(settings.InputError, match=message):
      scoring.score(**given, progress=SILENT)


def test_a_reference_of_other_features_is_refused(tmp_path):
  path = tmp_path / "other.npz"

  def prepare(*names):
    return scoring.prepare(names, (8, 8, 1), reference=path, num_samples=100)

  about = json.dumps({"features": "classify_image_graph_def.pb", "features_sha256": "0" * 64})
  np.savez(path, mu=np.zeros(64), sigma=np.eye(64), about=np.array(about))
  with pytest.raises(
    settings.InputError, match=r"reference: .*features of digits .* of classify_image_graph_def\.pb"
  ):
    prepare("fid")
  np.savez(path, mu=np.zeros(128), sigma=np.eye(128))
  with pytest.raises(
    settings.InputError, match=r"reference: expected .* 64 features per image for fid, .* 128"
  ):
    prepare("fid")
  np.savez(path, mu=np.zeros(64), sigma=np.eye(64))
  with pytest.raises(
    settings.InputError, match=r"reference: expected 6 images or more .*received 0"
  ):
    prepare("precision_recall")


def test_features_that_are_not_finite_are_refused_by_their_name(test_split, tmp_path):
  folder = networks.save_function(
    tmp_path / "nan",
    lambda image: {"pool": networks.nan_means(image)},
    shape=(None, None, None, 1),
  )
  with pytest.raises(settings.InputError, match="features of the reference: expected finite numb"):
    scoring.score(test_split.images, test_split.images, features=str(folder), progress=SILENT)


def test_the_reference_of_training_images_is_kept_and_made_again_if_damaged(
  model, train_split, tmp_path
):
  folder = model_dir_lib.ModelDir(tmp_path)
  prepared = scoring.prepare(("fid",), (8, 8, 1), num_samples=100)

  def reference(config=model.config, source=None):
    result = prepared.with_reference_of(
      config, folder, source=source, batch_size=100, progress=SILENT
    ).score(train_split.images[:100])
    return result["reference"], result["scores"], result["reference_about"]

  path, scores, about = reference()
  assert about["num_examples"] == 1437 and about["split"] == "train"
  written = reference_lib.read(path)
  np.testing.assert_array_equal(written.images, train_split.images)
  (file,) = folder.evaluations.iterdir()
  # Whether a download is allowed does not matter.
  assert reference(model.config.with_settings(download=False))[0] == path
  file.write_bytes(file.read_bytes()[:-50])
  path_again, scores_again, _ = reference()
  assert path_again == path
  # Linear algebra with several threads may add in another order.
  assert scores_again == pytest.approx(scores, rel=1e-12)
  again = reference_lib.read(path)
  assert again.about == written.about
  np.testing.assert_array_equal(again.images, written.images)
  for received, expected in zip(again.pool, written.pool, strict=True):
    np.testing.assert_allclose(received, expected, rtol=1e-12, atol=1e-12)
  # A run of an earlier version keeps its file.
  earlier = model.config.data.as_before(config_lib.DataConfig.before(5))
  earlier_path = reference(dataclasses.replace(model.config, data=earlier))[0]
  assert pathlib.Path(earlier_path).name == "reference_0d3cd743.npz"
  # A model of arrays cannot load them. Other arrays have another file.
  arrays = dataclasses.replace(
    model.config, data=dataclasses.replace(model.config.data, dataset=sources.ARRAYS)
  )
  paths = [
    reference(arrays, sources.from_arrays(images, np.arange(300) % 10))[0]
    for images in (train_split.images[:300], train_split.images[300:600])
  ]
  assert len({path, *paths}) == 3
  with pytest.raises(settings.InputError, match="dataset: expected a data set in files"):
    reference(arrays)


def test_models_of_the_same_data_share_the_reference(model, tmp_path, monkeypatch):
  extractor, written = features.load("digits"), []
  write = reference_statistics.write

  def record(path, *arguments, **settings):
    written.append(path.parents[1].name)
    write(path, *arguments, **settings)

  monkeypatch.setattr(reference_statistics, "write", record)
  monkeypatch.setattr(reference_statistics, "_written", {})

  def checksum(name):
    folder = model_dir_lib.ModelDir(tmp_path / name)
    return reference_statistics.of_training_images(
      model.config, folder, extractor, batch_size=100, progress=SILENT
    ).checksum

  assert checksum("first") == checksum("second") and written == ["first"]
  shutil.rmtree(tmp_path / "second")
  assert checksum("third") == checksum("first") and written == ["first", "third"]
  # Other images have other statistics, although the configuration is the same.
  monkeypatch.setattr(sources, "checksum", lambda source: "others")
  checksum("fourth")
  assert written == ["first", "third", "fourth"]


def test_statistics_are_of_evenly_spaced_images(train_split, tmp_path):
  path = tmp_path / "reference.npz"
  config = evaluation_config.ReferenceConfig(num_examples=400, num_images=50)
  extractor = features.load("digits")
  reference_statistics.write(path, train_split, extractor, config=config, progress=SILENT)
  chosen = train_split.images[np.arange(400) * 1437 // 400]
  with np.load(path) as content:
    expected = extractor(chosen)
    np.testing.assert_allclose(content["mu"], expected.pool.mean(axis=0), rtol=1e-4, atol=1e-5)
    covariance = np.cov(expected.spatial, rowvar=False)
    np.testing.assert_allclose(content["sigma_s"], covariance, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(content["arr_0"], chosen[np.arange(50) * 400 // 50])
  with pytest.raises(settings.InputError, match="num_examples: expected at most 1437, the train"):
    config = evaluation_config.ReferenceConfig(num_examples=1438)
    reference_statistics.write(path, train_split, extractor, config=config, progress=SILENT)
  with pytest.raises(
    settings.InputError, match="num_examples: expected 2 or more for a covariance"
  ):
    evaluation_config.ReferenceConfig(num_examples=1)
