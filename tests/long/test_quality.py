"""Quality of drawn digits: an SVM that was trained on real digits classifies 500 drawn ones.

make quality
"""

import pathlib
import subprocess
import sys

import numpy as np
from sklearn import svm

from iddpm_tf import config as config_lib
from iddpm_tf.data import sources

ROOT = pathlib.Path(__file__).parents[2]


def command(name, *flags):
  subprocess.run([sys.executable, "-m", f"trainers.{name}", *map(str, flags)], cwd=ROOT, check=True)


def test_an_svm_recognises_95_of_100(tmp_path, request):
  folder = request.config.getoption("model_dir")
  if not folder:
    folder = tmp_path / "digits"
    command("train", "--flagfile=configs/digits.flags", f"--model_dir={folder}")
  command(
    "sample",
    f"--model_dir={folder}",
    "--num_samples=500",
    "--samplers=ancestral:100",
    f"--output_dir={tmp_path}",
  )
  with np.load(tmp_path / "ancestral_100_samples_500x8x8x1.npz") as content:
    images, labels = content["arr_0"], content["arr_1"]
  train, test = (sources.load(config_lib.DataConfig(), split) for split in ("train", "test"))
  classifier = svm.SVC(kernel="rbf").fit(_flat(train.images), train.labels)
  real = classifier.score(_flat(test.images), test.labels)
  drawn = classifier.score(_flat(images), labels)
  print(
    f"recognised: {real:.1%} of {len(test.labels)} real test digits, {drawn:.1%} of {len(labels)} "
    "drawn ones"
  )
  assert np.all(np.bincount(labels) == 50)
  assert drawn >= 0.95


def _flat(images):
  return images.reshape(len(images), -1) / 255
