"""Figure 15: bits/dim by the number of evaluation steps."""

import numpy as np

from trainers.reproduction import claims
from trainers.reproduction import scales
from trainers.reproduction import sections

HYBRID, SIMPLE = scales.Row("cosine", 4000, "hybrid"), scales.Row("cosine", 4000, "simple")
_CURVES = ((HYBRID, "dense_start"), (HYBRID, "strided"), (SIMPLE, "dense_start"))
_LABELS = {"dense_start": "Appendix E's schedule", "strided": "constant stride"}
_CLAIMED = 100  # K at which the claim is judged.


def _in_mid_training(scale, row, steps):
  """Of the first seed."""
  return scale.few_steps_of(
    scale.in_mid_training(scale.likelihood_run(row, scale.seeds[0])), steps, "dense_start"
  )


def needs(scale):
  """Each curve at each K, those of models in mid-training, and the hybrid model's whole sum, of the same images."""
  return (
    *(
      scale.few_steps_of(scale.likelihood_run(row, seed), steps, schedule)
      for row, schedule in _CURVES
      for steps in scale.nll_steps
      for seed in scale.seeds
    ),
    *(_in_mid_training(scale, row, steps) for row in (HYBRID, SIMPLE) for steps in scale.nll_steps),
    *(scale.terms_of(scale.likelihood_run(HYBRID, seed)) for seed in scale.seeds),
  )


def show(scale, output):
  """Figure 15, and claim 12."""
  found = {
    (row, schedule): np.array(
      [
        [
          scale.few_steps_of(scale.likelihood_run(row, seed), steps, schedule).score(output, "nll")
          for seed in scale.seeds
        ]
        for steps in scale.nll_steps
      ]
    )
    for row, schedule in _CURVES
  }
  # Appendix E's schedule takes more than K.
  taken = {
    key: [
      scale.few_steps_of(scale.likelihood_run(key[0], scale.seeds[0]), steps, key[1]).lines(output)[
        ""
      ]["num_timesteps"]
      for steps in scale.nll_steps
    ]
    for key in found
  }
  mid = {
    row: [_in_mid_training(scale, row, steps).score(output, "nll") for steps in scale.nll_steps]
    for row in (HYBRID, SIMPLE)
  }
  full = np.array(
    [
      scale.terms_of(scale.likelihood_run(HYBRID, seed)).score(output, "nll")
      for seed in scale.seeds
    ]
  )

  def draw(axis):
    for (row, schedule), values in found.items():
      axis.plot(
        taken[row, schedule],
        values.mean(axis=1),
        marker="o",
        markersize=3,
        label=f"L_{row.objective}, {_LABELS[schedule]}",
      )
    for i, (row, values) in enumerate(mid.items(), len(found)):
      axis.plot(
        taken[row, "dense_start"],
        values,
        "--",
        color=f"C{i}",
        linewidth=0.9,
        label=f"L_{row.objective}, {_LABELS['dense_start']}, mid-training",
      )
    axis.axhline(
      full.mean(), color="0.4", linewidth=0.8, linestyle="--", label="L_hybrid, all 4000 steps"
    )
    axis.set(xlabel="timesteps evaluated", ylabel="NLL (bits/dim)", xscale="log")
    axis.legend()

  rows = tuple(
    (
      steps,
      taken[HYBRID, "dense_start"][i],
      *(float(values[i].mean()) for values in found.values()),
      *(values[i] for values in mid.values()),
    )
    for i, steps in enumerate(scale.nll_steps)
  ) + ((HYBRID.steps, HYBRID.steps, float(full.mean()), *[None] * 4),)
  columns = (
    "K",
    "evaluated of Appendix E's",
    *(f"L_{row.objective}, {_LABELS[schedule]}" for row, schedule in found),
    *(f"L_{row.objective}, Appendix E's, mid-training" for row in mid),
  )
  run = scale.likelihood_run(HYBRID, scale.seeds[0])
  at = scale.nll_steps.index(_CLAIMED)
  # A stride of no fewer evaluations than Appendix E's takes at K.
  strides = np.array(taken[HYBRID, "strided"])
  fair = int(np.argmax(strides >= taken[HYBRID, "dense_start"][at]))
  return sections.Section(
    "Figure 15: bits/dim with fewer evaluation steps",
    "Appendix E's schedule takes every t up to T/K beside the K strided ones. L_simple is with the variance beta, as "
    "it was trained. Cosine schedule, T = 4000; the images are the same throughout, fewer than Table 2's. Models of "
    f"{run.train_steps:,} training steps, and in mid-training (seed {scale.seeds[0]}) of "
    f"{scale.in_mid_training(run).train_steps:,}.",
    figures=(
      sections.plot(draw, "Bits/dim by the number of timesteps evaluated, mean over the seeds."),
    ),
    tables=(
      sections.Table(columns, rows, "NLL (bits/dim), mean over the seeds; in mid-training of one."),
    ),
    claims=(
      _claim(
        found[HYBRID, "strided"][at],
        found[HYBRID, "dense_start"][at],
        full,
        found[HYBRID, "strided"][fair],
        strides[fair],
      ),
    ),
  )


def _claim(strided, dense, full, fair, fair_steps):
  how = f"bits/dim of L_hybrid, of the same images, K = {_CLAIMED}"
  return claims.Claim(
    12,
    "Constant striding hurts NLL and Appendix E's schedule mends it.",
    (
      claims.paired("strided less all steps", strided, full, how),
      claims.paired("strided less Appendix E's", strided, dense, how),
      claims.over_seeds(
        "more than half of the harm is mended",
        (strided - dense) - (strided - full) / 2,
        f"(strided less Appendix E's) less half of (strided less all steps), {how}",
      ),
      claims.paired(
        f"{fair_steps} strided less Appendix E's, which takes fewer evaluations", fair, dense, how
      ),
    ),
  )
