"""Statistics of real images, to score samples against: python -m trainers.reference_stats --dataset=cifar10
    --features=classify_image_graph_def.pb --output=cifar10.npz

The mean and covariance of their features in the authors' layout (mu, sigma; mu_s, sigma_s of the spatial ones),
and --num_images of the images (arr_0), for precision and recall. Appendix A: the full training set.
"""

import dataclasses
import pathlib
import sys

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from trainers.cli import command
from trainers.cli import flags


@dataclasses.dataclass(frozen=True)
class Options:
  output: str | None = settings.setting(None, "the .npz to write; required")
  features: str | None = settings.setting(
    None,
    "whose features: 'digits', the path of the Inception graph, or a SavedModel's folder; unset: "
    "digits for 8x8 images of one channel",
  )
  split: str = settings.setting("train", "of the data", choices=("train", "test"))
  num_examples: int = settings.setting(0, "so many images, evenly over the split; 0: all")
  num_images: int = settings.setting(
    10_000, "images to keep for precision and recall, evenly over those"
  )
  batch_size: int = settings.setting(100, "images at a time")

  def __post_init__(self):
    settings.require(
      self.output and self.output.endswith(".npz"),
      "output",
      "a path that ends with .npz",
      self.output,
    )
    settings.require(self.batch_size > 0, "batch_size", "a positive number", self.batch_size)
    settings.require(
      self.num_examples != 1,
      "num_examples",
      "2 or more for a covariance, or 0 for all",
      self.num_examples,
    )
    for name in ("num_examples", "num_images"):
      settings.require(
        getattr(self, name) >= 0, name, "a number of at least 0", getattr(self, name)
      )


def main(options, flag_values):
  config = flags.override(config_lib.Config(), flag_values, skip=vars(options)).data
  command.load_tensorflow()
  from iddpm_tf.data import sources
  from iddpm_tf.evaluation import features
  from iddpm_tf.evaluation import reference_statistics as referencing

  command.make_output_dir(pathlib.Path(options.output).parent, flag="output")
  source = sources.load(config, options.split)
  settings.require(
    options.num_examples <= len(source.images),
    "num_examples",
    f"at most {len(source.images)}, the {options.split} images of {source.name}",
    options.num_examples,
  )
  extractor = features.for_images(options.features, source.images.shape[1:])
  referencing.write(
    options.output,
    source,
    extractor,
    split=options.split,
    count=options.num_examples,
    kept=options.num_images,
    batch_size=options.batch_size,
  )
  print(f"wrote {options.output}")
  return 0


if __name__ == "__main__":
  sys.exit(command.run(main, Options, __doc__))
