"""A model folder's network, with its newest weights."""

import pathlib
from typing import NamedTuple

import keras

from iddpm_tf import config as config_lib
from iddpm_tf import networks
from iddpm_tf.data import images as images_lib
from iddpm_tf.networks.stateless import call_network
from trainers import best as best_lib
from trainers import checkpoints
from trainers import model_dir


class TrainedModel(NamedTuple):
  folder: pathlib.Path
  config: config_lib.Config
  network: keras.Model
  step: int
  ema: float  # Rate of the averages that the network holds; 0: the raw weights.

  def __str__(self):
    weights = f"EMA {self.ema}" if self.ema else "raw weights"
    return f"{self.folder}, step {self.step}, {weights}"

  def denoise_fn(self, x_start, label):
    """`denoise_fn(x_t, t)` of images [B, H, W, C]: their labels, or what they are enlarged from, closed over."""
    low = self.config.network.low_res_size
    low_res = images_lib.area_downsample(x_start, low) if low else None
    label = label if self.config.num_classes else None
    return lambda x_t, t: call_network(self.network, x_t, t, label, low_res=low_res)


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
    raise ValueError(f"--{flag}: expected one of {', '.join(map(str, (*rates, 0)))}, received {ema}")
  network = networks.build_network(config)
  where = {"name": best_lib.FOLDER, "step": chosen.step} if chosen else {}
  step = checkpoints.restore_network(network, folder, ema, **where)
  # An imported model's averages began at its weights, and its step may be unknown.
  if ema and step * (1 - ema) < 1 and not (pathlib.Path(folder) / model_dir.IMPORTED).exists():
    print(f"note: the average of rate {ema} looks back {1 / (1 - ema):.0f} steps and the model has made "
          f"{step}, so it is still close to its random start; --{flag}=0 takes the raw weights")
  return TrainedModel(pathlib.Path(folder), config, network, step, ema)


def _require_best(folder):
  found = best_lib.read(folder)
  if found is None:
    raise ValueError(f"--best: expected a run that keeps its best checkpoint (--eval_every, --best_score), "
                     f"received {folder}, which has no {best_lib.FILE}")
  return found
