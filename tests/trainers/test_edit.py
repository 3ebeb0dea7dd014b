"""The command that edits pictures."""

import numpy as np
from PIL import Image
import pytest

import iddpm_tf as iddpm

PICTURES = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 1), np.uint8)
MASK = np.zeros([8, 8], np.uint8)
MASK[:, 4:] = 255


@pytest.fixture(name="edit")
def fixture_edit(run, model_dir, tmp_path):
  """Returns a function that edits two pictures and returns the result and all images."""
  folder = tmp_path / "pictures"
  folder.mkdir()
  for i, picture in enumerate(PICTURES):
    Image.fromarray(picture[..., 0]).save(folder / f"{i}.png")
  Image.fromarray(MASK).save(tmp_path / "mask.png")

  def edit(*flags, name="ddim_5"):
    result = run(
      "edit",
      f"--model_dir={model_dir}",
      f"--images={folder}",
      f"--output_dir={tmp_path / 'out'}",
      *(() if any("interpolate" in flag for flag in flags) else ("--samplers=ddim:5",)),
      *flags,
    )
    if result.status:
      return result, None
    with np.load(tmp_path / "out" / f"{name}.npz") as content:
      return result, content["arr_0"]

  return edit


def test_the_pixels_of_a_mask_are_drawn(edit, model_dir, tmp_path):
  result, drawn = edit(f"--masks={tmp_path / 'mask.png'}", "--num_samples=3", "--labels=3,7")
  assert result.status == 0, result.err
  assert drawn.shape == (6, 8, 8, 1)
  np.testing.assert_array_equal(drawn[:, :, :4], np.repeat(PICTURES, 3, axis=0)[:, :, :4])
  # The second picture's second image: its own seed and label.
  expected = iddpm.load(model_dir, progress=False).edit(
    PICTURES[1], masks=MASK, labels=[7], seed=[1], sampler="ddim:5", progress=False
  )
  assert np.abs(drawn[4].astype(int) - expected[0]).max() <= 1
  # The picture, its mask, and three images.
  with Image.open(tmp_path / "out" / "ddim_5_0001.png") as row:
    assert row.width > 4.5 * row.height


def test_a_strength_needs_no_mask(edit):
  result, drawn = edit("--strength=0.4", "--num_samples=2", "--labels=3")
  assert result.status == 0, result.err
  assert drawn.shape == (4, 8, 8, 1) and len(np.unique(drawn.reshape(4, -1), axis=0)) == 4


def test_the_images_between_two_pictures(edit, tmp_path):
  result, drawn = edit("--interpolate=4", "--labels=3", name="interpolated")
  assert result.status == 0, result.err
  assert drawn.shape == (4, 8, 8, 1)
  assert (tmp_path / "out" / "interpolated_0000.png").exists()


@pytest.mark.parametrize(
  "flags, message",
  [
    ((), "--masks: expected an image of the pixels to draw, or --strength below 1"),
    (("--strength=0",), "--strength: expected a share of the steps in (0, 1], received 0"),
    (("--strength=0.5",), "--labels: expected the classes of the pictures"),
    (("--interpolate=1",), "--interpolate: expected 0, or 2 images or more, received 1"),
    (("--interpolate=3", "--masks=mask.png"), "--masks: expected none with --interpolate"),
    (("--strength=0.5", "--classifier_scale=2"), "--classifier_scale: requires --classifier_dir"),
    (("--strength=0.5", "--guidance_scale=2"), "--guidance_scale: expected 1.0 for a model that"),
    (("--strength=0.5", "--images=nowhere"), "--images: "),
    (("--interpolate=3", "--labels=3", "--strength=0.5"), "--strength: cannot be combined with"),
    (("--interpolate=3", "--labels=3", "--encode_steps=99"), "--encode_steps: expected at most 25"),
    (("--masks={small}", "--labels=3"), "--masks: "),
    (
      (
        "--masks={mask}",
        "--labels=3",
        "--samplers=heun:5",
        "--resample_times=2",
        "--resample_length=2",
      ),
      "--resample_times: expected 1 for heun:5, which cannot go back",
    ),
  ],
)
def test_wrong_input_is_one_line(edit, tmp_path, flags, message):
  Image.fromarray(MASK[:4]).save(tmp_path / "small.png")
  names = {"small": tmp_path / "small.png", "mask": tmp_path / "mask.png"}
  result, _ = edit(*(flag.format(**names) for flag in flags))
  assert result.status == 2
  assert message in result.err and result.err.count("\n") == 1, result.err
  assert not (tmp_path / "out").exists()


def test_labels_of_pictures_are_checked(edit, tmp_path):
  np.savez(tmp_path / "pictures.npz", np.repeat(PICTURES, 2, axis=0), [3, 1])
  result, _ = edit("--strength=0.5", f"--images={tmp_path / 'pictures.npz'}")
  assert result.status == 2 and "--images: expected" in result.err and "[4]" in result.err
