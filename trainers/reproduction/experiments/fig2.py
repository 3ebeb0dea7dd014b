"""Figure 2: terms of the bound."""

import numpy as np

from trainers.reproduction import claims
from trainers.reproduction import scales
from trainers.reproduction import sections

ROW = scales.Row("cosine", 4000, "hybrid")
_FIRST = 0.01  # What counts as the first terms, of all.


def needs(scale):
  """Every term of the bound, of the hybrid model."""
  return tuple(scale.terms_of(scale.likelihood_run(ROW, seed)) for seed in scale.seeds)


def show(scale, output):
  """Figure 2, and claim 3."""
  found = {
    seed: scale.terms_of(scale.likelihood_run(ROW, seed)).terms(output) for seed in scale.seeds
  }
  first = int(_FIRST * ROW.steps)

  def draw(axis):
    for seed, (terms, timesteps) in found.items():
      axis.plot(timesteps, terms, label=f"seed {seed}", linewidth=0.6)
    axis.set(xlabel="diffusion step", ylabel="loss term (bits/dim)", yscale="log")
    axis.legend()

  rows = tuple(
    (f"seed {seed}", *(float(np.sum(terms[:count])) for count in (1, 10, first, len(terms))))
    for seed, (terms, _) in found.items()
  )
  shares = [float(np.sum(terms[:first]) / np.sum(terms)) for terms, _ in found.values()]
  return sections.Section(
    "Figure 2: terms of the bound",
    f"Of the model of L_hybrid with the cosine schedule, T = {ROW.steps:,}, on {scale.about}. The first few terms "
    "contribute most to NLL.",
    figures=(sections.plot(draw, "Terms of the bound by diffusion step."),),
    tables=(
      sections.Table(
        ("", "first term", "first 10", f"first {first}", "all"),
        rows,
        "Sums of terms, bits/dim, without L_T.",
      ),
    ),
    claims=(
      claims.Claim(
        3,
        "The first terms dominate the bound.",
        (
          claims.over_seeds(
            f"the first {_FIRST:.0%} of the steps contribute more than half",
            np.array(shares) - 0.5,
            f"the share of the first {first} terms in the sum of all {ROW.steps:,}, less one half",
          ),
        ),
      ),
    ),
  )
