"""Figure 16: overfitting with either schedule."""

import numpy as np

from trainers.reproduction import claims
from trainers.reproduction import curves
from trainers.reproduction import scales
from trainers.reproduction import sections

ROWS = (scales.Row("linear", 4000, "hybrid"), scales.Row("cosine", 4000, "hybrid"))
_DROPOUT = 0.1  # The same for both.
# Panels, and what is in each.
_PANELS = {"FID": {"fid": ""}, "NLL (bits/dim)": {"nll": " (test)", "nll_train": " (train)"}}
_SCORES = tuple(score for panel in _PANELS.values() for score in panel)


def _run(scale, row, seed):
  return scale.watched(
    scale.fid_run(row, seed),
    "overfitting",
    (f"--dropout={_DROPOUT}", f"--eval_scores={','.join(_SCORES)}"),
    scale.overfitting_train_steps,
    scale.overfitting_points,
  )


def needs(scale):
  """A long run of each schedule and seed, scored throughout."""
  return tuple(_run(scale, row, seed) for row in ROWS for seed in scale.seeds)


def show(scale, output):
  """Figure 16, and claim 13."""
  scored = {
    (row.schedule, seed): curves.scores(_run(scale, row, seed).folder(output))
    for row in ROWS
    for seed in scale.seeds
  }
  steps = sorted(set.intersection(*map(set, scored.values())))
  # {score: {schedule: [seeds, steps]}}
  found = {
    score: {
      row.schedule: np.array(
        [[scored[row.schedule, seed][step][score] for step in steps] for seed in scale.seeds]
      )
      for row in ROWS
    }
    for score in _SCORES
  }

  def draw(*axes):
    for axis, (label, panel) in zip(axes, _PANELS.items()):
      for score, suffix in panel.items():
        for i, (schedule, values) in enumerate(found[score].items()):
          axis.plot(
            steps,
            values.mean(axis=0),
            "--" if score == "nll_train" else "-",
            color=f"C{i}",
            marker="o",
            markersize=3,
            label=schedule + suffix,
          )
      axis.set(xlabel="training step", ylabel=label)
      axis.legend()

  rows = tuple(
    (step, *(float(values[:, i].mean()) for score in _SCORES for values in found[score].values()))
    for i, step in enumerate(steps)
  )
  columns = (
    "step",
    *(
      f"{label.partition(' ')[0]}{suffix}, {schedule}"
      for label, panel in _PANELS.items()
      for score, suffix in panel.items()
      for schedule in found[score]
    ),
  )
  return sections.Section(
    "Figure 16: overfitting",
    f"Of {scale.fid_about}: L_hybrid, T = 4000, dropout {_DROPOUT} with both schedules, scored in training "
    "(--eval_every). NLL is of images of either split by a hundred timesteps. The claim is of the test images.",
    figures=(sections.plot(draw, "Scores throughout training, mean over the seeds.", columns=2),),
    tables=(sections.Table(columns, rows, "Mean over the seeds."),),
    claims=(_claim(np.array(steps), found["nll"]),),
  )


def _claim(steps, nll):
  best = {schedule: steps[np.argmin(values, axis=1)] for schedule, values in nll.items()}
  # Where the others are best: the least of its own noise would be below the end whatever happens.
  others = {
    schedule: [
      np.argmin(np.delete(values, i, axis=0).mean(axis=0)) if len(values) > 1 else np.argmin(values)
      for i in range(len(values))
    ]
    for schedule, values in nll.items()
  }
  rise = [values[-1] - values[i] for values, i in zip(nll["cosine"], others["cosine"])]
  return claims.Claim(
    13,
    "The cosine schedule overfits sooner than the linear one.",
    (
      claims.paired(
        "step of the best test NLL: linear less cosine",
        best["linear"],
        best["cosine"],
        "steps of the least NLL of the test images, of runs of the same seed; no finer than the evaluations",
        resolution=steps[0],
      ),
      claims.over_seeds(
        "cosine overfits at all",
        rise,
        "NLL of test images at the end, less that at the step where the other seeds' mean is least",
      ),
    ),
  )
