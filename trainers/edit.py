"""Draws a part of pictures anew: masked pixels, variations, or the images between two pictures.

  python -m trainers.edit --model_dir=runs/digits --images=pictures --masks=mask.png --num_samples=8

Writes one PNG file per picture, which shows the picture, its mask and the images drawn from it, and
an .npz file with all of them (`arr_0`, uint8 [N, H, W, C]). --num_samples counts the images of each
picture. --strength below 1 begins with the picture and the noise of a later step, and needs no
mask. --interpolate draws the images between each picture and the next one. Image i of a picture has
seed --seed + i.
"""

import dataclasses
import pathlib
import sys
from typing import Any

import numpy as np

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.data import arrays
from iddpm_tf.data import image_files
from iddpm_tf.data import pictures
from iddpm_tf.models import seeds as seeds_lib
from iddpm_tf.utils import files
from iddpm_tf.utils import progress as progress_lib
from trainers.cli import command
from trainers.cli import model_options

# Flags without a meaning for --interpolate.
_EDITING_FLAGS = (
  "strength",
  "resample_times",
  "resample_length",
  "num_samples",
  "seed",
  "samplers",
  *config_lib.SCALES,
)


@dataclasses.dataclass(frozen=True)
class Options(model_options.EnsembleOptions, model_options.ClassifierOptions):
  """Flags of the command."""

  images: str | None = settings.setting(
    None,
    f"the pictures: {image_files.KINDS}; their labels count where the model has classes; required",
  )
  masks: str | None = settings.setting(
    None,
    "which pixels to draw, white or 255: one mask, or one per picture, in any of the same forms; "
    "unset: all, with a strength below 1",
  )
  strength: float = settings.setting(
    1.0,
    "share of the steps with which images are drawn; 1 begins with noise alone, and small values "
    "stay close to the picture",
  )
  resample_times: int = settings.setting(
    1,
    "how often each stretch of steps is drawn, so that new pixels fit the others (RePaint)",
  )
  resample_length: int = settings.setting(10, "steps of such a stretch")
  interpolate: int = settings.setting(
    0, "images to draw between each picture and the next, both included; 0: edit the pictures"
  )
  encode_steps: int = settings.setting(
    0, "DDIM's steps for interpolate; 0: all steps of the model, which is the most exact"
  )
  num_samples: int = settings.setting(4, "images to draw of each picture")
  labels: tuple[str, ...] = settings.setting(
    (), "the class of each picture in turn, by name or by number; unset: the pictures' own"
  )
  seed: int = settings.setting(0, "seed of the first image of each picture")
  batch_size: int = settings.setting(100, "images at a time")
  output_dir: str | None = settings.setting(
    None, "folder for the images; unset: edited/ in the model folder"
  )

  def __post_init__(self) -> None:
    """Checks the values, and raises `InputError` for a wrong one."""
    model_options.EnsembleOptions.__post_init__(self)
    settings.require_positive(
      self, "batch_size", "num_samples", "resample_times", "resample_length"
    )
    settings.require_not_negative(self, "encode_steps")
    settings.require_seed(self.seed)
    settings.require(
      0 < self.strength <= 1, "strength", "a share of the steps in (0, 1]", self.strength
    )
    settings.require(
      self.interpolate == 0 or self.interpolate > 1,
      "interpolate",
      "0, or 2 images or more",
      self.interpolate,
    )
    if self.interpolate:
      settings.require(not self.masks, "masks", "none with --interpolate", self.masks)
    else:
      settings.require(
        self.masks or self.strength < 1,
        "masks",
        "an image of the pixels to draw, or --strength below 1",
        "neither",
      )


def main(options: Options, given: dict[str, Any]) -> int:
  """Edits the pictures and writes them."""
  config = model_options.model_config(options, given)
  settings.require(
    not config.low_res_shape,
    "model_dir",
    "a model that draws from noise alone",
    "a super-resolution model",
  )
  settings.require(options.images, "images", image_files.KINDS, "nothing")
  classes = options.classes_of(config)
  content = image_files.read(options.images or "", config.image_shape, class_names=classes[1])
  originals = np.asarray(content.images[:])
  masks = _masks(options, config.image_shape, len(originals))
  labels = _labels(options, classes, content.labels, len(originals))
  folder = pathlib.Path(options.output_dir or options.folder().path / "edited")
  files.require_writable(folder)
  if options.interpolate:
    _require_fit_of_interpolation(options, given, len(originals))
  command.load_tensorflow()

  progress = progress_lib.Console()
  model = model_options.load_model(options, given, progress=progress)
  if options.interpolate:
    with settings.renamed({"steps": "encode_steps"}):
      drawn = model.interpolate(
        originals[:-1],
        originals[1:],
        count=options.interpolate,
        labels=labels[:-1] if labels is not None and model.num_classes else None,
        steps=options.encode_steps or None,
        batch_size=options.batch_size,
        progress=progress,
      )
    _write(folder, "interpolated", drawn, list(drawn))
    return 0
  samplers = model.parse_samplers()
  for sampler in samplers:
    model.require_resampling(sampler, _resampling(options))
  print(f"editing {len(originals)} pictures of {options.images} with {model.trained}")
  for sampler in samplers:
    drawn = _edit(options, model, sampler, originals, masks, labels, progress)
    rows = [
      np.concatenate([originals[i : i + 1], *_shown(masks, i, originals), drawn[i]])
      for i in range(len(originals))
    ]
    _write(folder, str(sampler), drawn, rows)
  return 0


def _edit(options, model, sampler, originals, masks, labels, progress):
  """Returns the images of each picture, uint8 [N, num_samples, H, W, C]."""
  number, count = len(originals), options.num_samples
  drawn = model.edit(
    np.repeat(originals, count, axis=0),
    masks=None if masks is None else np.repeat(masks, count, axis=0),
    strength=options.strength,
    resampling=_resampling(options),
    sampler=sampler,
    labels=None if labels is None else np.repeat(labels, count),
    seed=np.tile(seeds_lib.make_seeds(count, options.seed), number),
    batch_size=options.batch_size,
    progress=progress,
  )
  return drawn.reshape(number, count, *drawn.shape[1:])


def _resampling(options):
  from iddpm_tf.diffusion.samplers import known_pixels  # TensorFlow is imported late.

  return known_pixels.Resampling(options.resample_times, options.resample_length)


def _require_fit_of_interpolation(options, given, number):
  """Raises an `InputError` for flags that only edit, or if there is no second picture."""
  settings.require(number > 1, "images", "two pictures or more for --interpolate", number)
  changed = settings.changed(options) | given
  for name in _EDITING_FLAGS:
    if name in changed:
      raise settings.InputError(name, "cannot be combined with --interpolate")


def _masks(options, image_shape, number):
  """Returns the masks of the pictures, uint8 [N, H, W, 1], or None."""
  if not options.masks:
    return None
  shape = (*image_shape[:2], 1)
  masks = np.asarray(image_files.read(options.masks, shape, name="masks").images[:])
  expected = f"one mask, or {number}, one per picture"
  settings.require(len(masks) in (1, number), "masks", expected, len(masks))
  return np.broadcast_to(masks, [number, *shape])


def _labels(options, classes, own, number):
  """Returns the class of each picture, int32 [N], or None for a model without classes."""
  num_classes, names = classes
  if options.labels:
    chosen = seeds_lib.labels_from_texts(options.labels, names)
    return seeds_lib.make_labels(number, num_classes, chosen, class_names=names)
  if not num_classes:
    return None
  if own is None:
    message = "expected the classes of the pictures, because the model has classes, received none"
    raise settings.InputError("labels", message)
  return arrays.require_labels(own, number, num_classes, name="images")


def _shown(masks, i, originals):
  """Returns the mask of a picture as an image [1, H, W, C], in a list, or an empty list."""
  if masks is None:
    return []
  return [np.broadcast_to(masks[i], originals.shape[1:])[None].copy()]


def _write(folder: pathlib.Path, name: str, drawn: np.ndarray, rows: list[np.ndarray]) -> None:
  """Writes all images, and a picture of each row."""
  files.make_folder(folder)
  archive = folder / f"{name}.npz"
  with files.whole(archive) as temporary:
    np.savez(temporary, drawn.reshape(-1, *drawn.shape[2:]))
  for i, row in enumerate(rows):
    pictures.write_png(folder / f"{name}_{i:04d}.png", pictures.image_grid(row, columns=len(row)))
  print(f"wrote {archive} and {len(rows)} PNG files to {folder}")


COMMAND = command.Command(
  main,
  Options,
  __doc__,
  help_sections=("sampling",),
  default_source="the model folder",
)

if __name__ == "__main__":
  sys.exit(COMMAND.run())
