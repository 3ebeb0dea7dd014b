"""Scores of arrays."""

import numpy as np
import pytest

import iddpm_tf as iddpm

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, [80, 8, 8, 1], np.uint8)
OTHER = RNG.integers(100, 256, [90, 8, 8, 1], np.uint8)


def test_images_are_scored_against_others():
  scores = iddpm.score(
    IMAGES, OTHER, scores=["fid", "precision_recall", "inception_score"], progress=False
  )
  names = ["fid", "inception_score", "precision_k3", "recall_k3", "precision_k5", "recall_k5"]
  assert sorted(scores) == sorted(names)
  assert scores["fid"] > 0 and 1 <= scores["inception_score"] <= 10
  assert iddpm.score(IMAGES, IMAGES, progress=False)["fid"] == pytest.approx(0, abs=1e-3)


def test_the_reference_can_be_a_file(tmp_path):
  np.savez(tmp_path / "images.npz", OTHER)
  by_file = iddpm.score(IMAGES, tmp_path / "images.npz", features="digits", progress=False)
  assert by_file == iddpm.score(IMAGES, OTHER, features="digits", progress=False)


def test_images_can_be_named_by_their_path(tmp_path):
  np.save(tmp_path / "images.npy", IMAGES)
  by_path = iddpm.score(tmp_path / "images.npy", OTHER, features="digits", progress=False)
  assert by_path == iddpm.score(IMAGES, OTHER, features="digits", progress=False)


@pytest.mark.parametrize(
  "arguments, options, message",
  [
    (
      (IMAGES / 255, OTHER),
      {},
      "images: expected uint8 [N, H, W, C], received float64 [80, 8, 8, 1]; values in [0, 1] "
      "become uint8 by np.uint8(np.round(images * 255))",
    ),
    (
      (IMAGES,),
      {},
      "reference: expected real images or the path of an .npz for fid, received none",
    ),
    ((IMAGES, OTHER), {"batch_size": 0}, "batch_size: expected a positive number, received 0"),
  ],
  ids=["floats", "no reference", "no batch"],
)
def test_wrong_arguments_are_refused(arguments, options, message):
  with pytest.raises(iddpm.InputError) as caught:
    iddpm.score(*arguments, **options)
  assert str(caught.value) == message


def test_unknown_scores_are_refused():
  with pytest.raises(iddpm.InputError, match=r"^scores: expected .*fid.*, received"):
    iddpm.score(IMAGES, OTHER, scores=["lpips"])
