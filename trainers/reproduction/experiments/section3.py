"""Section 3: what the text says of variances and objectives, without a figure."""

from collections.abc import Sequence
import pathlib

import numpy as np

from iddpm_tf.models import model_dir
from trainers.reproduction import claims
from trainers.reproduction import curves
from trainers.reproduction import experiments
from trainers.reproduction import scales
from trainers.reproduction import sections
from trainers.reproduction import shared_tasks
from trainers.reproduction import tasks
from trainers.reproduction.experiments import base
from trainers.reproduction.experiments import fig7

_SIMPLE, _HYBRID, _VLB = scales.COSINE_SIMPLE, scales.COSINE_HYBRID, scales.COSINE_VLB
# Two values are alike, or a gain is none, if they differ by less than this part.
_NEAR = 0.1
_OUTSIDE = 0.01  # The share of v outside [0, 1] that is still called none.
_BETA_TILDE = "--fixed_variance=fixed_small"


@experiments.EXPERIMENTS.register("section3")
class Section3(base.Experiment):
  """Bits/dim and FID of models that differ in their variance or in their objective."""

  title = "Section 3: statements on variances and objectives"
  claims = (15, 16, 17, 18, 19)

  def needs(self, scale: scales.Scale) -> Sequence[tasks.Task]:
    """Returns the evaluations of all models and seeds."""
    return [task for seed in scale.seeds for task in _evaluations(scale, seed).values()]

  def show(self, scale: scales.Scale, output: pathlib.Path) -> sections.Section:
    """Returns bits/dim, FID and the share of v outside its range, and claims 15 to 19."""
    by_seed = [_evaluations(scale, seed) for seed in scale.seeds]
    values = {
      name: np.array([_value(each[name], output, _score(name)) for each in by_seed])
      for name in by_seed[0]
    }
    outside = {
      data: np.array([_share_outside(training.folder(output)) for training in trainings])
      for data, trainings in _trainings_with_v(scale).items()
    }
    rows = [
      *(
        (name, "bits/dim" if _score(name) == "nll" else "FID of infinitely many samples", array)
        for name, array in values.items()
      ),
      *(
        (f"L_hybrid: {data}", "share of v outside [0, 1]", array) for data, array in outside.items()
      ),
    ]
    table = sections.Table(
      ("model", "score", "average over the seeds", "of each seed"),
      tuple(
        (name, score, float(array.mean()), ", ".join(f"{value:.3f}" for value in array))
        for name, score, array in rows
      ),
      "Cosine schedule. "
      + shared_tasks.largest_error(
        (task for each in by_seed for name, task in each.items() if _score(name) != "nll"), output
      ),
    )
    return sections.Section(
      f"Bits/dim are those of {scale.likelihood_models.data}: the model whose log-variance is the "
      "output of the network (--variance_type=learned) is trained as the one of Table 2 whose "
      "output is between both fixed variances (Eq. 15), and every term of the bound of the same "
      "images is evaluated for both; those with importance sampling of t are "
      f"trained as in Figure 7. {_about_fid(scale)} The share of v outside its range is that in "
      "all steps of the sample grid at the end of training.",
      tables=(table,),
      claims=judge(values, outside),
    )


def _evaluations(scale: scales.Scale, seed: int) -> dict[str, tasks.EvaluationTask]:
  """Returns the evaluations of one seed by what they evaluate."""
  return {
    # Every term of the same images: sampled terms of the log-variance scatter too much.
    "Eq. 15": shared_tasks.terms(scale, scale.likelihood_models.training(_HYBRID, seed)),
    "log-variance": shared_tasks.terms(scale, _direct_training(scale, seed)),
    **{objective: fig7.nll(scale, objective, seed) for objective in fig7.OBJECTIVES},
    "L_hybrid (resampled)": shared_tasks.nll(scale, _resampled_training(scale, seed)),
    "FID: L_hybrid": shared_tasks.all_steps_fid(scale, _HYBRID, seed),
    "FID: L_vlb": shared_tasks.all_steps_fid(scale, _VLB, seed),
    "FID: L_simple, beta": shared_tasks.all_steps_fid(scale, _SIMPLE, seed),
    "FID: L_simple, beta tilde": shared_tasks.all_steps_fid(scale, _SIMPLE, seed, _BETA_TILDE),
  }


def _value(task: tasks.EvaluationTask, output: pathlib.Path, score: str) -> float:
  """Returns a score of an evaluation, which has one result."""
  (result,) = task.results(output).values()
  return result["scores"][score]


def _score(name: str) -> str:
  return "fid_infinity" if name.startswith("FID") else "nll"


def _direct_training(scale: scales.Scale, seed: int) -> tasks.TrainingTask:
  """Returns the training of a model whose network says the log-variance itself."""
  training = scale.likelihood_models.training(_HYBRID, seed)
  return shared_tasks.variant(training, "log_variance", ("--variance_type=learned",))


def _resampled_training(scale: scales.Scale, seed: int) -> tasks.TrainingTask:
  """Returns the training of L_hybrid with importance sampling of t."""
  training = fig7.training(scale, fig7.HYBRID, seed)
  return shared_tasks.variant(training, "resampled", ("--timestep_sampler=loss_second_moment",))


def _trainings_with_v(scale: scales.Scale) -> dict[str, list[tasks.TrainingTask]]:
  """Returns the trainings of L_hybrid of each seed, by the data: of bits/dim, and of FID."""
  models = scale.likelihood_models
  trainings = {models.data: [models.training(_HYBRID, seed) for seed in scale.seeds]}
  if not scale.has_paper_models:
    trainings[scale.fid_models.data] = [
      shared_tasks.all_steps_training(scale, _HYBRID, seed) for seed in scale.seeds
    ]
  return trainings


def _share_outside(folder: pathlib.Path) -> float:
  """Returns the share of v outside [0, 1] in the last sample grid of the first moving average."""
  rate = model_dir.ModelDir(folder).require_config().training.ema[0]
  _, shares = curves.scalars(folder, f"samples_v_out_of_range/ema_{rate}")
  return float(shares[-1])


def _about_fid(scale: scales.Scale) -> str:
  if scale.has_paper_models:
    return "FID is that of the models of Table 2, by all timesteps."
  return (
    f"FID is that of {scale.fid_models.data}, with T = {scale.noise_scale.diffusion_steps} and by "
    "all timesteps."
  )


def judge(
  values: dict[str, np.ndarray], outside: dict[str, np.ndarray]
) -> tuple[claims.Claim, ...]:
  """Judges claims 15 to 19.

  Args:
    values: bits/dim and FID of each seed, by what was evaluated.
    outside: the share of v outside [0, 1] of each seed, by the data.
  """
  same_seed = "FID of infinitely many samples by all timesteps, of models of the same seed"
  beta, beta_tilde = values["FID: L_simple, beta"], values["FID: L_simple, beta tilde"]
  gains = {
    objective: values[objective] - values[f"{objective} (resampled)"]
    for objective in ("L_hybrid", "L_vlb")
  }
  return (
    claims.Claim(
      15,
      "L_vlb costs sample quality.",
      (
        claims.paired(
          "FID of L_vlb minus that of L_hybrid",
          values["FID: L_vlb"],
          values["FID: L_hybrid"],
          same_seed,
        ),
      ),
    ),
    claims.Claim(
      16,
      "Importance sampling of t does not help L_hybrid.",
      (
        claims.over_seeds(
          "it lowers the bits/dim of L_hybrid by less than a tenth of what it lowers L_vlb's",
          _NEAR * gains["L_vlb"] - gains["L_hybrid"],
          f"{_NEAR} times the difference in bits/dim without and with importance sampling for "
          "L_vlb, minus that for L_hybrid",
        ),
      ),
    ),
    claims.Claim(
      17,
      "With all timesteps, the fixed variances beta and beta tilde sample alike.",
      (
        claims.over_seeds(
          "their FIDs differ by less than a tenth",
          _NEAR * (beta + beta_tilde) / 2 - np.abs(beta - beta_tilde),
          f"{_NEAR} times the mean of both, minus the absolute difference; {same_seed}",
        ),
      ),
    ),
    claims.Claim(
      18,
      "v stays between 0 and 1, although nothing keeps it there.",
      tuple(
        claims.over_seeds(
          f"{data}: less than {_OUTSIDE:.0%} of v is outside",
          _OUTSIDE - shares,
          f"{_OUTSIDE} minus the share of v outside [0, 1] in all sampling steps; the samples of "
          "all seeds begin with the same noise",
        )
        for data, shares in outside.items()
      ),
    ),
    claims.Claim(
      19,
      "The variance is learned better between both fixed variances (Eq. 15) than directly.",
      (
        claims.paired(
          "bits/dim with the log-variance as the output, relative to those with Eq. 15",
          np.log10(values["log-variance"]),
          np.log10(values["Eq. 15"]),
          "the decimal logarithm of the ratio, from every term of the bound of the same images, "
          "for models of the same seed",
        ),
      ),
    ),
  )
