"""Figure 7: the gradient noise scale of the objectives."""

import numpy as np

from iddpm_tf.training import noise_scale
from trainers.reproduction import claims
from trainers.reproduction import curves
from trainers.reproduction import sections

HYBRID, UNIFORM, RESAMPLED = "L_hybrid", "L_vlb", "L_vlb (resampled)"
OBJECTIVES = {
  HYBRID: ("hybrid", ()),
  UNIFORM: ("vlb", ("--objective=vlb", "--timestep_sampler=uniform")),
  RESAMPLED: ("vlb_resampled", ("--objective=vlb", "--timestep_sampler=loss_second_moment")),
}
_LAST = (
  0.4  # The part of training that the averages are over: the resampling has begun long before.
)


def run(scale, name, seed):
  """The training that has the curves."""
  return scale.noise_run(*OBJECTIVES[name], seed)


def nll(scale, name, seed):
  """Bits/dim at the end."""
  return scale.nll_of(run(scale, name, seed))


def needs(scale):
  """A run of each objective and seed."""
  return tuple(nll(scale, name, seed) for name in OBJECTIVES for seed in scale.seeds)


def averages(scale, output, name):
  """|G|^2 and tr(Sigma) of the last part of training, one a seed."""
  first = (1 - _LAST) * scale.noise_train_steps
  return [
    noise_scale.Estimates(*curves.noise_averages(run(scale, name, seed).folder(output), first))
    for seed in scale.seeds
  ]


def noisier(statement, first, second):
  """The `claims.Part` that the noise scale of `first` is above that of `second`, by their `averages`."""
  how = (
    f"the common logarithm of the ratio of the gradient noise scales, each of averages over the last {_LAST:.0%} "
    "of training"
  )
  scales = [
    (noise_scale.simple_noise_scale(one), noise_scale.simple_noise_scale(other))
    for one, other in zip(first, second)
  ]
  if any(None in pair or 0 in pair for pair in scales):
    return claims.unknown(
      statement, f"{how}; noise drowned the gradient of a seed (|G|^2 was not positive)"
    )
  return claims.over_seeds(statement, np.log10([one / other for one, other in scales]), how)


def show(scale, output):
  """Figure 7, and claim 7."""
  found = {name: averages(scale, output, name) for name in OBJECTIVES}

  def draw(axis):
    for name in OBJECTIVES:
      steps, squared_norm, trace = curves.scalars(
        run(scale, name, scale.seeds[0]).folder(output),
        "gradient_noise/squared_norm",
        "gradient_noise/trace_of_covariance",
      )
      axis.plot(steps, np.where(squared_norm > 0, trace / squared_norm, np.nan), label=name)
    axis.set(xlabel="training step", ylabel="gradient noise scale (images)", yscale="log")
    axis.legend()

  rows = tuple(
    (
      name,
      float(np.mean([one.squared_norm for one in values])),
      float(np.mean([one.trace for one in values])),
      ", ".join(
        "none" if found is None else f"{found:.0f}"
        for found in map(noise_scale.simple_noise_scale, values)
      ),
    )
    for name, values in found.items()
  )
  return sections.Section(
    "Figure 7: gradient noise scales",
    f"Of the objectives on {scale.about}, cosine schedule, T = {scale.noise_steps}, measured in training from the "
    "parts of each batch (--microbatches). Where |G|^2 was not positive there is no point.",
    figures=(
      sections.plot(draw, f"tr(Sigma) / |G|^2 in images, by training step, seed {scale.seeds[0]}."),
    ),
    tables=(
      sections.Table(
        ("objective", "|G|^2", "tr(Sigma)", "noise scale of each seed"),
        rows,
        f"Averages over the last {_LAST:.0%} of training; over the seeds but for the last column.",
        digits=5,
      ),
    ),
    claims=(
      claims.Claim(
        7,
        "The gradient of L_vlb is noisier than that of L_hybrid.",
        (
          noisier(
            "noise scale of L_vlb, t uniform, over that of L_hybrid", found[UNIFORM], found[HYBRID]
          ),
        ),
      ),
    ),
  )
