"""Images that are named by a path: all forms give the same images, and errors name the setting."""

import numpy as np
from PIL import Image
import pytest

from iddpm_tf import settings
from iddpm_tf.data import image_files
from iddpm_tf.data import pictures

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, [3, 8, 6, 3], np.uint8)
GREY = RNG.integers(0, 256, [3, 8, 6, 1], np.uint8)


def write_folder(folder, images, classes=("",) * 3):
  for index, (image, name) in enumerate(zip(images, classes)):
    (folder / name).mkdir(parents=True, exist_ok=True)
    pictures.write_png(folder / name / f"{index}.png", image)
  return folder


def test_archives_pictures_and_folders_hold_the_same_images(tmp_path):
  np.savez(tmp_path / "a.npz", COLOURS, [2, 0, 1])
  np.save(tmp_path / "a.npy", COLOURS)
  for path in (tmp_path / "a.npz", tmp_path / "a.npy", write_folder(tmp_path / "a", COLOURS)):
    np.testing.assert_array_equal(image_files.read(path).images, COLOURS)
  np.testing.assert_array_equal(image_files.read(tmp_path / "a/1.png").images, COLOURS[1:2])


def test_labels_are_those_of_an_archive_or_of_sub_folders(tmp_path):
  np.savez(tmp_path / "a.npz", COLOURS, [2, 0, 1])
  assert image_files.read(tmp_path / "a.npz").labels.tolist() == [2, 0, 1]
  folder = write_folder(tmp_path / "a", COLOURS, ("ant", "bee", "bee"))
  assert image_files.read(folder).labels.tolist() == [0, 1, 1]
  assert image_files.read(folder / "bee").labels is None


def test_classes_have_the_numbers_of_the_model(tmp_path):
  folder = write_folder(tmp_path / "a", COLOURS, ("ant", "bee", "bee"))
  assert image_files.read(folder, class_names=("bee", "cow", "ant")).labels.tolist() == [2, 0, 0]
  with pytest.raises(settings.InputError, match=r"model \(cow, bee\), received 'ant'"):
    image_files.read(folder, class_names=("cow", "bee"))


@pytest.mark.parametrize("form", ["npz", "npy", "folder"])
def test_channels_become_those_that_are_expected(tmp_path, form):
  def write(name, images):
    if form == "folder":
      return write_folder(tmp_path / name, images)
    path = tmp_path / f"{name}.{form}"
    (np.savez if form == "npz" else np.save)(path, images)
    return path

  grey, colours = write("grey", GREY), write("colours", COLOURS)
  np.testing.assert_array_equal(image_files.read(grey, (8, 6, 1)).images, GREY)
  in_rgb = image_files.read(grey, (8, 6, 3)).images
  np.testing.assert_array_equal(in_rgb, np.repeat(GREY, 3, axis=-1))
  with pytest.raises(settings.InputError, match=r"^images: expected uint8 \[N, 8, 6, 1\]"):
    image_files.read(colours, (8, 6, 1))


@pytest.mark.parametrize(
  "name, message",
  [
    ("none.npz", r"expected an .npz or .npy file, .*none.npz, which does not exist"),
    ("text.npz", r"expected an .npz with 'arr_0'"),
    ("text.npy", r"expected an .npy file of images, received .*text.npy, which cannot be read"),
    ("text.png", r"expected a picture that can be read, received .*text.png, which is not a pic"),
    ("empty", r"expected pictures .* in .*empty"),
    ("floats.npy", r"expected uint8 \[N, H, W, C\], received float64"),
    ("sizes", r"expected a size to bring all pictures to"),
  ],
)
def test_what_holds_no_images_is_refused_under_the_name_of_the_setting(tmp_path, name, message):
  for text in ("text.npz", "text.npy", "text.png"):
    (tmp_path / text).write_text("hello")
  (tmp_path / "empty").mkdir()
  np.save(tmp_path / "floats.npy", COLOURS / 255)
  (tmp_path / "sizes").mkdir()
  for size in (4, 5):
    Image.new("RGB", (size, size)).save(tmp_path / f"sizes/{size}.png")
  with pytest.raises(settings.InputError, match=message) as caught:
    image_files.read(tmp_path / name, name="samples")
  assert caught.value.name == "samples"


def test_a_checksum_is_that_of_the_file_or_of_the_images(tmp_path):
  folder = write_folder(tmp_path / "a", COLOURS)
  first = image_files.checksum(folder, COLOURS)
  assert first == image_files.checksum(folder, COLOURS.copy()) != image_files.checksum(folder, GREY)
  np.savez(tmp_path / "a.npz", COLOURS)
  assert len(image_files.checksum(tmp_path / "a.npz", COLOURS)) == len(first) == 64
