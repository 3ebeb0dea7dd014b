"""Settings of scores of samples and of reference statistics. This module needs no TensorFlow."""

import dataclasses

from iddpm_tf import config as config_lib
from iddpm_tf import settings

SPLITS = ("train", "val", "test")
FEATURES_HELP = (
  "feature extractor: a registered name such as 'digits' or 'random', the path of the Inception "
  "graph, or the folder of a SavedModel; unset: digits for images of 8x8 pixels in one channel, "
  "otherwise random"
)


@dataclasses.dataclass(frozen=True)
class ScoringConfig:
  """How samples are scored.

  Attributes:
    scores: names of fid, fid_infinity, sfid, inception_score, precision_recall and kid.
    features: the feature extractor, by its text; None for the default one.
    reference: the .npz of the reference; None for the training images of the model.
    seed: samples of two seeds have no image in common.
    batch_size: images at a time.
  """

  scores: tuple[str, ...]
  features: str | None = None
  reference: str | None = None
  seed: int = 0
  batch_size: int = 100

  def __post_init__(self) -> None:
    """Checks the values, and raises `InputError` for a wrong one."""
    settings.convert(self)
    require_scores(self.scores)
    settings.require_seed(self.seed)
    settings.require_positive(self, "batch_size")


@dataclasses.dataclass(frozen=True)
class ReferenceConfig:
  """Which real images a file of reference statistics is of.

  Attributes:
    split: the split of the data, `train` or `test`.
    num_examples: the number of images whose features are computed, evenly over the split; 0 means
      all.
    num_images: the number of these images that the file holds, evenly over them.
    batch_size: images at a time.
  """

  split: str = settings.setting("train", "split of the data", choices=SPLITS)
  num_examples: int = settings.setting(0, "number of images, evenly over the split; 0: all")
  num_images: int = settings.setting(
    10_000, "number of images to keep for precision and recall and for KID, evenly over the others"
  )
  batch_size: int = settings.setting(100, "images at a time")

  def __post_init__(self) -> None:
    """Checks the values, and raises `InputError` for a wrong one."""
    settings.convert(self)
    settings.require(self.split in SPLITS, "split", f"one of {', '.join(SPLITS)}", self.split)
    settings.require_not_negative(self, "num_examples", "num_images")
    settings.require_positive(self, "batch_size")
    settings.require(
      self.num_examples != 1,
      "num_examples",
      "2 or more for a covariance, or 0 for all",
      self.num_examples,
    )


def require_scores(names: tuple[str, ...]) -> None:
  """Raises an `InputError` unless these are names of scores of samples."""
  settings.require(
    isinstance(names, tuple) and names and set(names) <= set(config_lib.SCORES),
    "scores",
    f"names of {', '.join(config_lib.SCORES)}",
    names,
  )
