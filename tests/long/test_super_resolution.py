"""Super-resolution (Appendix C) on the embedded data: digits in two stages, and photographs.

make super_resolution
"""

import pathlib
import subprocess
import sys

import numpy as np
from PIL import Image
from sklearn import svm

from iddpm_tf import config as config_lib
from iddpm_tf.data import sources
from iddpm_tf.data.readers import photos

ROOT = pathlib.Path(__file__).parents[2]


def command(name, *flags):
  subprocess.run([sys.executable, "-m", f"trainers.{name}", *map(str, flags)], cwd=ROOT, check=True)


def trained(folder, name):
  command("train", f"--flagfile=configs/{name}.flags", f"--model_dir={folder / name}")
  return folder / name


def arrays(folder, pattern):
  (path,) = folder.glob(pattern)
  with np.load(path) as content:
    return dict(content)


def test_an_svm_recognises_85_of_100_digits_of_two_stages(tmp_path):
  base, upsampler = trained(tmp_path, "digits_4x4"), trained(tmp_path, "digits_upsampler")
  command(
    "sample",
    f"--model_dir={base}",
    f"--upsampler_dir={upsampler}",
    f"--output_dir={tmp_path}",
    "--num_samples=500",
  )
  drawn = arrays(tmp_path, "*_upsampled_*_samples_500x8x8x1.npz")
  train, test = (sources.load(config_lib.DataConfig(), split) for split in ("train", "test"))
  classifier = svm.SVC(kernel="rbf").fit(_flat(train.images), train.labels)
  real = classifier.score(_flat(test.images), test.labels)
  score = classifier.score(_flat(drawn["arr_0"]), drawn["arr_1"])
  print(
    f"recognised: {real:.1%} of {len(test.labels)} real test digits, {score:.1%} of 500 drawn in "
    "two stages"
  )
  assert np.all(np.bincount(drawn["arr_1"]) == 50)
  assert score >= 0.85


def test_an_upsampler_of_photographs_beats_bicubic(tmp_path):
  upsampler = trained(tmp_path, "photos_upsampler")
  real = photos.load(32, "test")[0][:]
  small = np.round(_averaged(real)).astype(np.uint8)
  np.savez(tmp_path / "small.npz", small)
  bicubic = np.stack(
    [
      np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BICUBIC))
      for image in small
    ]
  )
  images = {
    "bicubic": bicubic,
    "upsampler": _enlarged(tmp_path, upsampler, "--noconsistent"),
    "upsampler with --consistent": _enlarged(tmp_path, upsampler, "--consistent"),
  }
  errors = {name: np.mean((_averaged(each) - small) ** 2) for name, each in images.items()}
  distances = {
    name: np.sqrt(np.mean((_log_spectrum(each) - _log_spectrum(real)) ** 2))
    for name, each in images.items()
  }
  for name in images:
    print(
      f"{name}: squared error to the small image {errors[name]:.2f} levels^2, distance between "
      f"its spectrum and that of real crops {10 * distances[name]:.2f} dB"
    )
  assert errors["upsampler"] < errors["bicubic"]
  assert distances["upsampler"] < distances["bicubic"]
  _assert_exact(images["upsampler with --consistent"], small)


def _assert_exact(images, small):
  """Asserts that images average to the small ones, where no pixel was clipped to black or white."""
  squares = images.reshape(len(images), 16, 2, 16, 2, 3)
  inside = (squares.min(axis=(2, 4)) > 0) & (squares.max(axis=(2, 4)) < 255)
  assert inside.mean() > 0.5
  assert np.abs(_averaged(images) - small)[inside].max() <= 0.5


def _enlarged(folder, upsampler, flag):
  """Returns the images of folder/small.npz, enlarged by the upsampler."""
  output = folder / flag.strip("-")
  command(
    "sample",
    f"--model_dir={upsampler}",
    f"--base_samples={folder}/small.npz",
    f"--output_dir={output}",
    flag,
  )
  return arrays(output, "*_samples_*x32x32x3.npz")["arr_0"]


def _flat(images):
  return images.reshape(len(images), -1) / 255


def _averaged(images):
  """Averages squares of 2x2 pixels: [N, 32, 32, 3] -> float [N, 16, 16, 3]."""
  return images.reshape(len(images), 16, 2, 16, 2, 3).mean(axis=(2, 4))


def _log_spectrum(images):
  """Returns log10 of the mean power at each integer spatial frequency up to Nyquist's."""
  grey = images.mean(axis=-1)
  power = np.abs(np.fft.fft2(grey - grey.mean(axis=(1, 2), keepdims=True))) ** 2
  frequencies = np.fft.fftfreq(32, 1 / 32)
  radius = np.round(np.hypot(frequencies[:, None], frequencies)).astype(int)
  total = np.bincount(radius.ravel(), power.mean(axis=0).ravel())
  return np.log10((total / np.bincount(radius.ravel()))[1:17])
