"""A trained model: the network of a model folder with its weights, or two of them as one."""

from collections.abc import Callable
import dataclasses
from typing import Any
from typing import Optional
import zlib

import keras
import numpy as np
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf import networks
from iddpm_tf import settings
from iddpm_tf.data import images as images_lib
from iddpm_tf.diffusion import ensembles
from iddpm_tf.diffusion import gaussian_diffusion
from iddpm_tf.diffusion import guidance
from iddpm_tf.diffusion.samplers import base as samplers
from iddpm_tf.models import checkpoints
from iddpm_tf.models import image_sampler
from iddpm_tf.models import inference
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.utils import progress as progress_lib

# What two models must have in common to be one.
_SHARED = ("diffusion_steps", "noise_schedule", "mean_type", "variance_type", "rescale_timesteps")


@dataclasses.dataclass(frozen=True)
class TrainedModel:
  """A network with its weights, and everything about it.

  Attributes:
    folder: the model folder.
    config: the configuration, perhaps with other sampling than the folder's.
    network: the built network.
    step: the training step of the weights.
    ema: the rate of the moving averages that the network holds; 0 for the raw weights.
    strategy: the devices that draw images.
    ends: a second model, for the first and the last timesteps (Appendix D), or None.
    end_steps: the number of timesteps of the second model at either end.
    classifier: a classifier of noisy images, which guides images to their classes, or None.
  """

  folder: model_dir_lib.ModelDir
  config: config_lib.Config
  network: keras.Model
  step: int
  ema: float
  strategy: tf.distribute.Strategy
  ends: Optional["TrainedModel"] = None
  end_steps: int = 0
  classifier: guidance.Classifier | None = None

  def __str__(self) -> str:
    weights = f"EMA {self.ema}" if self.ema else "raw weights"
    text = f"{self.folder}, step {self.step}, {weights}"
    if self.ends:
      text += f"; the first and last {self.end_steps} timesteps by {self.ends}"
    if self.classifier:
      text += f"; guided by {self.classifier}"
    return text

  @property
  def num_labels(self) -> int:
    """The number of classes that labels choose from: the model's, or those of its classifier."""
    classes = self.classifier.num_classes if self.classifier else 0
    return self.config.num_classes or classes

  @property
  def label_names(self) -> tuple[str, ...]:
    """The names of these classes by number; empty where they are unknown."""
    if self.config.num_classes:
      return self.config.class_names
    return getattr(self.classifier, "class_names", ())

  @property
  def guidance(self) -> dict[str, Any]:
    """The settings of guidance that images are drawn with; empty where nothing guides them."""
    sampling = self.config.sampling
    values: dict[str, Any] = {}
    if self.config.network.label_dropout and sampling.guidance_scale != 1.0:
      values["guidance_scale"] = sampling.guidance_scale
      values["guidance_interval"] = list(sampling.guidance_interval)
    if self.classifier:
      values["classifier_scale"] = sampling.classifier_scale
    return values

  @property
  def other_variance(self) -> str | None:
    """The variance of the reverse process if it is not the one of the training, or None."""
    chosen, stored = self.config.diffusion.variance_type, self.folder.read_config()
    return chosen if stored and chosen != stored.diffusion.variance_type else None

  @property
  def other_precision(self) -> str | None:
    """The arithmetic of the network if it is not the one of the model folder, or None."""
    chosen, stored = self.config.network.precision, self.folder.read_config()
    return chosen if stored and chosen != stored.network.precision else None

  def make_image_sampler(
    self,
    sampler: samplers.Sampler,
    *,
    on_step: Callable[[int], object] | tf.Variable | None = None,
    on_end: Callable[[list[int]], object] | None = None,
  ) -> image_sampler.ImageSampler:
    """Returns the graph that draws images.

    Args:
      sampler: the sampler.
      on_step: a Python function that is called with the number of finished steps, or an int64
        variable, to which each step that begins adds 1.
      on_end: a Python function that is called with the numbers of a `loop.OutOfRange`.
    """
    ends = None
    if self.ends is not None:
      ends = image_sampler.Ends(self.ends.network, self.end_steps)
    return image_sampler.ImageSampler(
      self.config,
      self.network,
      sampler,
      ends=ends,
      classifier=self.classifier,
      on_step=on_step,
      on_end=on_end,
    )

  def model_fn(
    self, label: tf.Tensor | None, low_res: tf.Tensor | None = None
  ) -> gaussian_diffusion.ModelFn:
    """Returns the model as a function of x_t and t.

    Args:
      label: the labels of the images, int32 `[B]`; a model without classes ignores them.
      low_res: for a super-resolution model, the images to enlarge, `[B, h, w, C]` in [-1, 1].
    """
    label = label if self.config.num_classes else None
    middle_fn = inference.make_model_fn(self.network, label, low_res)
    if self.ends is None:
      return middle_fn
    diffusion = gaussian_diffusion.make_diffusion(self.config.diffusion)
    ends_fn = inference.make_model_fn(self.ends.network, label, low_res)
    return ensembles.ends_and_middle(ends_fn, middle_fn, diffusion, self.end_steps)

  def model_fn_for(self, x_start: tf.Tensor, label: tf.Tensor | None) -> gaussian_diffusion.ModelFn:
    """Returns the model as a function of x_t and t, for images whose likelihood is evaluated.

    Args:
      x_start: the images, `[B, H, W, C]` in [-1, 1]. A super-resolution model sees them reduced.
      label: their labels, int32 `[B]`; a model without classes ignores them.
    """
    low = self.config.network.low_res_size
    return self.model_fn(label, images_lib.area_downsample(x_start, low) if low else None)


@dataclasses.dataclass(frozen=True)
class Ensemble:
  """A second model for the first and the last timesteps (Appendix D).

  Attributes:
    model_dir: the folder of the second model. The paper's is trained on L_vlb, beside one trained
      on L_hybrid.
    steps: the number of timesteps at either end.
    ema: the rate of its moving averages; None takes its first rate.
  """

  model_dir: str
  steps: int = 100
  ema: float | None = None


def load(
  folder: model_dir_lib.ModelDir,
  config: config_lib.Config,
  *,
  ema: float | None = None,
  best: bool = False,
  step: int | None = None,
  strategy: tf.distribute.Strategy | None = None,
  progress: progress_lib.Progress | None = None,
) -> TrainedModel:
  """Loads the newest weights of a model folder, the best ones, or those of a step.

  Args:
    folder: the model folder.
    config: its configuration, perhaps changed.
    ema: the rate of the moving averages to use; 0 for the raw weights. None takes the first rate of
      the run, or with `best` the rate of the best score.
    best: whether to take the checkpoint of the best score.
    step: the training step of the checkpoint; None: the newest one.
    strategy: the devices that draw images. None is one device.
    progress: where a note about young averages goes.

  Raises:
    InputError: there is no such checkpoint or rate.
  """
  rates = config.training.ema
  if best and step is not None:
    raise settings.InputError("step", "cannot be combined with best")
  chosen = folder.require_best() if best else None
  if step is not None:
    steps = sorted(folder.checkpoint_steps(folder.checkpoints))
    kept = ", ".join(map(str, steps)) or "none"
    settings.require(step in steps, "step", f"one of the checkpoints of {folder}: {kept}", step)
  if ema is None:
    ema = chosen.ema if chosen else (rates or (0.0,))[0]
  if ema and ema not in rates:
    message = f"expected one of {', '.join(map(str, (*rates, 0)))}, received {ema}"
    raise settings.InputError("ema", message)
  strategy = strategy or tf.distribute.get_strategy()
  with strategy.scope():
    network = networks.build_unet(config)
    step = checkpoints.restore_network(
      network,
      folder.best_checkpoints if chosen else folder.checkpoints,
      ema,
      step=chosen.step if chosen else step,
      progress=progress,
    )
  # The averages of an imported or fine-tuned model began at trained weights.
  trained_start = folder.imported.exists() or folder.initialised.exists()
  if progress and ema and step * (1 - ema) < 1 and not trained_start:
    progress.say(
      f"note: the average of rate {ema} spans {1 / (1 - ema):.0f} steps and the model has made "
      f"{step}, so it is still close to its random start; ema=0 takes the raw weights"
    )
  return TrainedModel(folder, config, network, step, ema, strategy)


def weights_checksum(model: TrainedModel) -> str:
  """Returns a CRC-32 of all weights that a model samples with, as 8 hexadecimal digits."""
  checksum = zlib.crc32(str(model.end_steps).encode())
  networks = [model.network] + ([model.ends.network] if model.ends else [])
  variables = [variable.value for network in networks for variable in network.trainable_variables]
  for variable in [*variables, *(model.classifier.variables if model.classifier else [])]:
    array = np.ascontiguousarray(variable.numpy())
    checksum = zlib.crc32(array.data, checksum)
  return f"{checksum:08x}"


def with_ends(
  model: TrainedModel,
  ensemble: Ensemble,
  progress: progress_lib.Progress | None = None,
) -> TrainedModel:
  """Returns a model that takes a second model for the first and the last timesteps.

  Args:
    model: the model for the timesteps in the middle.
    ensemble: the second model.
    progress: where notes go.

  Raises:
    InputError: the models differ in their process, images or classes, or there are too few steps.
  """
  with settings.renamed({"model_dir": "ensemble_dir", "ema": "ensemble_ema"}):
    folder = model_dir_lib.ModelDir(ensemble.model_dir)
    config = folder.require_config()
  _require_same_process(model.config, config, folder)
  total = model.config.diffusion.diffusion_steps
  settings.require(
    0 < 2 * ensemble.steps <= total,
    "ensemble_steps",
    f"1 to {total // 2}, half of the model's timesteps",
    ensemble.steps,
  )
  with settings.renamed({"model_dir": "ensemble_dir", "ema": "ensemble_ema"}):
    ends = load(folder, config, ema=ensemble.ema, strategy=model.strategy, progress=progress)
  return dataclasses.replace(model, ends=ends, end_steps=ensemble.steps)


def with_classifier(
  model: TrainedModel, classifier: guidance.Classifier, config: config_lib.Config | None = None
) -> TrainedModel:
  """Returns a model whose images a classifier guides (Dhariwal & Nichol, 2021, section 4).

  Args:
    model: the model. One without classes takes the labels of the classifier.
    classifier: a classifier of noisy images.
    config: the configuration with which it was trained; None where there is no such thing.

  Raises:
    InputError: the classifier is of another process, of other images or of other classes.
  """
  for part in ("num_classes", "variables", "log_prob"):
    expected = "a folder, or an object with num_classes, variables and log_prob"
    settings.require(hasattr(classifier, part), "classifier_dir", expected, classifier)
  ours: dict[str, Any] = {"num_classes": model.config.num_classes or classifier.num_classes}
  theirs: dict[str, Any] = {"num_classes": classifier.num_classes}
  if config is not None:
    ours, theirs = ours | _process_of(model.config), theirs | _process_of(config)
    if model.config.class_names and config.data.class_names:
      ours["class_names"], theirs["class_names"] = model.config.class_names, config.data.class_names
  for name, value in ours.items():
    message = f"a classifier of the same {name} as the model ({settings.shown(value)})"
    settings.require(value == theirs[name], "classifier_dir", message, theirs[name])
  return dataclasses.replace(model, classifier=classifier)


def _process_of(config):
  """Returns what a classifier of noisy images must have in common with a model."""
  names = ("diffusion_steps", "noise_schedule", "rescale_timesteps")
  values = {name: getattr(config.diffusion, name) for name in names}
  return values | {"image_shape": config.data.image_shape}


def _require_same_process(config, other, folder):
  def describe(each):
    return {name: getattr(each.diffusion, name) for name in _SHARED} | {
      "image_shape": each.data.image_shape,
      "num_classes": each.num_classes,
      "label_dropout": each.network.label_dropout > 0,
      "low_res_shape": each.low_res_shape,
    }

  theirs = describe(other)
  for name, ours in describe(config).items():
    if ours != theirs[name]:
      message = f"expected a model of the same {name} ({ours}), received {folder} ({theirs[name]})"
      raise settings.InputError("ensemble_dir", message)
