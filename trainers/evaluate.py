"""Scores a model: python -m trainers.evaluate --model_dir=DIR --nll

--nll: the variational bound of the test images in bits per dimension, with every term to JSON and a plot of
the terms by timestep (Figure 2).
"""

import dataclasses
import sys

from iddpm_tf import config as config_lib
from trainers import command
from trainers import model_dir


@dataclasses.dataclass(frozen=True)
class Options:
  model_dir: str | None = config_lib.setting(None, "folder of the run; required")
  nll: bool = config_lib.setting(False, "the negative log-likelihood's bound")
  output_dir: str | None = config_lib.setting(None, "where results go; unset: MODEL_DIR/evaluations")
  split: str = config_lib.setting("test", "of the data", choices=("test", "train"))
  num_examples: int = config_lib.setting(0, "the first so many images; 0: all")
  nll_steps: int = config_lib.setting(0, "evaluate at so many timesteps (Appendix E); 0: at every one")
  nll_schedule: str = config_lib.setting(
      "dense_start", "which timesteps, with --nll_steps: evenly strided, or also every t up to T/K",
      choices=("dense_start", "strided"))
  decoder: str | None = config_lib.setting(
      None, "the Gaussian CDF in L_0; tanh is the authors' approximation, to compare with their "
      "numbers; unset: the model's", choices=("exact", "tanh"))
  seed: int = config_lib.setting(0, "of the noise")
  batch_size: int = config_lib.setting(100, "images at a time")
  ema: float | None = config_lib.setting(
      None, "rate of the averaged weights to take; 0: the raw weights; unset: the run's first rate")

  def __post_init__(self):
    config_lib.require(self.nll, "nll", "a score to compute, that is --nll", self.nll)
    config_lib.require(self.batch_size > 0, "batch_size", "a positive number", self.batch_size)
    config_lib.require_seed(self.seed)
    for name in ("num_examples", "nll_steps"):
      config_lib.require(getattr(self, name) >= 0, name, "a number of at least 0", getattr(self, name))


def main(options, flag_values):
  config = model_dir.trained_config(options, flag_values)
  config_lib.require(options.nll_steps <= config.diffusion.diffusion_steps, "nll_steps",
                     f"at most the model's {config.diffusion.diffusion_steps}", options.nll_steps)
  command.load_tensorflow()
  from trainers import nll
  return nll.evaluate(config, options)


if __name__ == "__main__":
  sys.exit(command.run(main, Options, __doc__))
