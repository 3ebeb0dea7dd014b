"""Figure 8: FID by the number of sampling steps."""

import numpy as np

from trainers.reproduction import claims
from trainers.reproduction import scales
from trainers.reproduction import sections

HYBRID, SIMPLE = scales.Row("cosine", 4000, "hybrid"), scales.Row("cosine", 4000, "simple")
_OF_BETA, _OF_BETA_TILDE, _OF_DDIM = (
  "L_simple, variance beta",
  "L_simple, variance beta tilde",
  "L_simple, DDIM",
)
_OF_HYBRID = "L_hybrid"
# The weights of L_simple know no variance: one training serves both.
_CURVES = {
  _OF_HYBRID: (HYBRID, "ancestral", ()),
  _OF_BETA: (SIMPLE, "ancestral", ()),
  _OF_BETA_TILDE: (SIMPLE, "ancestral", ("--fixed_variance=fixed_small",)),
  _OF_DDIM: (SIMPLE, "ddim", ()),
}
_FEW, _MANY = 25, 100  # Steps at which claim 9 is judged.
_KEPT = 1.5  # FID of few steps over that of many, up to which it is kept.


def _measurement(scale, name, seed, *, mid=False):
  row, sampler, flags = _CURVES[name]
  run = scale.fid_run(row, seed)
  kind = "_".join([sampler, *(flag.partition("=")[2] for flag in flags)])
  return scale.fid_measurement(
    kind,
    scale.in_mid_training(run) if mid else run,
    [f"{sampler}:{steps}" for steps in scale.fid_steps],
    flags,
  )


def needs(scale):
  """Each curve of each seed, and of the first seed's models in mid-training."""
  return (
    *(_measurement(scale, name, seed) for name in _CURVES for seed in scale.seeds),
    *(_measurement(scale, name, scale.seeds[0], mid=True) for name in _CURVES),
  )


def show(scale, output):
  """Figure 8, and claims 9 and 10."""
  found = {
    name: np.array(
      [
        [
          _measurement(scale, name, seed).score(output, "fid", f"{sampler}_{steps}")
          for seed in scale.seeds
        ]
        for steps in scale.fid_steps
      ]
    )
    for name, (_, sampler, _) in _CURVES.items()
  }
  mid = {
    name: [
      _measurement(scale, name, scale.seeds[0], mid=True).score(output, "fid", f"{sampler}_{steps}")
      for steps in scale.fid_steps
    ]
    for name, (_, sampler, _) in _CURVES.items()
  }

  def draw(axis):
    for i, (name, values) in enumerate(found.items()):
      axis.plot(scale.fid_steps, mid[name], "--", color=f"C{i}", linewidth=0.9)
      axis.plot(
        scale.fid_steps, values.mean(axis=1), color=f"C{i}", marker="o", markersize=3, label=name
      )
    axis.set(xlabel="sampling steps", ylabel="FID", xscale="log", yscale="log")
    axis.legend()

  rows = tuple(
    (steps, *(float(values[i].mean()) for values in found.values()))
    for i, steps in enumerate(scale.fid_steps)
  )
  mid_rows = tuple(
    (steps, *(values[i] for values in mid.values())) for i, steps in enumerate(scale.fid_steps)
  )
  run = scale.fid_run(HYBRID, scale.seeds[0])
  return sections.Section(
    "Figure 8: FID by the number of sampling steps",
    f"Of {scale.fid_about}: {scale.fid_samples:,} samples, cosine schedule, T = 4000, models after "
    f"{run.train_steps:,} training steps, and in mid-training, after {scale.in_mid_training(run).train_steps:,}. "
    "Both fixed variances are of the same weights (--fixed_variance). The claims are of the former.",
    figures=(
      sections.plot(
        draw,
        "FID by the number of steps, mean over the seeds; dashed: in mid-training, seed "
        f"{scale.seeds[0]}.",
      ),
    ),
    tables=(
      sections.Table(("steps", *found), rows, "FID, mean over the seeds."),
      sections.Table(("steps", *mid), mid_rows, f"FID in mid-training, seed {scale.seeds[0]}."),
    ),
    claims=_claims({name: dict(zip(scale.fid_steps, values)) for name, values in found.items()}),
  )


def _claims(fid):
  """Of {curve: {steps: FIDs of the seeds}}."""
  ratio = {name: values[_FEW] / values[_MANY] for name, values in fid.items()}
  rise = {name: values[_FEW] - values[_MANY] for name, values in fid.items()}
  how = f"by how much the FID of {_FEW} steps is above that of {_MANY}: of L_simple less of L_hybrid, seed by seed"
  few = [steps for steps in fid[_OF_HYBRID] if steps < 50]
  return (
    claims.Claim(
      9,
      "L_hybrid keeps its FID with few steps where L_simple, with either fixed variance, does not.",
      (
        claims.over_seeds(
          "L_hybrid keeps its FID",
          _KEPT - ratio[_OF_HYBRID],
          f"{_KEPT}, less the ratio of its FID of {_FEW} steps to that of {_MANY}",
        ),
        *(
          claims.over_seeds(
            f"{name} does not", ratio[name] - _KEPT, f"the ratio of its, less {_KEPT}"
          )
          for name in (_OF_BETA, _OF_BETA_TILDE)
        ),
        *(
          claims.paired(f"{name} loses more", rise[name], rise[_OF_HYBRID], how)
          for name in (_OF_BETA, _OF_BETA_TILDE)
        ),
      ),
    ),
    claims.Claim(
      10,
      "DDIM is better below about 50 steps.",
      (
        *(
          claims.paired(
            f"{steps} steps: FID of L_hybrid less that of DDIM",
            fid[_OF_HYBRID][steps],
            fid[_OF_DDIM][steps],
            "FIDs of the same seed",
          )
          for steps in few
        ),
        claims.paired(
          f"{_MANY} steps: FID of DDIM less that of L_hybrid",
          fid[_OF_DDIM][_MANY],
          fid[_OF_HYBRID][_MANY],
          "FIDs of the same seed",
        ),
      ),
    ),
  )
