"""Figure 8: FID by the number of sampling steps."""

from collections.abc import Mapping
from collections.abc import Sequence
import pathlib
from typing import Any
from typing import NamedTuple

import matplotlib.axes
import numpy as np

from trainers.reproduction import claims
from trainers.reproduction import experiments
from trainers.reproduction import scales
from trainers.reproduction import sections
from trainers.reproduction import shared_tasks
from trainers.reproduction import tasks
from trainers.reproduction.experiments import base


class _Curve(NamedTuple):
  """One curve of the figure: a model, a sampler, and flags of `trainers.evaluate`."""

  row: scales.Row
  sampler: str
  flags: tuple[str, ...] = ()


_HYBRID, _DDIM = "L_hybrid", "L_simple, DDIM"
_BETA, _BETA_TILDE = "L_simple, variance beta", "L_simple, variance beta tilde"
# L_simple trains no variance, so that the same weights serve both fixed variances.
_CURVES = {
  _HYBRID: _Curve(scales.COSINE_HYBRID, "ancestral"),
  _BETA: _Curve(scales.COSINE_SIMPLE, "ancestral"),
  _BETA_TILDE: _Curve(scales.COSINE_SIMPLE, "ancestral", ("--fixed_variance=fixed_small",)),
  _DDIM: _Curve(scales.COSINE_SIMPLE, "ddim"),
}
_ENOUGH = 100  # The number of steps that is near-optimal (section 4).
_NEAR = 0.1  # FID is near-optimal if it is larger by less than this part of it.


@experiments.EXPERIMENTS.register("fig8")
class Figure8(base.Experiment):
  """FID of four samplers with few and with many steps."""

  title = "Figure 8: FID by the number of sampling steps"
  claims = (9, 10)
  needs_features = True

  def needs(self, scale: scales.Scale) -> Sequence[tasks.Task]:
    """Returns the evaluations of each curve and seed, and of the first seed in mid-training."""
    return [
      *(_evaluation(scale, name, seed) for name in _CURVES for seed in scale.seeds),
      *(_evaluation(scale, name, scale.seeds[0], mid=True) for name in _CURVES),
    ]

  def show(self, scale: scales.Scale, output: pathlib.Path) -> sections.Section:
    """Returns FID by the number of steps, and claims 9 and 10."""
    # {curve: {number of steps: FID of each seed}}
    fid, limits = (
      {name: _of_seeds(scale, output, name, score) for name in _CURVES}
      for score in ("fid", "fid_infinity")
    )
    # {curve: {number of steps: FID}}
    mid = {name: _fids(scale, output, name, scale.seeds[0], "fid", mid=True) for name in _CURVES}

    def draw(axis: matplotlib.axes.Axes) -> None:
      for i, (name, values) in enumerate(fid.items()):
        axis.plot(*zip(*mid[name].items()), "--", color=f"C{i}", linewidth=0.9)
        means = [of_seeds.mean() for of_seeds in values.values()]
        axis.plot([*values], means, color=f"C{i}", marker="o", markersize=3, label=name)
      axis.set(xlabel="sampling steps", ylabel="FID", xscale="log", yscale="log")
      axis.legend()

    training = scale.fid_models.training(scales.COSINE_HYBRID, scale.seeds[0])
    mid_steps = shared_tasks.mid_training(scale, training).train_steps
    return sections.Section(
      f"FID on {scale.fid_models.data}: {scale.fid.num_samples:,} samples, cosine schedule, T = "
      f"4000. The models are those after {training.train_steps:,} training steps, by which the "
      f"claims are judged, and those in mid-training, after {mid_steps:,} steps. The two fixed "
      "variances use the same weights (--fixed_variance). FID of few samples is too large; the "
      "claims are judged by FID of infinitely many samples, to which it is extrapolated (Chong & "
      "Forsyth, 2020).",
      figures=(
        sections.plot(
          draw,
          "FID by the number of steps, averaged over the seeds. Dashed: in mid-training, seed "
          f"{scale.seeds[0]}.",
        ),
      ),
      tables=(
        _table(fid, "FID, averaged over the seeds."),
        _table(
          limits,
          "FID of infinitely many samples, averaged over the seeds. The standard error of one "
          f"seed's value is at most {_largest_error(scale, output):.2g}.",
        ),
        _table(mid, f"FID in mid-training, seed {scale.seeds[0]}."),
      ),
      claims=judge(limits),
    )


def _table(fid: Mapping[str, Mapping[int, Any]], caption: str) -> sections.Table:
  """Returns a table of `{curve: {number of steps: FID, or FID of each seed}}`."""
  num_steps = sorted({steps for by_steps in fid.values() for steps in by_steps})
  rows = tuple(
    (
      steps,
      *(float(np.mean(values[steps])) if steps in values else None for values in fid.values()),
    )
    for steps in num_steps
  )
  return sections.Table(("steps", *fid), rows, caption)


def _evaluation(
  scale: scales.Scale, name: str, seed: int, *, mid: bool = False
) -> tasks.EvaluationTask:
  """Returns the evaluation of a curve, of the final model or of that in mid-training."""
  curve = _CURVES[name]
  training = scale.fid_models.training(curve.row, seed)
  return shared_tasks.fid(
    scale,
    "_".join([curve.sampler, *(flag.partition("=")[2] for flag in curve.flags)]),
    shared_tasks.mid_training(scale, training) if mid else training,
    [_sampler(name, steps) for steps in _num_steps(scale, name, mid=mid)],
    (*curve.flags, "--fid_infinity"),
  )


def _fids(
  scale: scales.Scale, output: pathlib.Path, name: str, seed: int, score: str, *, mid: bool = False
) -> dict[int, float]:
  """Returns a score of a curve by the number of steps."""
  evaluation = _evaluation(scale, name, seed, mid=mid)
  return {
    steps: evaluation.score(output, score, tasks.result_name(_sampler(name, steps)))
    for steps in _num_steps(scale, name, mid=mid)
  }


def _of_seeds(
  scale: scales.Scale, output: pathlib.Path, name: str, score: str
) -> dict[int, np.ndarray]:
  """Returns a score of a curve by the number of steps, one for each seed."""
  fids = [_fids(scale, output, name, seed, score) for seed in scale.seeds]
  return {steps: np.array([values[steps] for values in fids]) for steps in fids[0]}


def _largest_error(scale: scales.Scale, output: pathlib.Path) -> float:
  """Returns the largest standard error of FID of infinitely many samples."""
  score = "fid_infinity_standard_error"
  errors = [_fids(scale, output, name, seed, score) for name in _CURVES for seed in scale.seeds]
  return max(max(by_steps.values()) for by_steps in errors)


def _num_steps(scale: scales.Scale, name: str, *, mid: bool = False) -> tuple[int, ...]:
  """Returns the numbers of steps of a curve. L_hybrid has also the one that stands for all."""
  most = {scale.fid.most_steps} if name == _HYBRID and not mid else set()
  return tuple(sorted({*scale.fid.num_steps} | most))


def _sampler(name: str, steps: int) -> str:
  return f"{_CURVES[name].sampler}:{steps}"


def judge(fid: Mapping[str, Mapping[int, np.ndarray]]) -> tuple[claims.Claim, ...]:
  """Judges claims 9 and 10 by `{curve: {number of steps: FID of each seed}}`."""
  few, most = min(fid[_HYBRID]), max(fid[_HYBRID])
  increase = {name: by_steps[few] - by_steps[_ENOUGH] for name, by_steps in fid.items()}
  same_seed = "FID of infinitely many samples, of models of the same seed"
  return (
    claims.Claim(
      9,
      f"With L_hybrid, {_ENOUGH} steps are near-optimal. With fewer, L_simple loses more than "
      "L_hybrid, with either fixed variance.",
      (
        claims.over_seeds(
          f"L_hybrid: with {_ENOUGH} steps, FID is larger by less than a tenth than with {most:,}",
          (1 + _NEAR) * fid[_HYBRID][most] - fid[_HYBRID][_ENOUGH],
          f"{1 + _NEAR} times the FID of {most:,} steps, minus that of {_ENOUGH} steps",
        ),
        *(
          claims.paired(
            f"{name}, loses more than L_hybrid",
            increase[name],
            increase[_HYBRID],
            f"the increase of FID from {_ENOUGH} to {few} steps, minus that of L_hybrid of the "
            "same seed",
          )
          for name in (_BETA, _BETA_TILDE)
        ),
      ),
    ),
    claims.Claim(
      10,
      "DDIM is better than L_hybrid with fewer than about 50 steps.",
      (
        *(
          claims.paired(
            f"{steps} steps: FID of L_hybrid minus that of DDIM",
            fid[_HYBRID][steps],
            fid[_DDIM][steps],
            same_seed,
          )
          for steps in fid[_DDIM]
          if steps < 50
        ),
        claims.paired(
          f"{_ENOUGH} steps: FID of DDIM minus that of L_hybrid",
          fid[_DDIM][_ENOUGH],
          fid[_HYBRID][_ENOUGH],
          same_seed,
        ),
      ),
    ),
  )
