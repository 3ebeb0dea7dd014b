"""Figure 8: FID by the number of sampling steps."""

from collections.abc import Mapping
from collections.abc import Sequence
import pathlib
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
_FEW, _MANY = 25, 100  # The numbers of steps that claim 9 compares.
_MAX_RATIO = 1.5  # FID is kept if FID of few steps over that of many is at most this.


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
    num_steps = scale.fid.num_steps
    # {curve: FID of each number of steps and seed}
    fid = {
      name: np.array([_fids(scale, output, name, seed) for seed in scale.seeds]).T
      for name in _CURVES
    }
    # {curve: FID of each number of steps}
    mid = {name: _fids(scale, output, name, scale.seeds[0], mid=True) for name in _CURVES}

    def draw(axis: matplotlib.axes.Axes) -> None:
      for i, (name, values) in enumerate(fid.items()):
        axis.plot(num_steps, mid[name], "--", color=f"C{i}", linewidth=0.9)
        means = values.mean(axis=1)
        axis.plot(num_steps, means, color=f"C{i}", marker="o", markersize=3, label=name)
      axis.set(xlabel="sampling steps", ylabel="FID", xscale="log", yscale="log")
      axis.legend()

    rows = tuple(
      (steps, *(float(values[i].mean()) for values in fid.values()))
      for i, steps in enumerate(num_steps)
    )
    mid_rows = tuple(
      (steps, *(values[i] for values in mid.values())) for i, steps in enumerate(num_steps)
    )
    training = scale.fid_models.training(scales.COSINE_HYBRID, scale.seeds[0])
    mid_steps = shared_tasks.mid_training(scale, training).train_steps
    return sections.Section(
      f"FID on {scale.fid_models.data}: {scale.fid.num_samples:,} samples, cosine schedule, T = "
      f"4000. The models are those after {training.train_steps:,} training steps, by which the "
      f"claims are judged, and those in mid-training, after {mid_steps:,} steps. The two fixed "
      "variances use the same weights (--fixed_variance).",
      figures=(
        sections.plot(
          draw,
          "FID by the number of steps, averaged over the seeds. Dashed: in mid-training, seed "
          f"{scale.seeds[0]}.",
        ),
      ),
      tables=(
        sections.Table(("steps", *fid), rows, "FID, averaged over the seeds."),
        sections.Table(("steps", *mid), mid_rows, f"FID in mid-training, seed {scale.seeds[0]}."),
      ),
      claims=_claims({name: dict(zip(num_steps, values)) for name, values in fid.items()}),
    )


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
    _samplers(scale, name),
    curve.flags,
  )


def _fids(
  scale: scales.Scale, output: pathlib.Path, name: str, seed: int, *, mid: bool = False
) -> list[float]:
  """Returns the FID of a curve for each number of steps."""
  evaluation = _evaluation(scale, name, seed, mid=mid)
  names = [tasks.result_name(sampler) for sampler in _samplers(scale, name)]
  return [evaluation.score(output, "fid", sampler_name) for sampler_name in names]


def _samplers(scale: scales.Scale, name: str) -> list[str]:
  """Returns the samplers of a curve, one for each number of steps."""
  return [f"{_CURVES[name].sampler}:{steps}" for steps in scale.fid.num_steps]


def _claims(fid: Mapping[str, Mapping[int, np.ndarray]]) -> tuple[claims.Claim, ...]:
  """Judges claims 9 and 10 by `{curve: {number of steps: FID of each seed}}`."""
  ratio = {name: by_steps[_FEW] / by_steps[_MANY] for name, by_steps in fid.items()}
  increase = {name: by_steps[_FEW] - by_steps[_MANY] for name, by_steps in fid.items()}
  loses_more = (
    f"the increase of FID from {_MANY} to {_FEW} steps, minus that of L_hybrid of the same seed"
  )
  same_seed = "FID of models of the same seed"
  return (
    claims.Claim(
      9,
      "L_hybrid keeps its FID with few steps, and L_simple with either fixed variance does not.",
      (
        claims.over_seeds(
          "L_hybrid keeps its FID",
          _MAX_RATIO - ratio[_HYBRID],
          f"{_MAX_RATIO}, minus the ratio of FID with {_FEW} steps to FID with {_MANY} steps",
        ),
        *(
          claims.over_seeds(
            f"{name}, does not keep its FID",
            ratio[name] - _MAX_RATIO,
            f"the ratio of FID with {_FEW} steps to FID with {_MANY} steps, minus {_MAX_RATIO}",
          )
          for name in (_BETA, _BETA_TILDE)
        ),
        *(
          claims.paired(
            f"{name}, loses more than L_hybrid", increase[name], increase[_HYBRID], loses_more
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
          for steps in fid[_HYBRID]
          if steps < 50
        ),
        claims.paired(
          f"{_MANY} steps: FID of DDIM minus that of L_hybrid",
          fid[_DDIM][_MANY],
          fid[_HYBRID][_MANY],
          same_seed,
        ),
      ),
    ),
  )
