"""Flags of the commands that take a trained model, and the model that they choose."""

from collections.abc import Mapping
import dataclasses
from typing import TYPE_CHECKING
from typing import Any
from typing import NamedTuple

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.models import two_stage
from iddpm_tf.utils import progress as progress_lib

if TYPE_CHECKING:  # These need TensorFlow, which is imported once the flags are known to be right.
  from iddpm_tf import api
  from iddpm_tf.diffusion.samplers import base as samplers


@dataclasses.dataclass(frozen=True)
class ModelOptions:
  """Flags of the commands that take a trained model."""

  model_dir: str | None = settings.setting(None, "folder of the run; required")
  ema: float | None = settings.setting(
    None,
    "rate of the averaged weights to use; 0 takes the raw weights; unset: the run's first rate, or "
    "with --best the rate of the best score",
  )
  best: bool = settings.setting(
    False, "use the checkpoint of the best score (--best_score in training), not the newest"
  )
  step: int | None = settings.setting(
    None, "training step of the checkpoint to use; unset: the newest"
  )
  fixed_variance: str | None = settings.setting(
    None,
    "variance of the reverse process, for a model that learns none; unset: as in training",
    choices=("fixed_small", "fixed_large"),
  )

  def folder(self) -> model_dir_lib.ModelDir:
    """Returns the model folder.

    Raises:
      InputError: it is not given.
    """
    if not self.model_dir:
      raise settings.InputError("model_dir", "expected the folder of a run, received nothing")
    return model_dir_lib.ModelDir(self.model_dir)


@dataclasses.dataclass(frozen=True)
class EnsembleOptions(ModelOptions):
  """Flags of the commands that can take two models as one (Appendix D)."""

  ensemble_dir: str | None = settings.setting(
    None,
    "folder of a second model for the first and the last timesteps; the paper's is trained on "
    "L_vlb, beside one trained on L_hybrid",
  )
  ensemble_steps: int | None = settings.setting(
    None, "timesteps of the second model at either end; unset: 100"
  )
  ensemble_ema: float | None = settings.setting(
    None, "rate of the second model's averaged weights; unset: its first rate"
  )

  def __post_init__(self) -> None:
    """Checks that the flags of a second model come with its folder."""
    _require_folder(self, "ensemble_dir", "ensemble_steps", "ensemble_ema")


@dataclasses.dataclass(frozen=True)
class ClassifierOptions:
  """Flags of the commands that can draw images guided by a classifier."""

  classifier_dir: str | None = settings.setting(
    None,
    "folder of a classifier of noisy images (trainers.train_classifier), whose gradient guides "
    "images to their classes by --classifier_scale",
  )

  def classes_of(self, config: config_lib.Config) -> tuple[int, tuple[str, ...]]:
    """Returns the number of classes that label images, and their names, if they are known.

    Args:
      config: the configuration of the model. One without classes takes those of the classifier.

    Raises:
      InputError: there is no classifier in the folder.
    """
    if config.num_classes or not self.classifier_dir:
      return config.num_classes, config.class_names
    with settings.renamed({"model_dir": "classifier_dir"}):
      data = model_dir_lib.ModelDir(self.classifier_dir).require_config(classifier=True).data
    return data.num_classes, data.class_names

  def require_scale_fits(self, given: Mapping[str, Any]) -> None:
    """Raises an `InputError` if the scale of a classifier is given without a classifier."""
    if "classifier_scale" in given and not self.classifier_dir:
      raise settings.InputError("classifier_scale", "requires --classifier_dir")


@dataclasses.dataclass(frozen=True)
class UpsamplerOptions:
  """Flags of the commands that can enlarge a model's images with a second one (Appendix C)."""

  upsampler_dir: str | None = settings.setting(
    None, "folder of a super-resolution model, which enlarges the model's images"
  )
  upsampler_sampler: str | None = settings.setting(
    None, "sampler of the upsampler, as in --samplers; unset: the first of its own"
  )
  upsampler_ema: float | None = settings.setting(
    None, "rate of the upsampler's averaged weights; unset: its first rate"
  )

  def __post_init__(self) -> None:
    """Checks that the flags of an upsampler come with its folder."""
    _require_folder(self, "upsampler_dir", "upsampler_sampler", "upsampler_ema")


def model_config(options: ModelOptions, given: Mapping[str, Any]) -> config_lib.Config:
  """Returns the configuration of the chosen model, without importing TensorFlow.

  Args:
    options: the flags.
    given: the settings of the configuration that were given. They must agree with the folder,
      unless a run may change them.

  Raises:
    InputError: there is no run in the folder, or a setting contradicts it.
  """
  if isinstance(options, ClassifierOptions):
    options.require_scale_fits(given)
  return options.folder().changed_config(_changes(options, given))


def load_model(
  options: ModelOptions,
  given: Mapping[str, Any],
  *,
  all_devices: bool = False,
  progress: progress_lib.Progress,
) -> "api.Model":
  """Returns the chosen model.

  Args:
    options: the flags.
    given: the settings of the configuration that were given.
    all_devices: whether all devices draw images.
    progress: where notes go.
  """
  from iddpm_tf import api
  from iddpm_tf.utils import devices

  ensemble = None
  if isinstance(options, EnsembleOptions) and options.ensemble_dir:
    ensemble = api.Ensemble(
      options.ensemble_dir,
      **{} if options.ensemble_steps is None else {"steps": options.ensemble_steps},
      ema=options.ensemble_ema,
    )
  classifier = None
  if isinstance(options, ClassifierOptions):
    classifier = options.classifier_dir
  names = {
    "path": "model_dir",
    "classifier": "classifier_dir",
    "ensemble": "ensemble_dir",
    "ensemble.steps": "ensemble_steps",
    "ensemble.ema": "ensemble_ema",
  }
  with settings.renamed(names):
    return api.load_run(
      options.folder().path,
      ema=options.ema,
      best=options.best,
      step=options.step,
      ensemble=ensemble,
      classifier=classifier,
      changes=_changes(options, given),
      strategy=devices.local_strategy() if all_devices else None,
      progress=progress,
    )


def upsampler_config(
  options: UpsamplerOptions, base: config_lib.Config
) -> config_lib.Config | None:
  """Returns the configuration of the upsampler, or None without one; it imports no TensorFlow.

  Args:
    options: the flags.
    base: the configuration of the model whose images are enlarged.

  Raises:
    InputError: it is not a super-resolution model of these images and classes.
  """
  if not options.upsampler_dir:
    return None
  with settings.renamed({"model_dir": "upsampler_dir"}):
    config = model_dir_lib.ModelDir(options.upsampler_dir).require_config()
  two_stage.require_fit(base, config, options.upsampler_dir)
  return config


def load_upsampler(
  options: UpsamplerOptions,
  changes: Mapping[str, Any] | None = None,
  *,
  all_devices: bool = False,
  progress: progress_lib.Progress,
) -> "api.Model":
  """Returns the upsampler, which must have been given.

  Args:
    options: the flags.
    changes: settings with other values than those of its folder.
    all_devices: whether all devices draw images.
    progress: where notes go.
  """
  from iddpm_tf import api
  from iddpm_tf.utils import devices

  assert options.upsampler_dir
  names = {
    "path": "upsampler_dir",
    "model_dir": "upsampler_dir",
    "ema": "upsampler_ema",
    "samplers": "upsampler_sampler",
  }
  with settings.renamed(names):
    return api.load_run(
      options.upsampler_dir,
      ema=options.upsampler_ema,
      changes=changes,
      strategy=devices.local_strategy() if all_devices else None,
      progress=progress,
    )


class Enlarging(NamedTuple):
  """An upsampler and its sampler."""

  upsampler: "api.Model"
  sampler: "samplers.Sampler"


def load_enlarging(
  options: UpsamplerOptions, given: Mapping[str, Any], *, progress: progress_lib.Progress
) -> Enlarging | None:
  """Returns the upsampler, on all devices, and its sampler; None where images are not enlarged.

  Args:
    options: the flags.
    given: the settings of the configuration that were given. Those of the data are also the
      upsampler's, whose training images may have moved.
    progress: where notes go.
  """
  if not options.upsampler_dir:
    return None
  names = settings.by_name(config_lib.DataConfig)
  changes = {name: value for name, value in given.items() if name in names}
  upsampler = load_upsampler(options, changes, all_devices=True, progress=progress)
  with settings.renamed({"samplers": "upsampler_sampler"}):
    (sampler, *_) = upsampler.parse_samplers(*filter(None, [options.upsampler_sampler]))
  return Enlarging(upsampler, sampler)


def _changes(options: ModelOptions, given: Mapping[str, Any]) -> dict[str, Any]:
  return dict(given) | {"fixed_variance": options.fixed_variance}


def _require_folder(options, folder, *names):
  """Raises an `InputError` if one of these flags is given without the flag of its folder."""
  for name in names:
    if getattr(options, name) is not None and not getattr(options, folder):
      raise settings.InputError(name, f"requires --{folder}")
