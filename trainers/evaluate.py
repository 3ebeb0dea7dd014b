"""Scores a trained model, or images in a file.

  python -m trainers.evaluate --model_dir=runs/digits --nll --fid

--nll evaluates the variational bound of the test images in bits per dimension, and writes every
term to a JSON file and a plot (Figure 2). With --nll_stderr, the bound is estimated from a part of
its terms.

--fid, --fid_infinity, --kid, --sfid, --inception_score and --precision_recall draw --num_samples
images by each of --samplers, and compare them with the training images or with --reference. The
images are kept in the model folder: a command that was stopped continues with them, and so does one
with more samples. With --upsampler_dir, a super-resolution model enlarges them (Appendix C), and
its training images are the reference unless --reference names another.
--samples scores images of any program in place of a model's: an .npz or .npy file, a picture, a
folder of pictures, or records. With --nll, these are the images whose bound is evaluated.

Every result is a line of results.jsonl in the model folder or in --output_dir.
"""

import dataclasses
import pathlib
import sys
from typing import TYPE_CHECKING
from typing import Any

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.data import image_files
from iddpm_tf.evaluation import config as evaluation_config
from iddpm_tf.evaluation.nll import config as nll_config
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.utils import cluster
from iddpm_tf.utils import progress as progress_lib
from trainers.cli import command
from trainers.cli import model_options

if TYPE_CHECKING:
  from iddpm_tf.models import trained_model

_NLL_FLAGS = ("split", "num_examples", "nll_steps", "nll_schedule", "nll_stderr", "decoder")


@dataclasses.dataclass(frozen=True)
class _ScoreOptions(
  model_options.UpsamplerOptions, model_options.EnsembleOptions, model_options.ClassifierOptions
):
  """Flags that choose scores and what they compare."""

  model_dir: str | None = settings.setting(None, "folder of the run; required without --samples")
  nll: bool = settings.setting(False, "the bound on the negative log-likelihood")
  fid: bool = settings.setting(False, "the Fréchet distance between features (FID)")
  fid_infinity: bool = settings.setting(
    False, "FID extrapolated to infinitely many samples, so that it does not depend on num_samples"
  )
  sfid: bool = settings.setting(False, "the Fréchet distance between spatial features (sFID)")
  inception_score: bool = settings.setting(
    False, "the Inception Score, by the classifier of the features"
  )
  precision_recall: bool = settings.setting(False, "improved precision and recall, k = 3 and 5")
  kid: bool = settings.setting(False, "the kernel distance between features (KID)")
  features: str | None = settings.setting(None, evaluation_config.FEATURES_HELP)
  reference: str | None = settings.setting(
    None,
    "an .npz file of reference_stats, or in the authors' layout; or real images, as for samples; "
    "unset: the training images of the model",
  )
  samples: str | None = settings.setting(
    None,
    "images to score: an .npz file (arr_0, and labels as arr_1), an .npy file, a picture, a folder "
    "of pictures, or records; unset: draw images, and evaluate nll of the model's data",
  )
  output_dir: str | None = settings.setting(
    None,
    "folder of the results; unset: the model folder, and its evaluations/ for files of --nll",
  )


@dataclasses.dataclass(frozen=True)
class Options(nll_config.NllConfig, _ScoreOptions):
  """Flags of the command."""

  decoder: str | None = settings.setting(
    None,
    "Gaussian CDF in L_0; tanh is the authors' approximation, for comparison with their numbers; "
    "unset: the model's",
    choices=("exact", "tanh"),
  )
  seed: int = settings.setting(0, "seed of the noise; samples of two seeds have no image in common")

  def __post_init__(self) -> None:
    """Checks the values, and raises `InputError` for a wrong one."""
    for base in (
      nll_config.NllConfig,
      model_options.EnsembleOptions,
      model_options.UpsamplerOptions,
    ):
      base.__post_init__(self)
    if not self.nll and not self.scores:
      names = ", ".join(f"--{name}" for name in ("nll", *config_lib.SCORES))
      raise settings.InputError("nll", f"expected a score to compute ({names}), received none")
    if self.samples and self.nll and not self.model_dir:
      raise settings.InputError("nll", "requires --model_dir")
    if self.samples and self.upsampler_dir:
      raise settings.InputError("upsampler_dir", "cannot be combined with --samples")
    if self.samples and self.split != "test":
      raise settings.InputError("split", "cannot be combined with --samples")
    _require_together(self, self.nll, _NLL_FLAGS, "--nll")
    _require_together(
      self,
      self.scores,
      ("features", "reference", "upsampler_dir"),
      "a score of samples, such as --fid",
    )
    if self.samples:
      self._require_fit_of_samples()

  @property
  def scores(self) -> tuple[str, ...]:
    """The names of the scores of samples."""
    return tuple(name for name in config_lib.SCORES if getattr(self, name))

  def nll_config(self) -> nll_config.NllConfig:
    """Returns how the bound is evaluated."""
    names = settings.by_name(nll_config.NllConfig)
    return nll_config.NllConfig(**{name: getattr(self, name) for name in names})

  def scoring_config(self) -> evaluation_config.ScoringConfig:
    """Returns how samples are scored."""
    return evaluation_config.ScoringConfig(
      self.scores, self.features, self.reference, seed=self.seed, batch_size=self.batch_size
    )

  def _require_fit_of_samples(self) -> None:
    if self.nll:
      return
    of_models = model_options.EnsembleOptions, model_options.ClassifierOptions
    for name in ("seed", *settings.by_name(*of_models)):
      if name != "model_dir" and name in settings.changed(self):
        raise settings.InputError(name, "cannot be combined with --samples")
    if self.model_dir:
      return
    if self.scores != ("inception_score",) and not self.reference:
      message = "expected a file of real images or of their statistics, because there is no"
      raise settings.InputError("reference", f"{message} --model_dir, received none")
    if not self.output_dir:
      message = "expected a folder for the results, because there is no --model_dir, received none"
      raise settings.InputError("output_dir", message)


def main(options: Options, given: dict[str, Any]) -> int:
  """Checks everything, and then evaluates."""
  run = _run(options, given)
  for name in ("samples", "reference"):
    path = getattr(options, name)
    settings.require(path is None or pathlib.Path(path).exists(), name, image_files.KINDS, path)
  workers = cluster.from_environment()
  if options.samples and options.scores:
    cluster.require_alone("scores of images of one's own")
  command.load_tensorflow()
  from iddpm_tf.evaluation import sample_evaluation
  from iddpm_tf.evaluation.nll import evaluation as nll_evaluation

  progress = progress_lib.Console()
  evaluations: list[nll_evaluation.NllEvaluation | sample_evaluation.SampleEvaluation] = []
  output_dir = options.output_dir
  if options.samples and options.scores:
    evaluations.append(
      sample_evaluation.prepare_file(
        options.samples,
        options.scoring_config(),
        run=run,
        output_dir=output_dir,
        progress=progress,
      )
    )
  draws = bool(options.scores) and not options.samples
  if options.nll or draws:
    model = model_options.load_model(options, given, all_devices=draws, progress=progress).trained
    if options.nll:
      decoded = _with_decoder(model, options.decoder)
      evaluations.append(
        nll_evaluation.NllEvaluation(
          decoded,
          options.nll_config(),
          images=options.samples,
          output_dir=output_dir,
          workers=workers,
          progress=progress,
        )
      )
    if draws:
      enlarging = model_options.load_enlarging(options, given, progress=progress)
      evaluations.append(
        sample_evaluation.prepare_model(
          model,
          options.scoring_config(),
          upsampler=enlarging and (enlarging.upsampler.trained, enlarging.sampler),
          output_dir=output_dir,
          workers=workers,
          progress=progress,
        )
      )
  for evaluation in evaluations:
    evaluation.run()
  return 0


def _run(
  options: Options, given: dict[str, Any]
) -> tuple[model_dir_lib.ModelDir, config_lib.Config] | None:
  """Returns the model folder and its configuration, after all checks that need no TensorFlow."""
  if options.samples:
    for name in settings.by_name(config_lib.SamplingConfig):
      # Clipping also belongs to the reverse process that the bound is of.
      if name in given and not (options.nll and name == "clip_denoised"):
        raise settings.InputError(name, "cannot be combined with --samples")
    if not options.model_dir:
      return None
  config = model_options.model_config(options, given)
  model_options.upsampler_config(options, config)  # Checks that both fit together.
  nll_config.require_steps(options.nll_steps, config.diffusion.diffusion_steps)
  if config.low_res_shape and options.scores and not options.samples:
    raise settings.InputError(
      "samples",
      "expected an .npz file of images, because a super-resolution model draws none from noise "
      "alone, received none; trainers.sample --base_samples=FILE.npz makes one",
    )
  return options.folder(), config


def _require_together(
  options: Options, condition: object, names: tuple[str, ...], required: str
) -> None:
  """Raises an `InputError` for a flag that changes nothing without another one."""
  for name in names:
    if not condition and name in settings.changed(options):
      raise settings.InputError(name, f"requires {required}")


def _with_decoder(
  model: "trained_model.TrainedModel", decoder: str | None
) -> "trained_model.TrainedModel":
  if decoder is None:
    return model
  return dataclasses.replace(model, config=model.config.with_settings(decoder=decoder))


COMMAND = command.Command(
  main,
  Options,
  __doc__,
  help_sections=("data", "sampling"),
  default_source="the model folder",
)

if __name__ == "__main__":
  sys.exit(COMMAND.run())
