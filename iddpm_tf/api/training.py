"""Training from Python."""

from collections.abc import Sequence
import dataclasses
import functools
import os
import signal

import numpy as np
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.api import loading
from iddpm_tf.api import model as model_lib
from iddpm_tf.data import arrays
from iddpm_tf.data import sources
from iddpm_tf.interop import initialisation
from iddpm_tf.models import classifier as classifier_lib
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.training import loop
from iddpm_tf.utils import devices
from iddpm_tf.utils import progress as progress_lib


class TrainingInterrupted(KeyboardInterrupt):
  """A training was stopped by a signal, after its last step was saved.

  Attributes:
    signal: the signal, such as `signal.SIGINT`.
    step: the last step, which is saved.
  """

  def __init__(self, number: signal.Signals, step: int):
    super().__init__(number, step)
    self.signal, self.step = number, step

  def __str__(self) -> str:
    return f"stopped by {self.signal.name} and saved at step {self.step}"


def train(
  config: config_lib.Config,
  images: arrays.Images | sources.Source | None = None,
  labels: np.ndarray | Sequence[int] | None = None,
  *,
  model_dir: str | os.PathLike[str],
  init_from: str | os.PathLike[str] | None = None,
  init_ema: float | None = None,
  strict: bool = False,
  strategy: tf.distribute.Strategy | str | None = None,
  progress: bool | progress_lib.Progress = True,
) -> model_lib.Model:
  """Trains a model, or continues a training.

  A folder that holds a run is continued from its newest checkpoint, as if it had never stopped. The
  order of the data and all noise are functions of `config.training.seed` and the step.

  Args:
    config: the configuration. It must agree with a run that the folder holds, except for settings
      that a run may change, such as `train_steps`.
    images: the training images, uint8 `[N, H, W, C]`: an array, or anything with `shape`, `dtype`
      and `len` that NumPy can index; or a `Source`. None reads `config.data.dataset`.
    labels: the labels of the images, integers `[N]` from 0 on, or None for images without labels.
    model_dir: the folder of the run, which is made if necessary.
    init_from: a trained model whose weights a new run begins with: a model folder, or a checkpoint
      of the authors' code (`.pt` or `.safetensors`). Its network may have other classes and
      channels, whose weights begin anew. A run that is continued does not read it again.
    init_ema: the rate of the averages to take from the model folder `init_from`; 0 for the raw
      weights. None takes its first rate.
    strict: whether to refuse to continue a run on other images or labels than it was trained on,
      or from an earlier checkpoint where the newest one is damaged. False continues with a note.
    strategy: the devices: a strategy of TensorFlow, or auto, one_device, mirrored, multi_worker or
      tpu. None is auto: all processes that the environment describes, or all GPUs, or the CPU where
      there is none. With several workers, all of them make this call.
    progress: True shows bars and notes, False shows none; or a `Progress`.

  Returns:
    The trained model, with the averages of the first rate as its weights.

  Raises:
    InputError: a wrong setting, wrong data, a damaged checkpoint, or a gradient that is not finite.
    TrainingInterrupted: SIGINT or SIGTERM came. The last step is saved, and the same call
      continues.
  """
  if isinstance(config, config_lib.Config) and config.is_classifier:
    message = "expected a diffusion model's, received a classifier's, which train_classifier trains"
    raise settings.InputError("config", message)
  run_training(
    config,
    images,
    labels,
    model_dir=model_dir,
    init_from=init_from,
    init_ema=init_ema,
    strict=strict,
    strategy=strategy,
    progress=progress,
  )
  return loading.load_run(model_dir, progress=False)


def train_classifier(
  config: config_lib.Config,
  images: arrays.Images | sources.Source | None = None,
  labels: np.ndarray | Sequence[int] | None = None,
  *,
  model_dir: str | os.PathLike[str],
  strict: bool = False,
  strategy: tf.distribute.Strategy | str | None = None,
  progress: bool | progress_lib.Progress = True,
) -> classifier_lib.Classifier:
  """Trains a classifier of noisy images, or continues a training, as `train` does.

  Its gradients guide a diffusion model (Dhariwal & Nichol, 2021, section 4).

  Args:
    config: a configuration with `network.pool` and without moving averages (`training.ema`). Its
      process should be that of the model to guide.
    images: as for `train`.
    labels: as for `train`; a classifier requires labels.
    model_dir: the folder of the run, which is made if necessary.
    strict: as for `train`.
    strategy: as for `train`.
    progress: as for `train`.

  Raises:
    InputError: as `train`, or the configuration is one of a diffusion model.
    TrainingInterrupted: as `train`.
  """
  if isinstance(config, config_lib.Config) and not config.is_classifier:
    message = "expected a classifier's (see pool), received a diffusion model's"
    raise settings.InputError("config", message)
  run_training(
    config,
    images,
    labels,
    model_dir=model_dir,
    strict=strict,
    strategy=strategy,
    progress=progress,
  )
  return classifier_lib.load_classifier(model_dir)


def run_training(
  config: config_lib.Config,
  images: arrays.Images | sources.Source | None = None,
  labels: np.ndarray | Sequence[int] | None = None,
  *,
  model_dir: str | os.PathLike[str],
  init_from: str | os.PathLike[str] | None = None,
  init_ema: float | None = None,
  strict: bool = False,
  strategy: tf.distribute.Strategy | str | None = None,
  progress: bool | progress_lib.Progress = True,
) -> int:
  """Trains a model or a classifier as `train` does, and returns the last step."""
  progress = progress_lib.make(progress)
  if not isinstance(config, config_lib.Config):
    raise settings.InputError("config", f"expected a Config, received {config!r}")
  folder = model_dir_lib.ModelDir(model_dir)
  if strategy is None or isinstance(strategy, str):
    # First, because workers have to find each other before TensorFlow does anything else.
    strategy = devices.make_strategy(strategy or "auto")
  settings.require_local("data_dir", config.data.data_dir)
  stored = folder.read_config()
  if stored:
    folder.require_kind(stored, classifier=config.is_classifier)
  if init_from is not None and config.is_classifier:
    raise settings.InputError("init_from", f"expected none for a classifier, received {init_from}")
  if init_ema is not None and init_from is None:
    raise settings.InputError("init_ema", "requires init_from")
  if init_from is not None:
    if stored:
      initialisation.require_same_source(folder, init_from)
    else:
      initialisation.require_source(init_from, init_ema)
  if stored and stored.data.dataset == sources.ARRAYS and images is None:
    message = f"expected those that {folder} was trained on, which no file holds, received none"
    raise settings.InputError("images", message)
  if stored:
    config = dataclasses.replace(config, data=config.data.as_before(stored.data))
  settings.require(
    images is None or not config.training.max_examples,
    "max_examples",
    "0 with images from Python, of which fewer can be passed",
    config.training.max_examples,
  )
  source = _source(config, images, labels, stored)
  sources.say_notes(source, progress)
  if images is not None:
    # No file holds these images: an evaluation of the run asks for them.
    config = config.with_settings(dataset=sources.ARRAYS, data_dir=None)
  elif config.data.data_dir:  # Later calls may come from another working folder.
    config = config.with_settings(data_dir=os.path.abspath(config.data.data_dir))
  config = loop.resolve_config(config, source, folder)
  if strict and stored:
    model_dir_lib.require_same_images(source, folder)
  if stored and config.data.dataset != stored.data.dataset:
    progress.say(
      f"note: {folder} was made with dataset={stored.data.dataset} and continues with {source.name}"
    )

  begin = None
  if init_from is not None:
    begin = functools.partial(
      initialisation.initialise, folder=folder, source=init_from, ema=init_ema, progress=progress
    )
  outcome = loop.train(
    config,
    source,
    folder,
    strategy=strategy,
    progress=progress,
    begin=begin,
    strict=strict,
  )
  if outcome.signal:
    raise TrainingInterrupted(outcome.signal, outcome.step)
  return outcome.step


def _source(config, images, labels, stored):
  if images is not None and not isinstance(images, sources.Source):
    return sources.from_arrays(images, labels)
  if labels is not None:
    message = "expected none without an array of images, received labels; a Source has its own"
    raise settings.InputError("labels", message)
  if images is not None:
    names = stored.data.class_names if stored else ()
    return sources.numbered_as(sources.checked(images), names)
  data = config.data
  if stored:
    # The images have the channels of the run, and the classes its numbers.
    recorded = ("image_shape", "num_classes", "class_names")
    data = dataclasses.replace(data, **{name: getattr(stored.data, name) for name in recorded})
  return sources.with_at_most(sources.load(data, "train"), config.training.max_examples)
