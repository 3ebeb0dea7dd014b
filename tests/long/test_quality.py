"""Quality of drawn and completed digits, which an SVM of real digits classifies.

make quality
"""

import pathlib
import subprocess
import sys

import numpy as np
import pytest
from sklearn import svm

import iddpm_tf as iddpm
from iddpm_tf import config as config_lib
from iddpm_tf.data import sources
from iddpm_tf.evaluation import digits_classifier

ROOT = pathlib.Path(__file__).parents[2]


def command(name, *flags):
  subprocess.run([sys.executable, "-m", f"trainers.{name}", *map(str, flags)], cwd=ROOT, check=True)


@pytest.fixture(name="model_folder", scope="module")
def fixture_model_folder(request, tmp_path_factory):
  """The folder of a model of the digits, which is trained unless there is one."""
  folder = request.config.getoption("model_dir")
  if not folder:
    folder = tmp_path_factory.mktemp("runs") / "digits"
    command("train", "--flagfile=configs/digits.flags", f"--model_dir={folder}")
  return folder


@pytest.fixture(name="model", scope="module")
def fixture_model(model_folder):
  return iddpm.load(model_folder, progress=False)


@pytest.fixture(name="classifier", scope="module")
def fixture_classifier():
  """An SVM of real digits."""
  train = sources.load(config_lib.DataConfig(), "train")
  return svm.SVC(kernel="rbf").fit(_flat(train.images), train.labels)


def test_an_svm_recognises_95_of_100(tmp_path, model_folder, classifier):
  command(
    "sample",
    f"--model_dir={model_folder}",
    "--num_samples=500",
    "--samplers=ancestral:100",
    f"--output_dir={tmp_path}",
  )
  with np.load(tmp_path / "ancestral_100_samples_500x8x8x1.npz") as content:
    images, labels = content["arr_0"], content["arr_1"]
  test = sources.load(config_lib.DataConfig(), "test")
  real = classifier.score(_flat(test.images), test.labels)
  drawn = classifier.score(_flat(images), labels)
  print(
    f"recognised: {real:.1%} of {len(test.labels)} real test digits, {drawn:.1%} of {len(labels)} "
    "drawn ones"
  )
  assert np.all(np.bincount(labels) == 50)
  assert drawn >= 0.95


@pytest.mark.parametrize("sampler", ["ancestral:100", "dpmpp_2m:20"])
def test_an_svm_reads_digits_whose_lower_half_was_drawn(model, classifier, sampler):
  test = sources.load(config_lib.DataConfig(), "test")
  images, labels = np.asarray(test.images[:200]), np.asarray(test.labels[:200])
  mask = np.zeros([8, 8], bool)
  mask[4:] = True
  drawn = model.edit(images, masks=mask, labels=labels, sampler=sampler, progress=False)
  np.testing.assert_array_equal(drawn[:, :4], images[:, :4])
  score = classifier.score(_flat(drawn), labels)
  print(f"{sampler}: {score:.1%} of 200 completed digits are recognised")
  assert score >= 0.9


def test_the_ends_of_an_interpolation_are_the_pictures(model):
  test = sources.load(config_lib.DataConfig(), "test")
  pairs = np.array([np.flatnonzero(test.labels == digit)[:2] for digit in range(10)])
  first, second = (np.asarray(test.images[:])[pairs[:, i]] for i in range(2))
  drawn = model.interpolate(first, second, count=3, labels=np.arange(10), progress=False)
  for end, pictures in ((drawn[:, 0], first), (drawn[:, -1], second)):
    distance = np.mean(np.abs(end.astype(int) - pictures))
    print(f"an end of the interpolation differs by {distance:.2f} levels on average")
    assert distance <= 2


def test_the_classifier_of_the_digits_can_be_trained_again(tmp_path):
  path = tmp_path / "weights.npz"
  command("train_digits_classifier", f"--output={path}")
  with np.load(path) as new, np.load(digits_classifier.WEIGHTS) as packaged:
    shapes = [[file[name].shape for name in file.files] for file in (new, packaged)]
    assert shapes[0] == shapes[1]
  test = sources.load(config_lib.DataConfig(), "test")
  accuracy = digits_classifier.accuracy(digits_classifier.load(path), test.images, test.labels)
  print(f"the classifier, trained again: {accuracy:.1%} of the test images")
  assert accuracy > 0.97


def _flat(images):
  return images.reshape(len(images), -1) / 255
