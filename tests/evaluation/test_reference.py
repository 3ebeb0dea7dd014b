"""Files of reference statistics: ours, the authors', and what is neither."""

import numpy as np
import pytest

from iddpm_tf.evaluation import frechet
from iddpm_tf.evaluation import reference

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3)).astype(np.uint8)
POOL = frechet.Gaussian(np.arange(3.0), np.diag([1.0, 2.0, 3.0]))
SPATIAL = frechet.Gaussian(np.zeros(2), np.eye(2))


def test_what_is_written_is_read(tmp_path):
  path = tmp_path / "reference.npz"
  reference.write(path, pool=POOL, spatial=SPATIAL, images=IMAGES, about={"features": "digits"})
  found = reference.read(path)
  for expected, received in ((POOL, found.pool), (SPATIAL, found.spatial)):
    np.testing.assert_array_equal(received.mean, expected.mean)
    np.testing.assert_array_equal(received.covariance, expected.covariance)
  np.testing.assert_array_equal(found.images, IMAGES)
  assert found.about == {"features": "digits"} and len(found.checksum) == 64
  assert [file.name for file in tmp_path.iterdir()] == ["reference.npz"]


def test_the_authors_files(tmp_path):
  """Their statistics are float32 or float64, and may come without images; sample files are images alone."""
  np.savez(
    tmp_path / "a.npz",
    mu=POOL.mean.astype(np.float32),
    sigma=POOL.covariance.astype(np.float32),
    mu_s=SPATIAL.mean,
    sigma_s=SPATIAL.covariance,
  )
  found = reference.read(tmp_path / "a.npz")
  assert found.pool.mean.dtype == np.float64 and found.images is None and found.about == {}
  np.savez(tmp_path / "b.npz", IMAGES, np.arange(5))
  found = reference.read(tmp_path / "b.npz")
  assert found.pool is None and found.spatial is None and len(found.images) == 5


@pytest.mark.parametrize(
  "arrays, said",
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
def test_other_files(tmp_path, arrays, said):
  np.savez(tmp_path / "bad.npz", **arrays)
  with pytest.raises(ValueError, match=f"--reference: .*{said}.*") as error:
    reference.read(tmp_path / "bad.npz")
  assert "bad.npz" in str(error.value) and "\n" not in str(error.value)


def test_a_missing_file(tmp_path):
  with pytest.raises(ValueError, match="--reference: .*none"):
    reference.read(tmp_path / "no.npz")


def test_nothing_is_left_of_a_file_that_could_not_be_written(tmp_path):
  with pytest.raises(TypeError):
    reference.write(
      tmp_path / "a.npz", pool=POOL, spatial=None, images=IMAGES, about={"x": object()}
    )
  assert not list(tmp_path.iterdir())
