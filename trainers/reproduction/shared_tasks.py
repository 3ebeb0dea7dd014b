"""The tasks that several experiments share, made from the settings of a scale.

A task that only one experiment needs is made in the experiment's module.
"""

from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses
import pathlib

from trainers.reproduction import scales
from trainers.reproduction import tasks


def mid_training(training: tasks.TrainingTask) -> tasks.MidTrainingTask:
  """Returns the model of a training in its middle."""
  return tasks.MidTrainingTask(
    _with_kind(training.name, "mid"),
    training.flagfile,
    training.flags,
    train_steps=training.kept_step,
    whole=training,
  )


def variant(
  training: tasks.TrainingTask,
  kind: str,
  flags: Sequence[str],
  train_steps: int | None = None,
) -> tasks.TrainingTask:
  """Returns a training that differs from another one in some settings.

  Args:
    training: the other training.
    kind: what to add to its name.
    flags: the flags to add.
    train_steps: the training steps, if they differ.
  """
  return tasks.TrainingTask(
    _with_kind(training.name, kind),
    training.flagfile,
    (*training.flags, *flags),
    train_steps or training.train_steps,
  )


def all_steps_training(scale: scales.Scale, row: scales.Row, seed: int) -> tasks.TrainingTask:
  """Returns the training of a model that is sampled by all of its timesteps.

  At the small scale, it has fewer of them than the models of Table 2: with so many, importance
  sampling of t would not begin in so short a training.
  """
  training = scale.fid_models.training(row, seed)
  if scale.has_paper_models:
    return training
  steps = scale.noise_scale.diffusion_steps
  return dataclasses.replace(
    training,
    name=training.name.replace("_4k_", f"_{steps}_"),
    flags=(*training.flags, f"--diffusion_steps={steps}"),
    kept_step=0,
  )


def _with_kind(name: str, kind: str) -> str:
  return name.replace("_seed", f"_{kind}_seed")


def evaluated_in_training(
  scale: scales.Scale,
  training: tasks.TrainingTask,
  kind: str,
  flags: Sequence[str],
  *,
  train_steps: int,
  evaluations: int,
) -> tasks.TrainingTask:
  """Returns a variant of a training whose model is evaluated several times in training.

  Args:
    scale: the scale.
    training: the training to vary.
    kind: what to add to the name.
    flags: the flags to add.
    train_steps: the training steps of the variant.
    evaluations: how often the model is evaluated.
  """
  features = (f"--eval_features={scale.fid.features}",) if scale.fid.features else ()
  every = f"--eval_every={train_steps // evaluations}"
  return variant(training, kind, (*flags, every, *scale.eval_flags, *features), train_steps)


def evaluation(
  kind: str,
  training: tasks.TrainingTask,
  flags: Sequence[str],
  ensemble_with: tasks.TrainingTask | None = None,
  enlarged_by: tasks.TrainingTask | None = None,
) -> tasks.EvaluationTask:
  """Returns an evaluation of a model, or of two that work together.

  It draws its noise from the seed of the training. With one seed for all models, the confidence
  intervals over the seeds would leave out what the noise contributes.

  Args:
    kind: what to add to the training's name.
    training: the model's training.
    flags: flags of `trainers.evaluate`.
    ensemble_with: the training of the second model of an ensemble.
    enlarged_by: the training of a model that enlarges the images.
  """
  # Seed 0 is the command's default.
  seed = [flag for flag in training.flags if flag.startswith("--seed=") and flag != "--seed=0"]
  return tasks.EvaluationTask(
    f"{training.name}_{kind}", training, (*flags, *seed), ensemble_with, enlarged_by
  )


def nll(
  scale: scales.Scale, training: tasks.TrainingTask, *, close: bool = False
) -> tasks.EvaluationTask:
  """Returns the evaluation of bits/dim of test images.

  Args:
    scale: the scale.
    training: the model's training.
    close: whether the model is compared with others that have almost the same bits/dim.
  """
  flags = scale.likelihood.nll_flags
  if close and scale.likelihood.close_nll_flags:
    flags = scale.likelihood.close_nll_flags
  return evaluation("nll", training, flags)


def terms(scale: scales.Scale, training: tasks.TrainingTask) -> tasks.EvaluationTask:
  """Returns the evaluation of every term of the bound."""
  return evaluation("terms", training, scale.likelihood.terms_flags)


def fid(
  scale: scales.Scale,
  kind: str,
  training: tasks.TrainingTask,
  samplers: Sequence[str],
  flags: Sequence[str] = (),
  enlarged_by: tasks.TrainingTask | None = None,
  num_samples: int | None = None,
) -> tasks.EvaluationTask:
  """Returns the evaluation of FID by each of several samplers.

  Args:
    scale: the scale.
    kind: what distinguishes the evaluation from others of the model's FID.
    training: the model's training.
    samplers: the samplers, as the flag `--samplers` takes them.
    flags: the flags to add.
    enlarged_by: the training of a model that enlarges the images.
    num_samples: the samples, if they are not those of the scale.
  """
  return evaluation(
    f"fid_{kind}",
    training,
    (
      "--fid",
      f"--samplers={','.join(samplers)}",
      f"--num_samples={num_samples or scale.fid.num_samples}",
      *flags,
      *features_flags(scale),
    ),
    enlarged_by=enlarged_by,
  )


def all_steps_sampler(scale: scales.Scale, row: scales.Row) -> str:
  """Returns the sampler that takes all timesteps of a row's model.

  The paper's rows name the number, so that experiments share the samples of one name.
  """
  return f"ancestral:{row.steps}" if scale.has_paper_models else "ancestral"


def all_steps_fid(
  scale: scales.Scale, row: scales.Row, seed: int, *flags: str
) -> tasks.EvaluationTask:
  """Returns the evaluation of FID by all timesteps of the model of `all_steps_training`."""
  kind = "_".join(["all_steps", *(flag.partition("=")[2] for flag in flags)])
  training = all_steps_training(scale, row, seed)
  return fid(scale, kind, training, [all_steps_sampler(scale, row)], (*flags, "--fid_infinity"))


def largest_error(evaluations: Iterable[tasks.EvaluationTask], output: pathlib.Path) -> str:
  """Returns a sentence on the standard error of FID of infinitely many samples."""
  errors = [
    error
    for evaluation in evaluations
    for error in evaluation.scores(output, "fid_infinity_standard_error").values()
  ]
  return (
    f"One seed's FID of infinitely many samples has a standard error of at most {max(errors):.2g}."
  )


def features_flags(scale: scales.Scale) -> tuple[str, ...]:
  """Returns the flags of `trainers.evaluate` for the scale's feature extractor."""
  return (f"--features={scale.fid.features}",) if scale.fid.features else ()


def sample_grid(scale: scales.Scale, training: tasks.TrainingTask) -> tasks.SamplingTask:
  """Returns the sampling of a grid of images."""
  return tasks.SamplingTask(f"{training.name}_samples", training, grid_flags(scale))


def grid_flags(scale: scales.Scale) -> tuple[str, ...]:
  """Returns the flags of `trainers.sample` for a grid of images."""
  return f"--samplers={scale.sampler}", "--num_samples=36"
