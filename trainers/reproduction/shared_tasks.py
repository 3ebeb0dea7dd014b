"""The tasks that several experiments share, made from the settings of a scale.

A task that only one experiment needs is made in the experiment's module.
"""

from collections.abc import Sequence
import dataclasses

from trainers.reproduction import scales
from trainers.reproduction import tasks


def mid_training(scale: scales.Scale, training: tasks.TrainingTask) -> tasks.TrainingTask:
  """Returns a training that stops earlier, at the part of training that the scale says.

  The learning rate is constant, so this is the same model at an earlier step.
  """
  return dataclasses.replace(
    training,
    name=training.name.replace("_seed", "_mid_seed"),
    train_steps=round(scale.mid_training * training.train_steps),
  )


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
  every = (f"--eval_every={train_steps // evaluations}",)
  return dataclasses.replace(
    training,
    name=training.name.replace("_seed", f"_{kind}_seed"),
    train_steps=train_steps,
    flags=(*training.flags, *flags, *every, *scale.eval_flags, *features),
  )


def evaluation(
  kind: str,
  training: tasks.TrainingTask,
  flags: Sequence[str],
  ensemble_with: tasks.TrainingTask | None = None,
) -> tasks.EvaluationTask:
  """Returns an evaluation of a model, or of an ensemble of two models.

  It draws its noise from the seed of the training. With one seed for all models, the confidence
  intervals over the seeds would leave out what the noise contributes.

  Args:
    kind: what to add to the training's name.
    training: the model's training.
    flags: flags of `trainers.evaluate`.
    ensemble_with: the training of the second model of an ensemble.
  """
  # Seed 0 is the command's default.
  seed = [flag for flag in training.flags if flag.startswith("--seed=") and flag != "--seed=0"]
  return tasks.EvaluationTask(f"{training.name}_{kind}", training, (*flags, *seed), ensemble_with)


def nll(scale: scales.Scale, training: tasks.TrainingTask) -> tasks.EvaluationTask:
  """Returns the evaluation of bits/dim of test images."""
  return evaluation("nll", training, scale.likelihood.nll_flags)


def terms(scale: scales.Scale, training: tasks.TrainingTask) -> tasks.EvaluationTask:
  """Returns the evaluation of every term of the bound."""
  return evaluation("terms", training, scale.likelihood.terms_flags)


def fid(
  scale: scales.Scale,
  kind: str,
  training: tasks.TrainingTask,
  samplers: Sequence[str],
  flags: Sequence[str] = (),
) -> tasks.EvaluationTask:
  """Returns the evaluation of FID by each of several samplers.

  Args:
    scale: the scale.
    kind: what distinguishes the evaluation from others of the model's FID.
    training: the model's training.
    samplers: the samplers, as the flag `--samplers` takes them.
    flags: the flags to add.
  """
  return evaluation(
    f"fid_{kind}",
    training,
    (
      "--fid",
      f"--samplers={','.join(samplers)}",
      f"--num_samples={scale.fid.num_samples}",
      *flags,
      *features_flags(scale),
    ),
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
