"""Tables 1 and 2: schedule, T and objective ablated; and their claims on bits/dim."""

from typing import NamedTuple

import numpy as np

from trainers.reproduction import claims
from trainers.reproduction import scales
from trainers.reproduction import sections


class Printed(NamedTuple):
  """A table of the paper: NLL and FID, in the order of `scales.ROWS`."""

  title: str
  data: str
  nll: tuple[float, ...]
  fid: tuple[float, ...]


TABLE_2 = Printed(
  "Table 2: schedule and objective on CIFAR-10",
  "CIFAR-10",
  (3.73, 3.37, 3.26, 3.26, 3.17, 2.94),
  (3.29, 2.90, 3.07, 3.05, 3.19, 11.47),
)
_OF = {(row.schedule, row.steps, row.objective): row for row in scales.ROWS}


def needs(scale):
  """Bits/dim of each row's models, and samples of the first seed's."""
  return (
    *(scale.nll_of(scale.likelihood_run(row, seed)) for row in scales.ROWS for seed in scale.seeds),
    *(scale.grid_of(scale.likelihood_run(row, scale.seeds[0])) for row in scales.ROWS),
    *(_fid(scale, row) for row in scales.ROWS if scale.table),
  )


def _fid(scale, row):
  return scale.fid_measurement("table", scale.fid_run(row, scale.seeds[0]), [scale.samplers[0]])


def show(scale, output):
  """Table 2, and claims 1, 4 and 5."""
  return as_printed(scale, output, TABLE_2)


def as_printed(scale, output, printed):
  """The `Section` of a table of the paper beside our numbers."""
  found = {row: nlls(scale, output, row) for row in scales.ROWS}
  rows = tuple(
    (
      f"{row.steps // 1000}K",
      row.schedule,
      f"L_{row.objective}",
      nll,
      fid,
      float(np.mean(found[row])),
      ", ".join(f"{value:.3f}" for value in found[row]),
      *_our_fid(scale, output, row),
    )
    for row, nll, fid in zip(scales.ROWS, printed.nll, printed.fid)
  )
  columns = (
    "T",
    "schedule",
    "objective",
    f"the paper's NLL ({printed.data})",
    "the paper's FID",
    "our NLL",
    "of each seed",
    *(["our FID"] if scale.table else []),
  )
  grids = tuple(
    sections.grid(
      scale.grid_of(scale.likelihood_run(row, scale.seeds[0])).picture(output),
      f"{row.schedule}, T = {row.steps:,}, L_{row.objective}: samples by {scale.samplers[0]} steps, "
      f"seed {scale.seeds[0]}, no selection.",
    )
    for row in scales.ROWS
  )
  return sections.Section(
    printed.title,
    f"Our NLL, bits/dim, is of {scale.about}; each model made {scale.train_steps:,} steps. L_vlb is trained by "
    "importance sampling of t, which begins once every timestep has ten losses. "
    + (
      f"FID is of {scale.fid_samples:,} samples. "
      + ("The paper's two rows of 1.5M iterations are left out." if scale.table == "table1" else "")
      if scale.table
      else "The trainings here are too short for that at T = 4000. Only the order of the rows can be "
      "compared with the paper's. FID of these images is not measured."
    ),
    figures=grids,
    tables=(sections.Table(columns, rows, "Mean over the seeds."),),
    claims=_claims(found),
  )


def _our_fid(scale, output, row):
  return (
    [_fid(scale, row).score(output, "fid", scale.samplers[0].replace(":", "_"))]
    if scale.table
    else []
  )


def nlls(scale, output, row):
  """Bits/dim, one a seed."""
  return [
    scale.nll_of(scale.likelihood_run(row, seed)).score(output, "nll") for seed in scale.seeds
  ]


def _claims(found):
  nll = {key: found[row] for key, row in _OF.items()}
  how = "bits/dim of the one less that of the other, of models of the same seed"
  return (
    claims.Claim(
      1,
      "NLL falls from T = 1000 to 4000.",
      (
        claims.paired(
          "linear, L_simple: T = 1000 less T = 4000",
          nll["linear", 1000, "simple"],
          nll["linear", 4000, "simple"],
          how,
        ),
      ),
    ),
    claims.Claim(
      4,
      "L_hybrid has a lower NLL than L_simple.",
      tuple(
        claims.paired(
          f"{schedule}, T = 4000: L_simple less L_hybrid",
          nll[schedule, 4000, "simple"],
          nll[schedule, 4000, "hybrid"],
          how,
        )
        for schedule in ("linear", "cosine")
      ),
    ),
    claims.Claim(
      5,
      "The cosine schedule has a lower NLL than the linear one.",
      tuple(
        claims.paired(
          f"L_{objective}, T = 4000: linear less cosine",
          nll["linear", 4000, objective],
          nll["cosine", 4000, objective],
          how,
        )
        for objective in ("simple", "hybrid")
      ),
    ),
  )
