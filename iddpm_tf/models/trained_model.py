"""A model folder's network, with its newest weights or its best ones; two of them as one."""

import pathlib
from typing import Any
from typing import NamedTuple

import keras

from iddpm_tf import config as config_lib
from iddpm_tf import networks
from iddpm_tf import settings
from iddpm_tf.data import images as images_lib
from iddpm_tf.diffusion import ensembles
from iddpm_tf.diffusion import process as process_lib
from iddpm_tf.models import best_checkpoint as best_lib
from iddpm_tf.models import checkpoints
from iddpm_tf.models import image_sampler
from iddpm_tf.models import model_dir
from iddpm_tf.networks.stateless import call_network

_ENSEMBLE_STEPS = 100  # Appendix D.
# What two models must share to be one.
_PROCESS = ("diffusion_steps", "noise_schedule", "mean_type", "variance_type", "rescale_timesteps")


class TrainedModel(NamedTuple):
  folder: pathlib.Path
  config: config_lib.Config
  network: keras.Model
  step: int
  ema: float  # Rate of the averages that the network holds; 0: the raw weights.
  ends: Any = (
    None  # Another `TrainedModel` for the first and the last timesteps (Appendix D), or None.
  )
  end_steps: int = 0  # How many at either end.

  def __str__(self):
    weights = f"EMA {self.ema}" if self.ema else "raw weights"
    text = f"{self.folder}, step {self.step}, {weights}"
    return (
      text
      if self.ends is None
      else f"{text}; the first and last {self.end_steps} timesteps by {self.ends}"
    )

  @property
  def other_variance(self):
    """The reverse process's variance if it is another than the model was trained with (--fixed_variance); None."""
    chosen, stored = self.config.diffusion.variance_type, model_dir.read_config(self.folder)
    return chosen if stored and chosen != stored.diffusion.variance_type else None

  @property
  def sampler_ends(self):
    """As an `ImageSampler` takes them."""
    return None if self.ends is None else image_sampler.Ends(self.ends.network, self.end_steps)

  def denoise_fn(self, x_start, label):
    """`denoise_fn(x_t, t)` of images [B, H, W, C]: their labels, or what they are enlarged from, closed over."""
    low = self.config.network.low_res_size
    low_res = images_lib.area_downsample(x_start, low) if low else None
    label = label if self.config.num_classes else None

    def of(network):
      return lambda x_t, t: call_network(network, x_t, t, label, low_res=low_res)

    if self.ends is None:
      return of(self.network)
    return ensembles.ends_and_middle(
      of(self.ends.network),
      of(self.network),
      process_lib.make_process(self.config.diffusion),
      self.config.diffusion,
      self.end_steps,
    )


def load_chosen(config, options):
  """The `TrainedModel` of `model_dir.EnsembleOptions`."""
  if not options.ensemble_dir:
    for name in ("ensemble_steps", "ensemble_ema"):
      settings.require(
        getattr(options, name) is None,
        name,
        "nothing without --ensemble_dir",
        getattr(options, name),
      )
  model = load(options.model_dir, config, options.ema, best=options.best)
  if not options.ensemble_dir:
    return model
  steps = _ENSEMBLE_STEPS if options.ensemble_steps is None else options.ensemble_steps
  ends_config = model_dir.require_config(options.ensemble_dir, "ensemble_dir")
  _require_same_process(config, ends_config, options.ensemble_dir)
  settings.require(
    0 < 2 * steps <= config.diffusion.diffusion_steps,
    "ensemble_steps",
    f"1 to {config.diffusion.diffusion_steps // 2}, half of the model's timesteps",
    steps,
  )
  ends = load(options.ensemble_dir, ends_config, options.ensemble_ema, flag="ensemble_ema")
  return model._replace(ends=ends, end_steps=steps)


def load(folder, config, ema, flag="ema", *, best=False):
  """The newest model of a folder, or with `best` that of the best score.

  Args:
    folder: the model folder.
    config: its `Config`.
    ema: a rate, 0 for the raw weights, or None for the first of the run's rates, or that of the best score.
    flag: the name of the rate's flag, for what is said of it.
  """
  rates = config.training.ema
  chosen = _require_best(folder) if best else None
  if ema is None:
    ema = chosen.ema if chosen else (rates or (0.0,))[0]
  if ema and ema not in rates:
    raise settings.InputError(
      flag, f"expected one of {', '.join(map(str, (*rates, 0)))}, received {ema}"
    )
  network = networks.build_network(config)
  where = {"name": best_lib.FOLDER, "step": chosen.step} if chosen else {}
  step = checkpoints.restore_network(network, folder, ema, **where)
  # An imported model's averages began at its weights, and its step may be unknown.
  if ema and step * (1 - ema) < 1 and not (pathlib.Path(folder) / model_dir.IMPORTED).exists():
    print(
      f"note: the average of rate {ema} looks back {1 / (1 - ema):.0f} steps and the model has made "
      f"{step}, so it is still close to its random start; --{flag}=0 takes the raw weights"
    )
  return TrainedModel(pathlib.Path(folder), config, network, step, ema)


def _require_same_process(config, other, folder):
  """`ValueError` unless two `Config`s differ in network and training only."""

  def facts(one):
    return {name: getattr(one.diffusion, name) for name in _PROCESS} | {
      "image_shape": one.data.image_shape,
      "num_classes": one.num_classes,
      "low_res_shape": one.low_res_shape,
    }

  theirs = facts(other)
  for name, ours in facts(config).items():
    if ours != theirs[name]:
      raise settings.InputError(
        "ensemble_dir",
        f"expected a model of the same {name} ({ours}), received {folder} ({theirs[name]})",
      )


def _require_best(folder):
  found = best_lib.read(folder)
  if found is None:
    raise settings.InputError(
      "best",
      f"expected a run that keeps its best checkpoint (--eval_every, --best_score), "
      f"received {folder}, which has no {best_lib.FILE}",
    )
  return found
