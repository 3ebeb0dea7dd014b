"""Statistics of real images' features: of any data, and of the training images of a run."""

import os
import pathlib
import shutil
import zlib

import numpy as np

import iddpm_tf
from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.data import arrays
from iddpm_tf.data import sources
from iddpm_tf.evaluation import config as evaluation_config
from iddpm_tf.evaluation import data_key
from iddpm_tf.evaluation import features as features_lib
from iddpm_tf.evaluation import reference
from iddpm_tf.evaluation import scores
from iddpm_tf.evaluation.feature_extractors import base
from iddpm_tf.models import model_dir
from iddpm_tf.utils import files
from iddpm_tf.utils import progress as progress_lib

# Where this process has written statistics, by their key and by the checksum of the images. Models
# of the same data share them.
_written: dict[tuple[str, str], pathlib.Path] = {}


def write(
  path: str | os.PathLike[str],
  source: sources.Source,
  extractor: base.FeatureExtractor,
  *,
  config: evaluation_config.ReferenceConfig,
  progress: progress_lib.Progress,
) -> None:
  """Writes the statistics of a split's images, and some of the images.

  Args:
    path: the .npz to write.
    source: the images.
    extractor: the feature extractor.
    config: which images.
    progress: shows the images that are done.

  Raises:
    InputError: there are fewer images than `config` says, or features are not finite.
  """
  available = len(source.images)
  settings.require(
    config.num_examples <= available,
    "num_examples",
    f"at most {available}, the {config.split} images of {source.name}",
    config.num_examples,
  )
  positions = arrays.evenly(config.num_examples, available)
  has_spatial = extractor(np.asarray(source.images[:1])).spatial is not None
  name = f"features of {source.name}"
  batches = features_lib.batches(
    extractor,
    source.images,
    positions,
    batch_size=config.batch_size,
    description=name,
    progress=progress,
  )
  summary = scores.summarise(batches, scores.Selection(fid=True, sfid=has_spatial), name)
  # A folder lists its images class by class; evenly spaced ones are of every class.
  kept = positions[:0]
  if config.num_images:
    kept = positions[arrays.evenly(config.num_images, len(positions))]
  assert summary.pool is not None
  reference.write(
    path,
    pool=summary.pool.gaussian,
    spatial=summary.spatial.gaussian if summary.spatial else None,
    images=source.images[kept],
    about={
      "dataset": source.name,
      "split": config.split,
      "num_examples": len(positions),
      "features": extractor.name,
      "features_sha256": extractor.checksum,
      "version": iddpm_tf.__version__,
    },
  )


def of_training_images(
  config: config_lib.Config,
  folder: model_dir.ModelDir,
  extractor: base.FeatureExtractor,
  *,
  source: sources.Source | None = None,
  batch_size: int,
  progress: progress_lib.Progress,
) -> reference.Reference:
  """Returns the reference of a run's training images, which is kept in the model folder.

  Args:
    config: the configuration of the run.
    folder: the model folder.
    extractor: the feature extractor.
    source: the training images. None loads those of the configuration if they are needed. A run on
      some of them (`max_examples`) has all of them as its reference.
    batch_size: images at a time.
    progress: shows the images that are done.

  Raises:
    InputError: the data cannot be loaded, or is not the model's.
  """
  if config.training.max_examples:
    source = None
  key = _key(config.data, extractor, source)
  path = folder.evaluations / f"reference_{key}.npz"
  if kept := _kept(path):
    return kept
  files.make_folder(path.parent)
  if source is None:
    source = sources.load(config.data, "train")
    sources.say_notes(source, progress)
  model_dir.require_same_data(config, source, folder.path)
  name = key, sources.checksum(source)
  if name in _written and _kept(_written[name]):
    with files.whole(path) as temporary:
      shutil.copyfile(_written[name], temporary)
  else:
    choice = evaluation_config.ReferenceConfig(batch_size=batch_size)
    write(path, source, extractor, config=choice, progress=progress)
  _written[name] = path
  return reference.read(path)


def _key(data: config_lib.DataConfig, extractor: base.FeatureExtractor, source) -> str:
  text = f"({data_key.describe(data)}, {extractor.checksum!r})"
  if data.dataset == sources.ARRAYS and source is not None:
    # The configuration does not say which arrays they are.
    checksum = 0
    for start in range(0, len(source.images), 1000):
      batch = np.ascontiguousarray(source.images[start : start + 1000])
      checksum = zlib.crc32(batch.data, checksum)
    text += f" {checksum:08x}"
  return data_key.checksum(text)


def _kept(path: pathlib.Path) -> reference.Reference | None:
  """Returns the reference of a file, or None: a missing or damaged one is computed again."""
  try:
    return reference.read(path) if path.exists() else None
  except settings.InputError:
    return None
