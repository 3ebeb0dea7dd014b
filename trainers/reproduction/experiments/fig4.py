"""Figure 4: FID when the first steps of the reverse process are skipped."""

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

_SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
_CLAIMED = 0.2  # The paper: "up to 20% of the reverse diffusion process".
# At the small scale, the claim is judged by more samples and more seeds than the figure shows.
# Fewer sampling steps make up for their time.
_SMALL_SAMPLES, _SMALL_STEPS = 5000, 25


@experiments.EXPERIMENTS.register("fig4")
class Figure4(base.Experiment):
  """FID by the share of sampling steps that are skipped, for both schedules."""

  title = "Figure 4: skipping a prefix of the reverse process"
  claims = (6,)

  def needs(self, scale: scales.Scale) -> Sequence[tasks.EvaluationTask]:
    """Returns the evaluations that the figure shows, and those that judge the claim."""
    return [*_shown(scale).tasks, *_judged(scale).tasks]

  def show(self, scale: scales.Scale, output: pathlib.Path) -> sections.Section:
    """Returns FID by the share that is skipped, and claim 6."""
    shown, judged = _shown(scale), _judged(scale)
    fid = _scores(output, shown, "fid")
    of_judged = {score: _scores(output, judged, score) for score in ("fid", "fid_infinity")}
    limits = of_judged["fid_infinity"]

    def draw(axis: matplotlib.axes.Axes) -> None:
      for schedule, by_share in fid.items():
        means = [values.mean() for values in by_share.values()]
        axis.plot([*by_share], means, marker="o", markersize=3, label=f"{schedule} schedule")
      axis.set(xlabel="fraction of reverse diffusion process skipped", ylabel="FID")
      axis.legend()

    judged_columns = (
      "skipped",
      *(f"{schedule}: {name}" for schedule in fid for name in ("FID", "of infinitely many")),
    )
    judged_rows = tuple(
      (
        share,
        *(
          float(of_judged[score][schedule][share].mean()) for schedule in fid for score in of_judged
        ),
      )
      for share in (0.0, _CLAIMED)
    )
    return sections.Section(
      f"FID on {scale.fid_models.data}: models trained with L_hybrid, T = 4000. The first ones of "
      "the sampling steps are left out. The values of a table can be compared with each other, but "
      "not with the paper's. FID of few samples is too large; the "
      "claim is judged by FID of infinitely many samples, to which it is extrapolated (Chong & "
      "Forsyth, 2020).",
      figures=(sections.plot(draw, f"FID by the fraction that is skipped, {_about(shown)}."),),
      tables=(
        sections.Table(
          ("skipped", *fid),
          tuple(
            (share, *(float(fid[schedule][share].mean()) for schedule in fid)) for share in _SHARES
          ),
          f"FID by schedule, {_about(shown)}.",
        ),
        sections.Table(
          judged_columns,
          judged_rows,
          f"FID that judges the claim, {_about(judged)}. "
          + shared_tasks.largest_error(judged.tasks, output),
        ),
      ),
      claims=(judge(limits),),
    )


class _Evaluations(NamedTuple):
  """Evaluations by several shares of skipped steps.

  Attributes:
    shares: the shares.
    num_steps: the number of sampling steps, with those that are skipped.
    seeds: the seeds of the models.
    num_samples: the samples of each FID.
    by_schedule: the evaluation of each seed, by the noise schedule.
  """

  shares: Sequence[float]
  num_steps: int
  seeds: Sequence[int]
  num_samples: int
  by_schedule: Mapping[str, Sequence[tasks.EvaluationTask]]

  @property
  def tasks(self) -> list[tasks.EvaluationTask]:
    """All evaluations."""
    return [task for of_seeds in self.by_schedule.values() for task in of_seeds]


def _shown(scale: scales.Scale) -> _Evaluations:
  """Returns the evaluations by all shares: of all seeds, at the small scale of the first one."""
  seeds = scale.seeds if scale.has_paper_models else scale.seeds[:1]
  num_steps, num_samples = scale.fid.default_steps, scale.fid.num_samples
  return _evaluations(scale, "skipping", _SHARES, num_steps, seeds, num_samples)


def _judged(scale: scales.Scale) -> _Evaluations:
  """Returns the evaluations that judge the claim."""
  if scale.has_paper_models:
    return _shown(scale)
  shares, seeds = (0.0, _CLAIMED), scale.seeds_of(6)
  return _evaluations(scale, "skipping_judged", shares, _SMALL_STEPS, seeds, _SMALL_SAMPLES)


def _evaluations(
  scale: scales.Scale,
  kind: str,
  shares: Sequence[float],
  num_steps: int,
  seeds: Sequence[int],
  num_samples: int,
) -> _Evaluations:
  by_schedule = {
    row.schedule: [
      shared_tasks.fid(
        scale,
        kind,
        scale.fid_models.training(row, seed),
        [_sampler(num_steps, share) for share in shares],
        ("--fid_infinity",),
        num_samples=num_samples,
      )
      for seed in seeds
    ]
    for row in (scales.COSINE_HYBRID, scales.LINEAR_HYBRID)
  }
  return _Evaluations(shares, num_steps, seeds, num_samples, by_schedule)


def _scores(
  output: pathlib.Path, evaluations: _Evaluations, score: str
) -> dict[str, dict[float, np.ndarray]]:
  """Returns `{schedule: {share: score of each seed}}`."""
  names = {
    share: tasks.result_name(_sampler(evaluations.num_steps, share)) for share in evaluations.shares
  }
  return {
    schedule: {
      share: np.array([task.score(output, score, name) for task in of_seeds])
      for share, name in names.items()
    }
    for schedule, of_seeds in evaluations.by_schedule.items()
  }


def _about(evaluations: _Evaluations) -> str:
  """Returns what a caption says of the evaluations."""
  seeds = ", ".join(map(str, evaluations.seeds))
  noun = "seed" if len(evaluations.seeds) == 1 else "averaged over the seeds"
  return f"of {evaluations.num_samples:,} samples by {evaluations.num_steps} steps, {noun} {seeds}"


def _sampler(num_steps: int, share: float) -> str:
  """Returns the sampler that skips a share of its steps."""
  sampler = f"ancestral:{num_steps}"
  return f"{sampler}:skip{share}" if share else sampler


def judge(fid: Mapping[str, Mapping[float, np.ndarray]]) -> claims.Claim:
  """Judges claim 6 by `{schedule: {share that is skipped: FID of each seed}}`."""
  increase = {name: by_share[_CLAIMED] - by_share[0.0] for name, by_share in fid.items()}
  return claims.Claim(
    6,
    "Skipping the first reverse steps costs little with the linear schedule, and more with the "
    "cosine schedule.",
    (
      claims.over_seeds(
        f"linear: skipping {_CLAIMED:.0%} increases FID by less than a tenth",
        0.1 * fid["linear"][0.0] - increase["linear"],
        "a tenth of FID when nothing is skipped, minus the increase of FID when "
        f"{_CLAIMED:.0%} are skipped",
      ),
      claims.paired(
        f"{_CLAIMED:.0%} skipped: the increase of FID with cosine, minus that with linear",
        increase["cosine"],
        increase["linear"],
        "increases of FID of models of the same seed",
      ),
    ),
  )
