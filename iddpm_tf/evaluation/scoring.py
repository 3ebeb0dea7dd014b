"""The work of `trainers.evaluate --fid ...`: samples, drawn or given, against real images."""

import hashlib
import pathlib
import zlib

import numpy as np

import iddpm_tf
from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.data import sources
from iddpm_tf.data.records import shards
from iddpm_tf.evaluation import features
from iddpm_tf.evaluation import reference as reference_lib
from iddpm_tf.evaluation import reference_statistics as referencing
from iddpm_tf.evaluation import results_log as results
from iddpm_tf.evaluation import sample_store
from iddpm_tf.evaluation import scores
from iddpm_tf.models import model_dir
from iddpm_tf.models import seeds as samples_lib
from iddpm_tf.models import trained_model
from iddpm_tf.utils import devices as strategy_lib
from iddpm_tf.utils import npz
from trainers.cli import command

FOLDER = "evaluations"
_TITLES = {"fid": "FID", "sfid": "sFID", "inception_score": "Inception Score"}
_KEPT = 10_000  # Images of a reference made on the way, for precision and recall.


class Scorer:
  """Scores images against a reference."""

  def __init__(self, wanted, extractor, reference, batch_size):
    """Makes it.

    Args:
      wanted: `scores.Wanted`.
      extractor: a `features.Extractor`.
      reference: a `reference.Reference`; what its file lacks is computed of its images.
      batch_size: images at a time.

    Raises:
      ValueError: the reference lacks what is wanted, or is by other features.
    """
    self._wanted, self._extractor, self._batch_size = wanted, extractor, batch_size
    self._against = _summarised(reference, extractor, wanted, batch_size)
    self._about = {
      "features": extractor.name,
      "features_sha256": extractor.checksum,
      "reference": reference.path,
      "reference_sha256": reference.checksum,
      "reference_about": reference.about,
    }

  def score(self, images, count):
    """A result, as a dictionary, of the first `count` of images uint8 [N, H, W, C], indexed by int [B]."""
    digest = hashlib.sha256()

    def extract(batch):
      digest.update(batch)
      return self._extractor(batch)

    summary = referencing.summary(
      images, extract, self._wanted, self._batch_size, "features of the samples", np.arange(count)
    )
    found = scores.sample_scores(self._wanted, summary, **self._against)
    result = {
      "scores": found,
      "num_samples": count,
      "images_sha256": digest.hexdigest(),
    } | self._about
    if summary.pool and count <= len(summary.pool.mean):
      result["warning"] = (
        f"{count} samples are too few for a covariance of {len(summary.pool.mean)} features: this FID is biased "
        "upwards, and can be compared only with that of as many samples"
      )
    return result


def reference_of(wanted, extractor, given, config, folder, batch_size):
  """The `Reference` that was given, or without one (`NONE`) of the training images of `config`, kept in `folder`."""
  if given.path or not _needs_reference(wanted):
    return given
  return reference_lib.read(_own_reference(config, folder, extractor, batch_size))


def _needs_reference(wanted):
  return wanted.fid or wanted.sfid or wanted.precision_recall  # The Inception Score knows none.


def require_fit(wanted, extractor, reference, shape, count, flag="num_samples"):
  """`ValueError` unless `count` samples of a shape can be scored against a `Reference`, or against one to come.

  `flag` says how many samples there are.
  """
  one = extractor(np.zeros([1, *shape], np.uint8))
  scores.require_parts(one, wanted)
  if wanted.precision_recall:
    settings.require(
      count > max(config_lib.NEIGHBOURS),
      flag,
      f"more than {max(config_lib.NEIGHBOURS)} samples for as many neighbours",
      count,
    )
  if wanted.fid or wanted.sfid:
    settings.require(count > 1, flag, "2 samples or more for a covariance", count)
  _require_images(wanted, extractor, reference)
  theirs = reference.about.get("features_sha256")
  if theirs not in (None, extractor.checksum):
    raise settings.InputError(
      "reference",
      f"expected statistics by the features of {extractor.name} (SHA-256 "
      f"{extractor.checksum[:12]}...), received {reference.path}, by those of {reference.about.get('features')} "
      f"({theirs[:12]}...)",
    )
  for flag, gaussian, found in (
    ("fid", reference.pool, one.pool),
    ("sfid", reference.spatial, one.spatial),
  ):
    if getattr(wanted, flag) and gaussian is not None and len(gaussian.mean) != found.shape[1]:
      raise settings.InputError(
        "reference",
        f"expected {found.shape[1]} numbers a feature for --{flag}, as "
        f"{extractor.name} gives, received {len(gaussian.mean)} ({reference.path})",
      )


def _require_images(wanted, extractor, reference):
  """`ValueError` unless a file has the images that what it lacks is to be computed of."""
  missing = _missing(wanted, reference)
  if reference.path is None or not any(missing):
    return
  images = reference.images
  least = max(config_lib.NEIGHBOURS) + 1 if missing.precision_recall else 2
  if images is None or len(images) < least:
    names = " and ".join(f"--{name}" for name, lacks in missing._asdict().items() if lacks)
    raise settings.InputError(
      "reference",
      f"expected {least} images (arr_0) or more to compute what {names} needs, received "
      f"{0 if images is None else len(images)} ({reference.path})",
    )
  try:
    extractor.require_shape(images.shape[1:])
  except ValueError as error:
    raise settings.InputError("reference", f"{error} ({reference.path})") from None


def _missing(wanted, reference):
  """`Wanted` for which a `Reference` has no statistics."""
  return scores.Wanted(
    fid=wanted.fid and reference.pool is None,
    sfid=wanted.sfid and reference.spatial is None,
    precision_recall=wanted.precision_recall,
  )


def prepared(config, options):
  """The work, a function, of scores as `evaluate.Options` say; what is wrong with them is a `ValueError` now.

  `config` is None where `--samples` are not a model's.
  """
  wanted = scores.Wanted(*(getattr(options, name) for name in scores.Wanted._fields))
  folder = results.folder_of(options)
  given = None
  if options.samples is not None:
    given = _given_samples(options.samples, config.data.image_shape if config else None)
  shape = config.data.image_shape if given is None else given.shape[1:]
  extractor = features.for_images(options.features, shape)
  reference = reference_lib.NONE
  if _needs_reference(wanted):
    settings.require(
      options.reference or config,
      "reference",
      "a file of real images' statistics, since there is no --model_dir",
      options.reference,
    )
    reference = reference_lib.read(options.reference) if options.reference else reference
  if given is None:
    require_fit(wanted, extractor, reference, shape, config.sampling.num_samples)
    sample_sets = _drawn_samples(config, options)
  else:
    require_fit(wanted, extractor, reference, shape, len(given), "samples")
    sample_sets = lambda: [
      (
        given,
        len(given),
        {"samples": options.samples, "samples_sha256": shards.checksum(options.samples)},
      )
    ]

  def work():
    against = reference_of(
      wanted, extractor, reference, config, options.model_dir, options.batch_size
    )
    scorer = Scorer(wanted, extractor, against, options.batch_size)
    for images, count, about in sample_sets():
      result = scorer.score(images, count) | about
      print(described(result))
      print(f"added to {results.append(folder, result)}")

  return work


def described(result):
  """Lines for a person."""
  lines = [
    f"{_TITLES.get(name, name.replace('_k', ', k = '))}: {value:.4f}"
    for name, value in result["scores"].items()
  ]
  of = (
    f"sampler {result['sampler']}, step {result['training_step']}, EMA {result['ema']}, seed {result['seed']}"
    if "sampler" in result
    else f"{result['samples']}, SHA-256 {result['samples_sha256'][:12]}..."
  )
  lines.append(
    f"of {result['num_samples']:,} samples ({of}), by the features of {result['features']}"
  )
  if result["reference"]:
    lines.append(
      f"against {result['reference']} (SHA-256 {result['reference_sha256'][:12]}...), "
      f"iddpm_tf {iddpm_tf.__version__}"
    )
  if "warning" in result:
    lines.append(f"warning: {result['warning']}")
  return "\n".join(lines)


def _summarised(reference, extractor, wanted, batch_size):
  """The reference's arguments of `scores.sample_scores`."""
  missing = _missing(wanted, reference)
  if not any(missing):
    return {"pool": reference.pool, "spatial": reference.spatial}
  found = referencing.summary(
    reference.images, extractor, missing, batch_size, "features of the reference"
  )
  return {
    "pool": found.pool.gaussian if missing.fid else reference.pool,
    "spatial": found.spatial.gaussian if missing.sfid else reference.spatial,
    "features": found.features,
  }


def _is_reference(path):
  try:
    return path.exists() and bool(reference_lib.read(path))
  except ValueError:
    return False  # Damaged: it is computed again.


def _given_samples(path, shape):
  """uint8 [N, H, W, C] of an .npz."""
  try:
    images = npz.read(path, "arr_0")["arr_0"]
  except ValueError as error:
    raise settings.InputError("samples", f"{error}") from None
  reference_lib.require_images("--samples", path, images)
  if shape and images.shape[1:] != shape:
    raise settings.InputError(
      "samples",
      f"expected images of {'x'.join(map(str, shape))}, as the model's, received "
      f"{'x'.join(map(str, images.shape[1:]))} ({path})",
    )
  return images


def _drawn_samples(config, options):
  """A function of (images, count, what they are) for each of `--samplers`, drawn over all devices and kept."""
  specs = samples_lib.require_samplers(config)
  strategy = strategy_lib.make_strategy()
  with strategy.scope():
    model = trained_model.load_chosen(config, options)
  count = config.sampling.num_samples

  def sample_sets():
    print(f"scoring {count:,} samples of {model}")
    for spec in specs:
      # Sets of two seeds share no image: image i of seed 0 is that of trainers.sample.
      images = sample_store.drawn(
        model,
        spec,
        model.folder / FOLDER,
        count=count,
        first_seed=options.seed << 32,
        batch_size=options.batch_size,
        strategy=strategy,
      )
      yield (
        images,
        count,
        results.of_model(model, seed=options.seed) | results.of_sampler(model, spec),
      )

  return sample_sets


def _own_reference(config, folder, extractor, batch_size):
  """The path of the statistics of the model's training images, which are computed if they have not been."""
  key = zlib.crc32(repr((config.data, extractor.checksum)).encode())
  path = pathlib.Path(folder) / FOLDER / f"reference_{key:08x}.npz"
  if not _is_reference(path):
    command.make_output_dir(path.parent)
    source = sources.load(config.data, "train")
    model_dir.require_same_data(config, source, folder)
    referencing.write(path, source, extractor, split="train", kept=_KEPT, batch_size=batch_size)
  return path
