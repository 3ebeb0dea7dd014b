"""The work of `trainers.evaluate --fid ...`: samples, drawn or given, against real images."""

import pathlib
from typing import Any, NamedTuple
import zlib

import numpy as np

from iddpm_tf import config as config_lib
from iddpm_tf.data import npz
from iddpm_tf.data import shards
from iddpm_tf.data import sources
from iddpm_tf.evaluation import features
from iddpm_tf.evaluation import reference as reference_lib
from iddpm_tf.evaluation import scores
from trainers import command
from trainers import model_dir
from trainers import referencing
from trainers import results
from trainers import sample_store
from trainers import samples as samples_lib
from trainers import strategy as strategy_lib
from trainers import trained_model

FOLDER = "evaluations"
_TITLES = {"fid": "FID", "sfid": "sFID", "inception_score": "Inception Score"}
_KEPT = 10_000  # Images of a reference made on the way, for precision and recall.


class SampleSet(NamedTuple):
  """Images to score, and what they are."""
  images: Any  # uint8 [N or more, H, W, C], indexed by int [B].
  count: int  # The first so many.
  about: dict


def evaluate(config, options):
  """Scores as `evaluate.Options` say; `config` is None where `--samples` are not a model's."""
  wanted = scores.Wanted(*(getattr(options, name) for name in scores.Wanted._fields))
  folder = results.folder_of(options)
  shape = config.data.image_shape if config else None
  given = _given_samples(options.samples, shape) if options.samples else None
  extractor = features.for_images(options.features, shape or given.images.shape[1:])
  reference = _reference(config, options, extractor, wanted)
  _require_same_features(reference, extractor, wanted, shape or given.images.shape[1:])
  _require_enough(given.count if given else config.sampling.num_samples, wanted)
  against = summarise_reference(reference, extractor, wanted, options.batch_size)
  for sample_set in [given] if given else _drawn_samples(config, options):
    result = score(sample_set, extractor, wanted, against, options.batch_size)
    result |= {"reference": reference.about.get("path"), "reference_sha256": reference.checksum,
               "reference_about": {k: v for k, v in reference.about.items() if k != "path"}}
    print(described(result))
    print(f"added to {results.append(folder, result)}")
  return 0


def summarise_reference(reference, extractor, wanted, batch_size):
  """The reference's arguments of `scores.sample_scores`; what its file lacks is computed of its images."""
  missing = scores.Wanted(
      fid=wanted.fid and reference.pool is None, sfid=wanted.sfid and reference.spatial is None,
      precision_recall=wanted.precision_recall)
  if not any(missing):
    return {"pool": reference.pool, "spatial": reference.spatial}
  if reference.images is None or not len(reference.images):
    raise ValueError(f"--reference: expected images (arr_0) to compute what {_names(missing)} needs, received "
                     f"{reference.about.get('path')} without")
  extractor.require_shape(reference.images.shape[1:])
  found = scores.summarise(
      referencing.batches(reference.images, extractor, batch_size, "features of the reference"), missing)
  return {"pool": found.pool.gaussian if missing.fid else reference.pool,
          "spatial": found.spatial.gaussian if missing.sfid else reference.spatial, "features": found.features}


def score(sample_set, extractor, wanted, against, batch_size):
  """A result, as a dictionary: the scores, the features and the samples."""
  summary = scores.summarise(
      referencing.batches(sample_set.images, extractor, batch_size, "features of the samples",
                          np.arange(sample_set.count)), wanted)
  result = {"scores": scores.sample_scores(wanted, summary, **against)} | sample_set.about | {
      "num_samples": summary.count, "features": extractor.name, "features_sha256": extractor.checksum}
  if summary.pool and summary.count <= len(summary.pool.mean):
    result["warning"] = (
        f"{summary.count} samples are too few for a covariance of {len(summary.pool.mean)} features: this FID is "
        "biased upwards, and can be compared only with that of as many samples")
  return result


def described(result):
  """Lines for a person."""
  lines = [f"{_TITLES.get(name, name.replace('_k', ', k = '))}: {value:.4f}"
           for name, value in result["scores"].items()]
  of = f"sampler {result['sampler']}" if "sampler" in result else result["samples"]
  lines.append(f"of {result['num_samples']:,} samples ({of}), by the features of {result['features']}")
  if "warning" in result:
    lines.append(f"warning: {result['warning']}")
  return "\n".join(lines)


def _given_samples(path, shape):
  """The `SampleSet` of an .npz of images."""
  try:
    images = npz.read(path, "arr_0")["arr_0"]
  except ValueError as error:
    raise ValueError(f"--samples: {error}") from None
  reference_lib.require_images("--samples", path, images)
  if shape and images.shape[1:] != shape:
    raise ValueError(f"--samples: expected images of {'x'.join(map(str, shape))}, as the model's, received "
                     f"{'x'.join(map(str, images.shape[1:]))} ({path})")
  return SampleSet(images, len(images), {"samples": str(path), "samples_sha256": shards.checksum(path)})


def _drawn_samples(config, options):
  """A `SampleSet` for each of `--samplers`, drawn over all devices and kept in the model's folder."""
  specs = samples_lib.require_samplers(config)
  strategy = strategy_lib.make_strategy()
  with strategy.scope():
    model = trained_model.load(options.model_dir, config, options.ema)
  count = config.sampling.num_samples
  print(f"scoring {count:,} samples of {model}")
  folder = model.folder / FOLDER
  for spec in specs:
    images = sample_store.drawn(model, spec, folder, count=count, first_seed=options.seed,
                                batch_size=options.batch_size, strategy=strategy)
    yield SampleSet(images, count, results.of_model(model, seed=options.seed) | {
        "sampler": str(spec), "sampling_steps": spec.steps or config.diffusion.diffusion_steps})


def _reference(config, options, extractor, wanted):
  """The `Reference` of `--reference`, or of the model's training images, kept in its folder."""
  path = options.reference
  if path is None:
    if not (wanted.fid or wanted.sfid or wanted.precision_recall):
      return reference_lib.Reference(None, None, None, {}, None)  # The Inception Score knows no reference.
    config_lib.require(
        config, "reference", "a file of real images' statistics, since there is no --model_dir", None)
    path = _own_reference(config, options, extractor)
  reference = reference_lib.read(path)
  theirs = reference.about.get("features_sha256")
  if theirs not in (None, extractor.checksum):
    raise ValueError(
        f"--reference: expected statistics by the features of {extractor.name} (SHA-256 "
        f"{extractor.checksum[:12]}...), received {path}, by those of {reference.about.get('features')} "
        f"({theirs[:12]}...)")
  return reference._replace(about=reference.about | {"path": str(path)})


def _require_same_features(reference, extractor, wanted, shape):
  """`ValueError` of a reference by features of other sizes, before any samples are drawn."""
  one = extractor(np.zeros([1, *shape], np.uint8))
  for flag, gaussian, found in (("fid", reference.pool, one.pool), ("sfid", reference.spatial, one.spatial)):
    known = gaussian is not None and found is not None
    if getattr(wanted, flag) and known and len(gaussian.mean) != found.shape[1]:
      raise ValueError(f"--reference: expected {found.shape[1]} numbers a feature for --{flag}, as "
                       f"{extractor.name} gives, received {len(gaussian.mean)} ({reference.about['path']})")
  scores.require_parts(one, wanted)


def _require_enough(count, wanted):
  if wanted.precision_recall:
    config_lib.require(count > max(scores.NEIGHBOURS), "num_samples",
                       f"more than {max(scores.NEIGHBOURS)} samples for as many neighbours", count)
  if wanted.fid or wanted.sfid:
    config_lib.require(count > 1, "num_samples", "2 samples or more for a covariance", count)


def _own_reference(config, options, extractor):
  """The path of the statistics of the model's training images, which are computed if they have not been."""
  folder = pathlib.Path(options.model_dir) / FOLDER
  key = zlib.crc32(repr((config.data, extractor.checksum)).encode())
  path = folder / f"reference_{key:08x}.npz"
  if not path.exists():
    command.make_output_dir(folder)
    source = sources.load(config.data, "train")
    model_dir.require_same_data(config, source, options.model_dir)
    referencing.write(path, source, extractor, split="train", kept=_KEPT, batch_size=options.batch_size)
  return path


def _names(wanted):
  return " and ".join(f"--{name}" for name in scores.Wanted._fields if getattr(wanted, name))
