"""Figure 16: overfitting with either schedule."""

from collections.abc import Mapping
from collections.abc import Sequence
import pathlib
from typing import Any

import matplotlib.axes
import numpy as np

from trainers.reproduction import claims
from trainers.reproduction import curves
from trainers.reproduction import experiments
from trainers.reproduction import scales
from trainers.reproduction import sections
from trainers.reproduction import shared_tasks
from trainers.reproduction import tasks
from trainers.reproduction.experiments import base

_ROWS = (scales.LINEAR_HYBRID, scales.COSINE_HYBRID)
_DROPOUT = 0.1  # With both schedules.
# The label of each panel, and the scores that it shows with the ends of their labels.
_PANELS = {"FID": {"fid": ""}, "NLL (bits/dim)": {"nll": " (test)", "nll_train": " (train)"}}
_SCORES = tuple(score for panel in _PANELS.values() for score in panel)


@experiments.EXPERIMENTS.register("fig16")
class Figure16(base.Experiment):
  """Scores throughout long trainings."""

  title = "Figure 16: overfitting"
  claims = (13, 23)

  def needs(self, scale: scales.Scale) -> Sequence[tasks.Task]:
    """Returns a training for each schedule and seed."""
    return [_training(scale, row, seed) for row in _ROWS for seed in scale.seeds]

  def show(self, scale: scales.Scale, output: pathlib.Path) -> sections.Section:
    """Returns the scores by the training step, and claims 13 and 23."""
    by_training = {
      (row.schedule, seed): curves.scores(_training(scale, row, seed).folder(output))
      for row in _ROWS
      for seed in scale.seeds
    }
    steps = sorted(set.intersection(*map(set, by_training.values())))
    # {score: {schedule: [seeds, steps]}}
    values = {
      score: {
        row.schedule: np.array(
          [[by_training[row.schedule, seed][step][score] for step in steps] for seed in scale.seeds]
        )
        for row in _ROWS
      }
      for score in _SCORES
    }

    def draw(*axes: matplotlib.axes.Axes) -> None:
      for axis, (label, panel) in zip(axes, _PANELS.items()):
        for score, suffix in panel.items():
          line = "--" if score == "nll_train" else "-"
          for i, (schedule, by_seed) in enumerate(values[score].items()):
            style: dict[str, Any] = {"color": f"C{i}", "marker": "o", "markersize": 3}
            axis.plot(steps, by_seed.mean(axis=0), line, label=schedule + suffix, **style)
        axis.set(xlabel="training step", ylabel=label)
        axis.legend()

    rows = tuple(
      (
        step,
        *(float(values[score][row.schedule][:, i].mean()) for score in _SCORES for row in _ROWS),
      )
      for i, step in enumerate(steps)
    )
    columns = (
      "step",
      *(
        f"{label.partition(' ')[0]}{suffix}, {row.schedule}"
        for label, panel in _PANELS.items()
        for suffix in panel.values()
        for row in _ROWS
      ),
    )
    count = scale.overfitting.max_examples
    return sections.Section(
      f"Models of {scale.fid_models.data}, trained with L_hybrid, T = 4000, and dropout {_DROPOUT} "
      "with both schedules, and evaluated in training (--eval_every). NLL of the test images and "
      "of the training images is estimated from a hundred timesteps. Claim 13 is judged by the "
      "test images."
      + (f" They are trained on {count:,} images, so that they overfit soon." if count else ""),
      figures=(
        sections.plot(draw, "Scores throughout training, averaged over the seeds.", columns=2),
      ),
      tables=(sections.Table(columns, rows, "Averages over the seeds."),),
      claims=judge(np.array(steps), values["nll"], values["fid"]),
    )


def _training(scale: scales.Scale, row: scales.Row, seed: int) -> tasks.TrainingTask:
  return shared_tasks.evaluated_in_training(
    scale,
    scale.fid_models.training(row, seed),
    "overfitting",
    (
      f"--dropout={_DROPOUT}",
      f"--eval_scores={','.join(_SCORES)}",
      *_subset(scale),
    ),
    train_steps=scale.overfitting.train_steps,
    evaluations=scale.overfitting.evaluations,
  )


def _subset(scale: scales.Scale) -> tuple[str, ...]:
  """Returns the flag that trains on some of the images, if the scale does."""
  count = scale.overfitting.max_examples
  return (f"--max_examples={count}",) if count else ()


def judge(
  steps: np.ndarray, nll: Mapping[str, np.ndarray], fid: Mapping[str, np.ndarray]
) -> tuple[claims.Claim, ...]:
  """Judges claims 13 and 23.

  Args:
    steps: the training steps of the evaluations, int `[steps]`.
    nll: the NLL of the test images with the schedules "linear" and "cosine", float
      `[seeds, steps]`.
    fid: FID, likewise.
  """
  best = {schedule: best_steps(steps, values) for schedule, values in nll.items()}
  best_of_others = "at the step where the average of the other seeds is lowest"
  return (
    claims.Claim(
      13,
      "The cosine schedule overfits sooner than the linear one.",
      (
        claims.paired(
          "the step of the best test NLL: linear minus cosine",
          best["linear"],
          best["cosine"],
          "the steps with the lowest NLL of the test images, in trainings of the same seed: where "
          "the parabola through the lowest value and its neighbours is lowest",
        ),
        claims.over_seeds(
          "cosine overfits at all",
          nll["cosine"][:, -1] - claims.best_of_others(nll["cosine"]),
          f"the NLL of the test images at the end, minus that {best_of_others}",
        ),
      ),
    ),
    claims.Claim(
      23,
      "With the cosine schedule, FID becomes worse in the end, so that training has to stop early "
      "(Appendices F and G).",
      (
        claims.over_seeds(
          "the increase of FID after the best step",
          fid["cosine"][:, -1] - claims.best_of_others(fid["cosine"]),
          f"FID at the end, minus that {best_of_others}",
        ),
      ),
    ),
  )


def best_steps(steps: np.ndarray, scores: np.ndarray) -> np.ndarray:
  """Returns the training step at which each seed's score is lowest, between evaluations, too.

  It is where the parabola through the lowest score and both neighbours is lowest. A score that is
  lowest at an end of the training gives that end.

  Args:
    steps: the training steps of the evaluations at equal distances, `[steps]`.
    scores: float `[seeds, steps]`.

  Returns:
    float `[seeds]`.
  """
  distance = steps[1] - steps[0]
  best = []
  for values in scores:
    i = int(np.argmin(values))
    shift = 0.0
    if 0 < i < len(values) - 1:
      before, lowest, after = values[i - 1 : i + 2]
      curvature = before - 2 * lowest + after
      shift = (before - after) / (2 * curvature) if curvature > 0 else 0.0
    best.append(steps[i] + shift * distance)
  return np.array(best)
