"""Draws images from a server, and writes them as PNG files.

  python -m trainers.client --url=http://127.0.0.1:8501 --model=digits --output_dir=drawn

The server is TensorFlow Serving or a development server, by REST (--url) or by gRPC (--address).
Many images are requested in batches. A busy server is asked again.
"""

from collections.abc import Collection
import dataclasses
import math
import pathlib
import sys
from typing import Any

import numpy as np

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.data import pictures
from iddpm_tf.models import seeds as seeds_lib
from iddpm_tf.serving import clients
from iddpm_tf.serving import layout
from iddpm_tf.serving.clients import addresses
from iddpm_tf.utils import files
from iddpm_tf.utils import progress as progress_lib
from trainers.cli import command
from trainers.cli import signals

GRID = "grid.png"
_GRID_IMAGES = 400  # The largest number of images in the grid.
_LIMIT = 10_000_000  # Of the settings that are counts.


@dataclasses.dataclass(frozen=True)
class Options:
  """The settings of the command."""

  model: str = settings.required("the name of the model on the server")
  output_dir: str = settings.required(f"a folder for the images, SEED.png, and for {GRID}")
  address: str | None = settings.setting(
    None, "HOST:PORT of a server's gRPC interface", remote=True
  )
  url: str | None = settings.setting(
    None, "http://HOST:PORT of a server's REST interface", remote=True
  )
  model_version: int | None = settings.setting(None, "version of the model; unset: the newest")
  signature: str = settings.setting(
    layout.DEFAULT_SIGNATURE, "name of a sampler on the server, such as ddim_50"
  )
  num_samples: int = settings.setting(16, "number of images to draw")
  seed: int = settings.setting(0, "seed of the first image; image i has seed + i")
  labels: tuple[str, ...] = settings.setting(
    ("0",),
    "classes of the images, by number or by name (cat,dog), repeated in turn, if the model has "
    "classes",
  )
  guidance_scale: float = settings.setting(
    1.0, "how much images follow their classes, if the model knows classifier-free guidance"
  )
  classifier_scale: float = settings.setting(
    1.0, "how much a classifier guides the images, if the model was exported with one"
  )
  image: str | None = settings.setting(
    None, "the picture to edit, of the model's size, for a signature edit_NAME"
  )
  mask: str | None = settings.setting(
    None, "for the same: a picture that is white where pixels are drawn; unset: all of them"
  )
  strength: float = settings.setting(
    1.0, "for the same: share of the steps with which images are drawn, in (0, 1]"
  )
  batch_size: int = settings.setting(8, "number of images per request")
  timeout: float = settings.setting(600.0, "seconds to wait for an answer")
  attempts: int = settings.setting(6, "how often to ask a busy server, with growing pauses")

  def __post_init__(self) -> None:
    for name in ("num_samples", "batch_size", "timeout", "attempts"):
      value = getattr(self, name)
      settings.require(0 < value <= _LIMIT, name, f"a positive number up to {_LIMIT:,}", value)
    settings.require_seed(self.seed)
    settings.require(0 < self.strength <= 1, "strength", "a share in (0, 1]", self.strength)
    for name in config_lib.SCALES:
      scale = getattr(self, name)
      settings.require(math.isfinite(scale), name, "a finite number", scale)
    numbers = [int(label) for label in self.labels if seeds_lib.is_number(label)]
    settings.require(
      self.labels and all(0 <= number < 2**31 for number in numbers),
      "labels",
      "one or more classes, comma-separated names, or numbers from 0",
      self.labels,
    )
    settings.require(
      self.model_version is None or 0 <= self.model_version < 2**63,
      "model_version",
      "a number of at least 0",
      self.model_version,
    )


def main(options: Options, given: dict[str, Any]) -> int:
  """Draws the images."""
  del given
  addresses.require_server(options.address, options.url)
  command.require_packages("httpx" if options.url else "grpc", "tenacity", extra="serving")
  if options.address:  # The messages of gRPC need TensorFlow, whose import takes seconds.
    command.load_tensorflow()
  try:
    with signals.raised():
      return _draw(options)
  except signals.Stopped as stopped:
    print(f"stopped by {stopped.signal.name}; the images received so far are kept")
    return stopped.status


def _draw(options: Options) -> int:
  client = clients.connect(
    model=options.model,
    address=options.address,
    url=options.url,
    version=options.model_version,
    retry=clients.RetryPolicy(options.timeout, options.attempts),
  )
  seeds = seeds_lib.make_seeds(options.num_samples, options.seed)
  output = pathlib.Path(options.output_dir)
  images_for_grid: list[np.ndarray] = []
  with client:
    signatures = client.signatures()
    inputs = clients.require_image_signature(signatures, options.signature)
    labels = None
    if "label" in inputs:
      names = clients.class_names(client, signatures)
      labels = _labels(options, len(seeds), names)
    others = _others(options, client, inputs, len(seeds))
    files.make_folder(output, "output_dir")
    with progress_lib.Console().bar(total=len(seeds), unit="image") as bar:
      # Each batch is written when it arrives, so that it outlasts a failure of the server.
      for indices, images in clients.batches(
        client,
        options.signature,
        seeds,
        labels,
        others=others,
        batch_size=options.batch_size,
      ):
        for seed, image in zip(seeds[indices], images):
          pictures.write_png(output / f"{seed:06d}.png", image)
        images_for_grid += list(images[: _GRID_IMAGES - len(images_for_grid)])
        bar.update(len(images))
  grid_labels = None if labels is None else labels[: len(images_for_grid)]
  grid = pictures.class_grid(np.stack(images_for_grid), grid_labels)
  pictures.write_png(output / GRID, grid)
  print(f"wrote {len(seeds)} images and {GRID} to {output}")
  return 0


def _others(
  options: Options, client: clients.Client, inputs: Collection[str], count: int
) -> dict[str, np.ndarray]:
  """Returns the inputs of a signature besides seeds and labels, [N, ...] each."""
  names = (*config_lib.SCALES, "strength")
  numbers = {
    name: np.full(count, getattr(options, name), np.float32) for name in names if name in inputs
  }
  given = settings.changed(options)
  for name in (*names, "image", "mask"):
    expected = f"none, because {options.signature} has no such input"
    settings.require(name in inputs or name not in given, name, expected, getattr(options, name))
  if "image" not in inputs:
    return numbers
  from iddpm_tf.data import image_files

  settings.require(options.image, "image", f"a picture, which {options.signature} edits", "none")
  _, height, width, channels = client.input_shapes(options.signature)["image"]
  assert height and width, "a signature of any size"
  arrays = {"mask": np.full([1, height, width, 1], 255, np.uint8)}
  for name, path, size in (("image", options.image, channels), ("mask", options.mask, 1)):
    if path:
      chosen = image_files.read(path, (height, width, size), name=name).images
      expected = f"one picture, because {options.num_samples} images are drawn of it"
      settings.require(len(chosen) == 1, name, expected, len(chosen))
      arrays[name] = np.asarray(chosen[:])
  return numbers | {name: np.repeat(array, count, axis=0) for name, array in arrays.items()}


def _labels(options: Options, count: int, class_names: tuple[str, ...]) -> np.ndarray:
  """Returns the labels of the images, int32 [count]."""
  chosen = seeds_lib.labels_from_texts(options.labels, class_names)
  if class_names:
    labels = seeds_lib.make_labels(count, len(class_names), chosen, class_names=class_names)
    assert labels is not None
    return labels
  if not all(isinstance(label, int) for label in chosen):
    raise settings.InputError(
      "labels",
      f"expected numbers, because the export of {options.model} has no names of classes, received "
      f"{settings.shown(options.labels)}; an export by this version has the names that its model "
      "folder has",
    )
  return np.resize(np.array(chosen, np.int32), count)  # The server knows how many classes exist.


COMMAND = command.Command(main, Options, __doc__, sections=())

if __name__ == "__main__":
  sys.exit(COMMAND.run())
