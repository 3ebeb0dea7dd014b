"""Small pictures, and records of them, which the tests of this folder share."""

import pathlib

import numpy as np
from PIL import Image
import pytest

from iddpm_tf import settings as settings_lib
from iddpm_tf.config import DataConfig
from iddpm_tf.data import decoding
from iddpm_tf.data import sources
from iddpm_tf.data.records import preparation
from iddpm_tf.utils import progress as progress_lib

COUNT = 23
BROKEN = (0, 7, 8, 9, 22)  # With four pictures per shard, one picture is left of shard 2, 8 to 11.
NAMES = [f"{'ant' if i < 12 else 'bee'}/{i:02d}.png" for i in range(COUNT)]


def draw_pictures(folder):
  """Writes 23 pictures of 7x6 in two classes, five of which are broken."""
  rng = np.random.default_rng(0)
  for i, name in enumerate(NAMES):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (6, 7, 3), dtype=np.uint8)).save(path)
    if i in BROKEN:
      path.write_bytes(b"" if i % 2 else b"hello")


class Recorder:
  """A `Progress` that keeps the lines, and calls a function after each picture."""

  def __init__(self, on_picture=lambda: None):
    self.lines, self._on_picture = [], on_picture

  def say(self, text):
    self.lines.append(text)

  def bar(self, **_):
    bar = progress_lib.Silent().bar(total=0, unit="")
    bar.update = lambda n=1: self._on_picture()
    return bar


def config_of(folder, **settings):
  return DataConfig(**{"dataset": "folder", "data_dir": str(folder), "image_size": 4, **settings})


def prepare(folder, output, *, progress=None, shard_size=4, **settings):
  """Prepares the training split of a folder, without the broken pictures."""
  return preparation.prepare(
    config_of(folder, **settings),
    output,
    splits=("train",),
    shard_size=shard_size,
    unreadable="skip",
    workers=2,
    progress=progress,
  )


def contents(folder):
  """Returns the content of every file in a folder."""
  return {
    str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()
  }


def load(output, split="train", **settings):
  return sources.load(DataConfig(dataset="records", data_dir=str(output), **settings), split)


def error_of_loading(output, split="train", **settings):
  """Returns the message of the error that loading records raises: one line that names no flag."""
  with pytest.raises(settings_lib.InputError) as caught:
    load(output, split, **settings)
  message = str(caught.value)
  assert "\n" not in message and "--" not in message and "trainers" not in message
  return message


def readable_pictures(folder: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
  """Returns the images and labels of the pictures that can be read, in order."""
  listing = sources.open_listing(config_of(folder), "train")
  outcomes = decoding.outcomes(listing.pictures(0, COUNT), decoding.Form(4, "bicubic", 3))
  readable = [outcome for outcome in outcomes if outcome.decoded]
  images = np.stack([outcome.decoded.pixels for outcome in readable])
  return images, np.array([outcome.label for outcome in readable])
