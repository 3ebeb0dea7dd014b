"""Figure 4: FID when the first steps of the reverse process are skipped."""

from collections.abc import Mapping
from collections.abc import Sequence
import pathlib

import matplotlib.axes
import numpy as np

from trainers.reproduction import claims
from trainers.reproduction import experiments
from trainers.reproduction import scales
from trainers.reproduction import sections
from trainers.reproduction import shared_tasks
from trainers.reproduction import tasks
from trainers.reproduction.experiments import base

_CLAIMED = 0.2  # The paper: "up to 20% of the reverse diffusion process".


@experiments.EXPERIMENTS.register("fig4")
class Figure4(base.Experiment):
  """FID by the share of sampling steps that are skipped, for both schedules."""

  title = "Figure 4: skipping a prefix of the reverse process"
  claims = (6,)

  def needs(self, scale: scales.Scale) -> Sequence[tasks.EvaluationTask]:
    """Returns an evaluation for each schedule and seed."""
    rows = (scales.LINEAR_HYBRID, scales.COSINE_HYBRID)
    return [_evaluation(scale, row, seed) for row in rows for seed in scale.seeds]

  def show(self, scale: scales.Scale, output: pathlib.Path) -> sections.Section:
    """Returns FID by the share that is skipped, and claim 6."""
    names = {share: tasks.result_name(text) for share, text in _samplers(scale).items()}
    # {schedule: {share: FID of each seed}}
    fid, limits = (
      {
        row.schedule: {
          share: np.array(
            [_evaluation(scale, row, seed).score(output, score, name) for seed in scale.seeds]
          )
          for share, name in names.items()
        }
        for row in (scales.COSINE_HYBRID, scales.LINEAR_HYBRID)
      }
      for score in ("fid", "fid_infinity")
    )

    def draw(axis: matplotlib.axes.Axes) -> None:
      for schedule, by_share in fid.items():
        means = [by_share[share].mean() for share in names]
        axis.plot([*names], means, marker="o", markersize=3, label=f"{schedule} schedule")
      axis.set(xlabel="fraction of reverse diffusion process skipped", ylabel="FID")
      axis.legend()

    columns = (
      "skipped",
      *(f"{schedule}: {name}" for schedule in fid for name in ("FID", "of infinitely many")),
    )
    rows = tuple(
      (
        share,
        *(float(scores[schedule][share].mean()) for schedule in fid for scores in (fid, limits)),
      )
      for share in names
    )
    return sections.Section(
      f"FID on {scale.fid_models.data}: models trained with L_hybrid, T = 4000. Sampling uses "
      f"{scale.fid.default_steps} steps, of which the first ones are left out. Each FID is that of "
      f"{scale.fid.skipping_samples:,} samples. These values can be compared with each other, but "
      "not with the paper's. FID of few samples is too large; the claim is judged by FID of "
      "infinitely many samples, to which it is extrapolated (Chong & Forsyth, 2020).",
      figures=(
        sections.plot(draw, "FID by the fraction that is skipped, averaged over the seeds."),
      ),
      tables=(
        sections.Table(
          columns,
          rows,
          "FID, averaged over the seeds. " + shared_tasks.largest_error(self.needs(scale), output),
        ),
      ),
      claims=(judge(limits),),
    )


def _samplers(scale: scales.Scale) -> dict[float, str]:
  """Returns the sampler that skips each share."""
  sampler = f"ancestral:{scale.fid.default_steps}"
  return {
    share: f"{sampler}:skip{share}" if share else sampler for share in scale.fid.skipped_shares
  }


def _evaluation(scale: scales.Scale, row: scales.Row, seed: int) -> tasks.EvaluationTask:
  training = scale.fid_models.training(row, seed)
  return shared_tasks.fid(
    scale,
    "skipping",
    training,
    list(_samplers(scale).values()),
    ("--fid_infinity",),
    num_samples=scale.fid.skipping_samples,
  )


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
