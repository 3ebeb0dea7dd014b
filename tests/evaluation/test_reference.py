"""Files of reference statistics: this package's, the authors', and others."""

import numpy as np
import pytest

from iddpm_tf import settings
from iddpm_tf.data import pictures
from iddpm_tf.evaluation import frechet
from iddpm_tf.evaluation import reference

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3)).astype(np.uint8)
POOL = frechet.Gaussian(np.arange(3.0), np.diag([1.0, 2.0, 3.0]))
SPATIAL = frechet.Gaussian(np.zeros(2), np.eye(2))


def test_a_written_file_is_read(tmp_path):
  path = tmp_path / "reference.npz"
  about = {"features": "digits"}
  reference.write(path, pool=POOL, spatial=SPATIAL, images=IMAGES, about=about)
  read = reference.read(path)
  for expected, received in ((POOL, read.pool), (SPATIAL, read.spatial)):
    np.testing.assert_array_equal(received.mean, expected.mean)
    np.testing.assert_array_equal(received.covariance, expected.covariance)
  np.testing.assert_array_equal(read.images, IMAGES)
  assert read.about == about and read.path == str(path) and len(read.checksum) == 64
  assert [file.name for file in tmp_path.iterdir()] == ["reference.npz"]


def test_the_authors_files_are_read(tmp_path):
  """They hold float32 or float64, and perhaps no images. Files of samples hold images alone."""
  np.savez(
    tmp_path / "a.npz",
    mu=POOL.mean.astype(np.float32),
    sigma=POOL.covariance.astype(np.float32),
    mu_s=SPATIAL.mean,
    sigma_s=SPATIAL.covariance,
  )
  read = reference.read(tmp_path / "a.npz")
  assert read.pool.mean.dtype == np.float64 and read.images is None and read.about == {}
  np.savez(tmp_path / "b.npz", IMAGES, np.arange(5))
  read = reference.read(tmp_path / "b.npz")
  assert read.pool is None and read.spatial is None and len(read.images) == 5


def test_a_reference_is_a_path_images_or_itself(tmp_path):
  np.savez(tmp_path / "a.npz", IMAGES)
  of_file = reference.load(tmp_path / "a.npz")
  assert reference.load(of_file) is of_file
  of_images = reference.load(IMAGES)
  assert of_images.images is IMAGES and of_images.path is None and of_images.pool is None
  with pytest.raises(
    settings.InputError, match=r"reference: expected uint8 \[N, H, W, C\], received"
  ):
    reference.load(IMAGES / 255)


@pytest.mark.parametrize(
  "arrays, message",
  [
    ({"x": np.zeros(3)}, "has neither"),
    ({"mu": np.zeros(3)}, "both mu and sigma"),
    ({"mu": np.zeros((3, 1)), "sigma": np.eye(3)}, "mu to be float"),
    ({"mu": np.zeros(3, int), "sigma": np.eye(3)}, "mu to be float"),
    ({"mu": np.full(3, np.nan), "sigma": np.eye(3)}, "finite"),
    ({"mu": np.zeros(3), "sigma": np.full((3, 3), np.inf)}, "finite"),
    ({"mu": np.zeros(3), "sigma": np.eye(3)[:2]}, "covariance of shape"),
    ({"mu": np.zeros(3), "sigma": np.triu(np.ones((3, 3)))}, "symmetric"),
    ({"mu": np.zeros(3), "sigma": -np.eye(3)}, "no negative eigenvalues"),
    ({"mu": np.zeros(0), "sigma": np.zeros((0, 0))}, "mu to be float"),
    (
      {"mu": np.zeros(3), "sigma": np.eye(3), "about": np.array('{"features_sha256": 7}')},
      "JSON object",
    ),
    ({"arr_0": np.zeros((5, 4, 4, 3))}, "uint8"),
    ({"arr_0": np.zeros((5, 4, 4, 2), np.uint8)}, "uint8"),
    ({"arr_0": np.zeros((4, 4, 3), np.uint8)}, "uint8"),
    ({"mu": np.zeros(3), "sigma": np.eye(3), "about": np.array("[1]")}, "JSON object"),
    ({"mu": np.zeros(3), "sigma": np.eye(3), "about": np.array("{")}, "JSON object"),
    ({"arr_0": np.array([{}])}, "Python objects"),
  ],
)
def test_other_files_are_refused(tmp_path, arrays, message):
  np.savez(tmp_path / "bad.npz", **arrays)
  with pytest.raises(settings.InputError, match=f"reference: .*{message}") as error:
    reference.read(tmp_path / "bad.npz")
  assert "bad.npz" in str(error.value) and "\n" not in str(error.value)


def test_a_missing_file_is_refused(tmp_path):
  with pytest.raises(settings.InputError, match=r"reference: .*no\.npz: expected an .npz.*none"):
    reference.read(tmp_path / "no.npz")


def test_a_folder_of_pictures_is_a_reference(tmp_path):
  for index, image in enumerate(IMAGES):
    pictures.write_png(tmp_path / f"{index:03d}.png", image)
  loaded = reference.load(tmp_path, channels=IMAGES.shape[-1])
  np.testing.assert_array_equal(loaded.images, IMAGES)
  assert loaded.pool is None and loaded.path == str(tmp_path) and len(loaded.checksum) == 64


def test_nothing_is_left_of_a_file_that_could_not_be_written(tmp_path):
  with pytest.raises(TypeError):
    reference.write(
      tmp_path / "a.npz", pool=POOL, spatial=None, images=IMAGES, about={"x": object()}
    )
  assert not list(tmp_path.iterdir())
