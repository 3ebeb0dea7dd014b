"""Draws images from a trained model.

  python -m trainers.sample --model_dir=runs/digits --num_samples=50 --png

Writes a PNG grid and an .npz file for each of --samplers: `arr_0` holds the images, uint8 [N, H, W,
C], and `arr_1` their labels where the model has classes. Image i has seed --seed + i and is the
same for every number of images. The grid shows the first 100. Images are drawn in batches, which
are kept in files until all are written: a command that was stopped continues where it was.

With --upsampler_dir, a super-resolution model enlarges the images (Appendix C), and both sizes are
written. A super-resolution model alone enlarges --base_samples, such as an .npz file of this
command.

Several workers, as for training, share out the batches; the first of them writes the files.
"""

import dataclasses
import itertools
import pathlib
import sys
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.data import arrays
from iddpm_tf.data import image_files
from iddpm_tf.data import pictures
from iddpm_tf.models import seeds as seeds_lib
from iddpm_tf.utils import cluster
from iddpm_tf.utils import files
from iddpm_tf.utils import npz
from iddpm_tf.utils import progress as progress_lib
from iddpm_tf.utils import shared_batches
from trainers.cli import command
from trainers.cli import model_options

if TYPE_CHECKING:
  from iddpm_tf.models import shared_sampling

_SHOWN = 100  # The images of a grid, at most.


@dataclasses.dataclass(frozen=True)
class Options(
  model_options.UpsamplerOptions, model_options.EnsembleOptions, model_options.ClassifierOptions
):
  """Flags of the command."""

  output_dir: str | None = settings.setting(
    None, "folder for the images; unset: samples/ in the model folder"
  )
  seed: int = settings.setting(0, "seed of the first image")
  batch_size: int = settings.setting(100, "images at a time")
  labels: tuple[str, ...] = settings.setting(
    (), "classes to repeat in turn, by name or by number; unset: all classes of the model"
  )
  base_samples: str | None = settings.setting(
    None,
    "for a super-resolution model: the images to enlarge, as an .npz file (arr_0, and labels as "
    "arr_1), an .npy file, a picture, a folder of pictures, or records",
  )
  png: bool = settings.setting(False, "also write one PNG file per image")

  def __post_init__(self) -> None:
    """Checks the values, and raises `InputError` for a wrong one."""
    model_options.UpsamplerOptions.__post_init__(self)
    model_options.EnsembleOptions.__post_init__(self)
    settings.require_positive(self, "batch_size")
    settings.require_seed(self.seed)


def main(options: Options, given: dict[str, Any]) -> int:
  """Draws the images and writes them."""
  workers = cluster.from_environment()
  config = model_options.model_config(options, given)
  model_options.upsampler_config(options, config)  # Checks that both fit together.
  low_res, labels = _conditioning(options, config)
  count = config.sampling.num_samples
  if low_res is not None:
    if "num_samples" not in given:
      count = len(low_res)
    settings.require(
      count <= len(low_res),
      "num_samples",
      f"at most {len(low_res)}, the number of images of {options.base_samples}",
      count,
    )
    low_res, labels = low_res[:count], None if labels is None else labels[:count]
  command.load_tensorflow()
  from iddpm_tf.models import shared_sampling

  progress = progress_lib.Console()
  model = model_options.load_model(options, given, all_devices=True, progress=progress)
  samplers = model.parse_samplers()
  enlarging = model_options.load_enlarging(options, given, progress=progress)
  folder = files.make_folder(options.output_dir or options.folder().samples)
  if options.png:
    for sampler in samplers:
      files.make_folder(folder / str(sampler))
  output = _Output(folder, options.seed, labels, options.png)
  _say_what(model, enlarging and enlarging.upsampler, options, count)

  inputs = seeds_lib.make_inputs(
    count,
    seed=options.seed,
    labels=labels,
    num_classes=options.classes_of(config)[0],
    low_res=low_res,
  )
  shared = shared_sampling.SharedSampling(
    folder, inputs, batch_size=options.batch_size, workers=workers, progress=progress
  )
  is_chief = workers is None or workers.is_chief
  try:
    for sampler in samplers:
      drawn = shared.draw(model.trained, sampler)
      if is_chief:
        output.write(str(sampler), drawn)
      if enlarging is not None:
        upsampler, second = enlarging.upsampler.trained, enlarging.sampler
        drawn = shared.draw(upsampler, second, enlarged=drawn)
        if is_chief:
          output.write(f"{sampler}_upsampled_{second}", drawn)
  except shared_batches.ChiefFinished as finished:
    print(f"note: {finished}")
    shared.clear()
  except (KeyboardInterrupt, OSError):
    if is_chief:
      print(f"note: the images so far are in {folder}/.shared_*; the same command continues")
    raise
  if is_chief:
    shared.clear()
  return 0


@dataclasses.dataclass(frozen=True)
class _Output:
  """Files of images.

  Attributes:
    folder: where they go.
    first_seed: the seed of the first image.
    labels: the labels of the images, or None.
    png: whether to write one PNG file per image.
  """

  folder: pathlib.Path
  first_seed: int
  labels: np.ndarray | None
  png: bool

  def write(self, name: str, drawn: "shared_sampling.Drawn") -> None:
    """Writes a grid, an .npz file, and perhaps single images."""
    labels = [] if self.labels is None else [self.labels]
    grid, first = self.folder / f"{name}.png", drawn.first(_SHOWN)
    shown = None if self.labels is None else self.labels[: len(first)]
    pictures.write_png(grid, pictures.class_grid(first, shown))
    # The authors' layout, and their file name after the sampler's.
    path = self.folder / f"{name}_samples_{'x'.join(map(str, drawn.shape))}.npz"
    with files.whole(path) as temporary:
      npz.write_parts(temporary, drawn.shape, drawn.batches(), *labels)
    print(f"wrote {grid} and {path}")
    if self.png:
      folder = files.make_folder(self.folder / name)
      for i, image in enumerate(itertools.chain.from_iterable(drawn.batches())):
        suffix = "" if self.labels is None else f"_label_{self.labels[i]}"
        pictures.write_png(folder / f"seed_{self.first_seed + i}{suffix}.png", image)
      print(f"wrote {drawn.shape[0]} PNG files to {folder}")


def _say_what(model, upsampler, options, count):
  if options.base_samples:
    print(f"enlarging {count} images of {options.base_samples} with {model.trained}")
  else:
    enlarged = f", enlarging with {upsampler.trained}" if upsampler is not None else ""
    print(f"sampling from {model.trained}{enlarged}")


def _conditioning(
  options: Options, config: config_lib.Config
) -> tuple[np.ndarray | None, np.ndarray | None]:
  """Returns the images to enlarge, uint8 [N, h, w, C], and the labels, int32 [N]; or None."""
  count, (num_classes, names) = config.sampling.num_samples, options.classes_of(config)
  chosen = seeds_lib.labels_from_texts(options.labels, names) if options.labels else None
  if not config.low_res_shape:
    if options.base_samples:
      message = (
        f"expected none, because the model draws from noise, received {options.base_samples}"
      )
      raise settings.InputError("base_samples", message)
    return None, seeds_lib.make_labels(count, num_classes, chosen, class_names=names)
  if not options.base_samples:
    low, high = ("x".join(map(str, shape)) for shape in (config.low_res_shape, config.image_shape))
    raise settings.InputError(
      "base_samples",
      f"expected the path of {low} images, because this model enlarges them to {high}, "
      "received nothing; or give this folder as upsampler_dir, beside a model_dir that draws them",
    )
  content = image_files.read(
    options.base_samples, config.low_res_shape, class_names=names, name="base_samples"
  )
  images, labels = np.asarray(content.images[:]), content.labels
  if chosen or not num_classes:
    return images, seeds_lib.make_labels(len(images), num_classes, chosen, class_names=names)
  if labels is None:
    raise settings.InputError(
      "base_samples",
      "expected a label for each image in arr_1, because the model has classes, received none; "
      "labels gives them",
    )
  return images, arrays.require_labels(labels, len(images), num_classes, name="base_samples")


COMMAND = command.Command(
  main,
  Options,
  __doc__,
  help_sections=("sampling",),
  default_source="the model folder",
)

if __name__ == "__main__":
  sys.exit(COMMAND.run())
