"""Figure 4: FID when the first steps of the reverse process are skipped."""

import numpy as np

from trainers.reproduction import claims
from trainers.reproduction import scales
from trainers.reproduction import sections

LINEAR, COSINE = scales.Row("linear", 4000, "hybrid"), scales.Row("cosine", 4000, "hybrid")
_SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
_CLAIMED = 0.2  # "up to 20% of the reverse diffusion process".


def _samplers(scale):
  """By share: a sampler, and its name in results."""
  steps = scale.sampling_steps
  return {
    share: (
      f"ancestral:{steps}" + (f":skip{share}" if share else ""),
      f"ancestral_{steps}" + (f"_skip{share}" if share else ""),
    )
    for share in _SHARES
  }


def _measurement(scale, row, seed):
  return scale.fid_measurement(
    "skipping", scale.fid_run(row, seed), [flag for flag, _ in _samplers(scale).values()]
  )


def needs(scale):
  """FID by each share, of both schedules and each seed."""
  return tuple(_measurement(scale, row, seed) for row in (LINEAR, COSINE) for seed in scale.seeds)


def show(scale, output):
  """Figure 4, and claim 6."""
  fid = {
    row.schedule: {
      share: np.array(
        [_measurement(scale, row, seed).score(output, "fid", name) for seed in scale.seeds]
      )
      for share, (_, name) in _samplers(scale).items()
    }
    for row in (COSINE, LINEAR)
  }

  def draw(axis):
    for schedule, values in fid.items():
      axis.plot(
        _SHARES,
        [values[share].mean() for share in _SHARES],
        marker="o",
        markersize=3,
        label=f"{schedule} schedule",
      )
    axis.set(xlabel="fraction of reverse diffusion process skipped", ylabel="FID")
    axis.legend()

  rows = tuple(
    (share, *(float(values[share].mean()) for values in fid.values())) for share in _SHARES
  )
  return sections.Section(
    "Figure 4: skipping a prefix of the reverse process",
    f"Of {scale.fid_about}: L_hybrid, T = 4000, {scale.sampling_steps} sampling steps of which the first are left "
    f"out, {scale.fid_samples:,} samples. These FIDs are comparable with each other only.",
    figures=(sections.plot(draw, "FID by the fraction that is skipped, mean over the seeds."),),
    tables=(sections.Table(("skipped", *fid), rows, "FID, mean over the seeds."),),
    claims=(_claim(fid),),
  )


def _claim(fid):
  rise = {schedule: values[_CLAIMED] - values[0.0] for schedule, values in fid.items()}
  return claims.Claim(
    6,
    "Skipping the first reverse steps costs the linear schedule little and cosine more.",
    (
      claims.over_seeds(
        f"linear: {_CLAIMED:.0%} skipped costs less than a tenth of its FID",
        0.1 - rise["linear"] / fid["linear"][0.0],
        f"0.1, less the rise of FID when {_CLAIMED:.0%} are skipped over FID when none is",
      ),
      claims.paired(
        f"{_CLAIMED:.0%} skipped: the rise of cosine's FID less that of linear's",
        rise["cosine"],
        rise["linear"],
        "rises of FID, of models of the same seed",
      ),
    ),
  )
