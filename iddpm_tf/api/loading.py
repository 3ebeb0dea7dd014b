"""Loading models: from a model folder, or from an export."""

from collections.abc import Mapping
import os
import pathlib
from typing import Any

import tensorflow as tf

from iddpm_tf import settings
from iddpm_tf.api import exported
from iddpm_tf.api import model as model_lib
from iddpm_tf.diffusion import guidance
from iddpm_tf.models import classifier as classifier_lib
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.models import trained_model
from iddpm_tf.serving import layout
from iddpm_tf.utils import progress as progress_lib


def load(
  path: str | os.PathLike[str],
  *,
  ema: float | None = None,
  best: bool = False,
  step: int | None = None,
  ensemble: trained_model.Ensemble | str | os.PathLike[str] | None = None,
  classifier: guidance.Classifier | str | os.PathLike[str] | None = None,
  changes: Mapping[str, Any] | None = None,
  strategy: tf.distribute.Strategy | None = None,
  progress: bool | progress_lib.Progress = True,
) -> "model_lib.Model | exported.ExportedModel":
  """Loads a trained model.

  Args:
    path: a model folder, or the folder of an export (`saved_models/NAME`, of which the newest
      version is taken, or `saved_models/NAME/VERSION`). An export draws images and nothing else.
    ema: the rate of the moving averages to use as weights; 0 for the raw weights. None takes the
      first rate of the run, or with `best` the rate of the best score.
    best: whether to take the checkpoint of the best score, not the newest one.
    step: the training step of the checkpoint to take; None: the newest one.
    ensemble: a second model for the first and the last timesteps (Appendix D), or its folder.
    classifier: a classifier of noisy images, which guides images to their classes: the model folder
      of one, or any `guidance.Classifier`.
    changes: settings with other values than those of the folder, such as
      `{"clip_denoised": False}`. The values that a run may change can change, and there is
      `fixed_variance` (fixed_small or fixed_large) for a model that learns no variance.
    strategy: the devices that draw images, such as `tf.distribute.MirroredStrategy()`. None is one
      device.
    progress: True shows notes on the console, False shows none; or a `Progress`.

  Raises:
    InputError: there is no model at the path, or an argument does not fit it.
  """
  settings.require_local("path", path)
  version = _exported_version(pathlib.Path(path))
  if version is None:
    return load_run(
      path,
      ema=ema,
      best=best,
      step=step,
      ensemble=ensemble,
      classifier=classifier,
      changes=changes,
      strategy=strategy,
      progress=progress,
    )
  for name, value in (
    ("ema", ema),
    ("best", best or None),
    ("step", step),
    ("ensemble", ensemble),
    ("classifier", classifier),
  ):
    settings.require(value is None, name, "no value for an exported model", value)
  settings.require(not changes, "changes", "no value for an exported model", changes)
  return exported.ExportedModel(version)


def load_run(
  path: str | os.PathLike[str],
  *,
  ema: float | None = None,
  best: bool = False,
  step: int | None = None,
  ensemble: trained_model.Ensemble | str | os.PathLike[str] | None = None,
  classifier: guidance.Classifier | str | os.PathLike[str] | None = None,
  changes: Mapping[str, Any] | None = None,
  strategy: tf.distribute.Strategy | None = None,
  progress: bool | progress_lib.Progress = True,
) -> model_lib.Model:
  """Loads the trained model of a model folder; the arguments are those of `load`."""
  progress = progress_lib.make(progress)
  with settings.renamed({"model_dir": "path"}):
    folder = model_dir_lib.ModelDir(path)
    model = trained_model.load(
      folder,
      folder.changed_config(changes or {}),
      ema=ema,
      best=best,
      step=step,
      strategy=strategy,
      progress=progress,
    )
  if ensemble is not None:
    if not isinstance(ensemble, trained_model.Ensemble):
      ensemble = trained_model.Ensemble(os.fspath(ensemble))
    names = {"dir": "ensemble", "steps": "ensemble.steps", "ema": "ensemble.ema"}
    with settings.renamed({f"ensemble_{name}": theirs for name, theirs in names.items()}):
      model = trained_model.with_ends(model, ensemble, progress)
  if classifier is not None:
    with settings.renamed({"model_dir": "classifier", "classifier_dir": "classifier"}):
      model = _with_classifier(model, classifier)
  return model_lib.Model(model)


def _with_classifier(model, classifier):
  if not isinstance(classifier, (str, os.PathLike)):
    return trained_model.with_classifier(model, classifier)
  loaded = classifier_lib.load_classifier(classifier)
  return trained_model.with_classifier(model, loaded, loaded.config)


def _exported_version(path: pathlib.Path) -> pathlib.Path | None:
  """Returns the folder of an exported version at a path, or None where there is no export."""
  if (path / "saved_model.pb").is_file():
    return path
  versions = [
    int(child.name)
    for child in (path.iterdir() if path.is_dir() else ())
    if layout.is_version(child.name) and (child / "saved_model.pb").is_file()
  ]
  return path / str(max(versions)) if versions else None
