"""Scores a model: python -m trainers.evaluate --model_dir=DIR --nll --fid

--nll: the variational bound of the test images in bits per dimension, with every term to JSON and a plot of
the terms by timestep (Figure 2). With --nll_stderr it is estimated from a part of the terms.

--fid, --sfid, --inception_score, --precision_recall: --num_samples images by each of --samplers, against the
training images or --reference. What is drawn is kept in the model's folder: a killed command goes on, and more
samples begin with those. --samples scores an .npz of images instead, which need not be a model's of this project.

Every result is a line of results.jsonl in MODEL_DIR or in --output_dir.
"""

import dataclasses
import math
import sys

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.models import model_dir
from trainers.cli import command


@dataclasses.dataclass(frozen=True)
class Options(model_dir.EnsembleOptions):
  nll: bool = settings.setting(False, "the negative log-likelihood's bound")
  fid: bool = settings.setting(False, "the Fréchet distance of features")
  sfid: bool = settings.setting(False, "the same of spatial features")
  inception_score: bool = settings.setting(False, "of the features' classifier")
  precision_recall: bool = settings.setting(False, "improved precision and recall, k = 3 and 5")
  features: str | None = settings.setting(
    None,
    "whose features: 'digits', the path of the Inception graph, or a SavedModel's folder; unset: "
    "digits for 8x8 images of one channel",
  )
  reference: str | None = settings.setting(
    None,
    "an .npz of trainers.reference_stats or in the authors' layout; unset: the model's training images",
  )
  samples: str | None = settings.setting(
    None, "score the images of this .npz (arr_0) instead of drawing some"
  )
  output_dir: str | None = settings.setting(
    None, "where results go; unset: MODEL_DIR, and MODEL_DIR/evaluations for those of --nll in full"
  )
  split: str = settings.setting("test", "of the data", choices=("test", "train"))
  num_examples: int = settings.setting(0, "the first so many images; 0: all")
  nll_steps: int = settings.setting(
    0, "evaluate at so many timesteps (Appendix E); 0: at every one"
  )
  nll_schedule: str = settings.setting(
    "dense_start",
    "which timesteps, with --nll_steps: evenly strided, or also every t up to T/K",
    choices=("dense_start", "strided"),
  )
  nll_stderr: float | None = settings.setting(
    None,
    "estimate the sum over all timesteps from a part of them, up to this standard error of the "
    "estimate in bits/dim; unset: the sum itself",
  )
  decoder: str | None = settings.setting(
    None,
    "the Gaussian CDF in L_0; tanh is the authors' approximation, to compare with their "
    "numbers; unset: the model's",
    choices=("exact", "tanh"),
  )
  seed: int = settings.setting(0, "of the noise; samples of two seeds have none in common")
  batch_size: int = settings.setting(100, "images at a time")

  def __post_init__(self):
    chosen = [name for name in ("nll", *config_lib.SCORES) if getattr(self, name)]
    settings.require(
      chosen, "nll", f"a score to compute: --nll, --{', --'.join(config_lib.SCORES)}", None
    )
    for name in ("features", "reference", "samples"):
      settings.require(
        getattr(self, name) is None or set(chosen) - {"nll"},
        name,
        "nothing without a score of samples, such as --fid",
        getattr(self, name),
      )
    settings.require(
      not (self.samples and self.nll),
      "samples",
      "nothing with --nll, which is of a model",
      self.samples,
    )
    settings.require(self.batch_size > 0, "batch_size", "a positive number", self.batch_size)
    settings.require_seed(self.seed)
    for name in ("num_examples", "nll_steps"):
      settings.require(
        getattr(self, name) >= 0, name, "a number of at least 0", getattr(self, name)
      )
    settings.require(
      self.nll_steps or self.nll_schedule == "dense_start",
      "nll_schedule",
      "nothing without --nll_steps",
      self.nll_schedule,
    )
    if self.nll_stderr is not None:
      settings.require(
        1e-6 <= self.nll_stderr < math.inf,
        "nll_stderr",
        "a number of at least 1e-06",
        self.nll_stderr,
      )
      settings.require(
        self.nll and not self.nll_steps,
        "nll_stderr",
        "no value without --nll, or with --nll_steps, since it estimates the sum over all timesteps",
        self.nll_stderr,
      )


def main(options, flag_values):
  config = None
  if options.model_dir or not options.samples:
    config = model_dir.trained_config(options, flag_values)
    settings.require(
      options.nll_steps <= config.diffusion.diffusion_steps,
      "nll_steps",
      f"at most the model's {config.diffusion.diffusion_steps}",
      options.nll_steps,
    )
  _require_scores_fit(options, config)
  _require_of_use(options, flag_values)
  command.load_tensorflow()
  works = []  # All of them are checked before the first begins.
  if options.nll:
    from iddpm_tf.evaluation.nll import full_sum as nll

    works.append(nll.prepared(config, options))
  if any(getattr(options, name) for name in config_lib.SCORES):
    from iddpm_tf.evaluation import scoring

    works.append(scoring.prepared(config, options))
  for work in works:
    work()
  return 0


def _require_scores_fit(options, config):
  """Of settings that can be known to be wrong before TensorFlow loads."""
  wanted = any(getattr(options, name) for name in config_lib.SCORES)
  if config and wanted and not options.samples:
    settings.require(
      not config.low_res_shape,
      "samples",
      "an .npz of images for a super-resolution model, since it draws none "
      "from noise alone: trainers.sample --base_samples=FILE.npz makes one",
      None,
    )


def _require_of_use(options, flag_values):
  """Settings that would change nothing are refused."""
  unused = {}
  if options.samples:
    unused |= dict.fromkeys(
      (
        "num_samples",
        "samplers",
        "seed",
        "ema",
        "best",
        "fixed_variance",
        "ensemble_dir",
        "ensemble_steps",
        "ensemble_ema",
        "clip_denoised",
      ),
      "--samples, which are given",
    )
  if not options.nll:
    unused |= dict.fromkeys(
      ("split", "num_examples", "nll_steps", "nll_schedule", "decoder"), "anything but --nll"
    )
  for name, why in unused.items():
    settings.require(
      not flag_values[name].present, name, f"nothing with {why}", flag_values[name].value
    )


if __name__ == "__main__":
  sys.exit(command.run(main, Options, __doc__))
