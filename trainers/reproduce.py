"""Repeats the experiments of the paper, and reports which of its claims hold.

  python -m trainers.reproduce --experiment=fig2,table1 --output_dir=reproduced

Runs the trainings and evaluations that an experiment needs and that the output folder does not have
yet. Experiments share their models. Writes report.html, which needs no network, and report.json,
with the experiments of --experiment. A run that was stopped or killed is continued by the same
command.

The small scale uses data that comes with the package, and takes from seconds to hours on a CPU. The
scales cifar10 and imagenet64 use the paper's models and data.
"""

import dataclasses
import pathlib
import sys
from typing import Any

from iddpm_tf import config as config_lib
from iddpm_tf import registries
from iddpm_tf import settings
from trainers.cli import command
from trainers.reproduction import experiments
from trainers.reproduction import records
from trainers.reproduction import scales

_ALL = "all"


@dataclasses.dataclass(frozen=True)
class Options:
  """The settings of this command."""

  output_dir: str = settings.required("folder for the models, the results and the report")
  experiment: tuple[str, ...] = settings.setting(
    (_ALL,),
    "figures and tables of the paper to repeat and to report",
    choices=(*experiments.names(), _ALL),
  )
  scale: str = settings.setting("small", "data and models to use", choices=tuple(scales.SCALES))
  data_dir: str | None = settings.setting(
    None, "folder of the data set, as for trainers.train; not for --scale=small"
  )
  features: str | None = settings.setting(
    None,
    "feature extractor for FID, as for trainers.evaluate; required by experiments that compute "
    "FID, except at --scale=small",
  )
  seeds: int | None = settings.setting(
    None,
    "number of models of each kind, with the seeds 0, 1, ...; unset: at --scale=small the seeds "
    "11, 12 and 13, and further ones for claims 6, 8, 9 and 12; at other scales seed 0 alone, with "
    "which claims stay undecided",
  )
  microbatches: int | None = settings.setting(
    None,
    "parts into which each batch is split to save memory, as for trainers.train; not for "
    "--scale=small",
  )
  precision: str | None = settings.setting(
    None,
    "arithmetic of all networks, as for trainers.train; unset: that of the folder, and float32 for "
    "a new one; mixed_bfloat16 is faster on CPUs that compute in bfloat16",
    choices=settings.by_name(config_lib.NetworkConfig)["precision"].metadata["choices"],
  )
  workers: int | None = settings.setting(
    None,
    "number of tasks that run at once, each in a process with its share of the cores and without "
    "GPUs; 1: in this process, with all devices; unset: one per core at --scale=small, otherwise 1",
  )

  def __post_init__(self) -> None:
    """Checks the values, and raises `InputError` for a wrong one."""
    settings.require(self.experiment, "experiment", "one name or more", self.experiment)
    for name in ("seeds", "microbatches", "workers"):
      value = getattr(self, name)
      settings.require(value is None or value > 0, name, "a positive number", value)
    output = pathlib.Path(self.output_dir)
    settings.require(
      not output.exists() or output.is_dir(), "output_dir", "a folder", self.output_dir
    )
    if self.scale == "small":
      for name, reason in (
        ("data_dir", "whose data comes with the package"),
        ("features", "whose feature extractors are chosen for its data"),
        ("microbatches", "whose networks are small"),
      ):
        if getattr(self, name) is not None:
          message = f"cannot be combined with --scale=small, {reason}"
          raise settings.InputError(name, message)
    settings.require(
      self.data_dir is None or pathlib.Path(self.data_dir).is_dir(),
      "data_dir",
      "a folder with data",
      self.data_dir,
    )

  @property
  def names(self) -> tuple[str, ...]:
    """The names of the experiments to run, in the paper's order."""
    every = _ALL in self.experiment
    return tuple(name for name in experiments.names() if every or name in self.experiment)


def main(options: Options, given: dict[str, Any]) -> int:
  """Runs the command, and returns the exit status."""
  del given  # This command takes no settings of a model.
  output = pathlib.Path(options.output_dir)
  scale = _scale(options, output)
  # The small scale has its own.
  needing = () if options.scale == "small" else _needing_features(options.names, scale, output)
  compares = bool(needing) or options.features is not None
  if compares:
    _require_features(scale.fid.features, needing)
  command.load_tensorflow()
  from iddpm_tf.evaluation import features as features_lib
  from trainers.reproduction import executors
  from trainers.reproduction import run

  if compares:
    # A wrong extractor is reported now, and not after days of training.
    features_lib.for_images(scale.fid.features, scale.fid.image_shape)
  default_workers = executors.default_workers() if options.scale == "small" else 1
  workers = options.workers or default_workers
  return run.run(
    options.names,
    scale,
    output,
    make_executor=lambda tasks: executors.make(min(workers, tasks), output),
    data_flags=() if options.data_dir is None else (f"--data_dir={options.data_dir}",),
  )


def _scale(options: Options, output: pathlib.Path) -> scales.Scale:
  """Returns the scale with what the options change, and as the output folder was made."""
  features = options.features
  recorded = records.read_scale(output)
  if recorded:
    settings.require(
      options.scale == recorded.name,
      "scale",
      f"{recorded.name}, with which {output} was made",
      options.scale,
    )
    if recorded.features is not None:
      settings.require(
        features is None or _is_same(features, recorded.features),
        "features",
        f"{recorded.features}, with which {output} was made",
        features,
      )
      features = recorded.features
  scale = scales.SCALES[options.scale].with_features(features)
  if options.seeds:
    scale = scale.with_seeds(tuple(range(options.seeds)))
  if options.microbatches:
    scale = scale.with_microbatches(options.microbatches)
  return _with_precision(scale, options.precision, recorded, output)


def _with_precision(
  scale: scales.Scale,
  precision: str | None,
  recorded: records.ScaleRecord | None,
  output: pathlib.Path,
) -> scales.Scale:
  """Returns the scale in the precision of the output folder, or in the given one if it is new."""
  # Folders of earlier versions have no record before their first report.
  if recorded or (output / "models").exists():
    made = recorded.precision if recorded else scale.precision
    settings.require(
      precision in (None, made), "precision", f"{made}, with which {output} was made", precision
    )
    precision = made
  if precision in (None, scale.precision):
    return scale
  return scale.with_precision(precision)


def _is_same(features: str, others: str) -> bool:
  """Whether two values of --features name the same feature extractor."""
  return features == others or pathlib.Path(features).resolve() == pathlib.Path(others).resolve()


def _needing_features(
  names: tuple[str, ...], scale: scales.Scale, output: pathlib.Path
) -> tuple[str, ...]:
  """Returns the experiments whose tasks compare features of images, such as by FID."""
  scale = scale.with_features("ANY")
  return tuple(
    name
    for name in names
    if any(
      flag.endswith("features=ANY")
      for task in experiments.load(name).needs(scale)
      for each in (*task.trainings, task)
      for flag in each.arguments(output)
    )
  )


def _require_features(features: str | None, needing: tuple[str, ...]) -> None:
  """Requires that the feature extractor exists, without loading it."""
  registered = features in registries.FEATURE_EXTRACTORS.names()
  settings.require(
    features and (registered or pathlib.Path(features).exists()),
    "features",
    "the path of the Inception graph or of a SavedModel"
    + (f", for the FID of {', '.join(needing)}" if needing else ""),
    features,
  )


COMMAND = command.Command(main, Options, __doc__, sections=())

if __name__ == "__main__":
  sys.exit(COMMAND.run())
