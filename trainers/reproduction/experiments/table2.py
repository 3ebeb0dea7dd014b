"""Table 2: NLL and FID by schedule, T and objective, on CIFAR-10. Table 1 shares its code."""

from collections.abc import Mapping
from collections.abc import Sequence
import pathlib
from typing import Any
from typing import NamedTuple

import numpy as np

from trainers.reproduction import claims
from trainers.reproduction import experiments
from trainers.reproduction import scales
from trainers.reproduction import sections
from trainers.reproduction import shared_tasks
from trainers.reproduction import tasks
from trainers.reproduction.experiments import base

CLAIMS = (1, 4, 5)
# The models of claim 4, whose bits/dim differ by some hundredths.
_CLOSE = tuple(row for row in scales.ROWS if row.steps == 4000 and row.objective != "vlb")


class PaperTable(NamedTuple):
  """A table of the paper.

  Attributes:
    data: its data set.
    nll: the NLL of each of `scales.ROWS`.
    fid: the FID of each of `scales.ROWS`.
  """

  data: str
  nll: tuple[float, ...]
  fid: tuple[float, ...]


_PAPER = PaperTable(
  "CIFAR-10",
  nll=(3.73, 3.37, 3.26, 3.26, 3.17, 2.94),
  fid=(3.29, 2.90, 3.07, 3.05, 3.19, 11.47),
)


@experiments.EXPERIMENTS.register("table2")
class Table2(base.Experiment):
  """Bits/dim of the six models, and samples."""

  title = "Table 2: schedule and objective on CIFAR-10"
  claims = CLAIMS

  def needs(self, scale: scales.Scale) -> Sequence[tasks.Task]:
    """Returns bits/dim of every model, and samples of the first seed.

    With the paper's models also their FID.
    """
    first = scale.seeds[0]
    return [
      *(_nll(scale, row, seed) for row in scales.ROWS for seed in scale.seeds),
      *(_grid(scale, row) for row in scales.ROWS),
      *(
        shared_tasks.all_steps_fid(scale, row, first)
        for row in scales.ROWS
        if scale.has_paper_models
      ),
    ]

  def show(self, scale: scales.Scale, output: pathlib.Path) -> sections.Section:
    """Returns the paper's numbers beside ours, samples, and claims 1, 4 and 5."""
    return section(scale, output, _PAPER)


def section(scale: scales.Scale, output: pathlib.Path, paper: PaperTable) -> sections.Section:
  """Returns the section of a table of the paper with our numbers beside it."""
  nll = {
    row: [_nll(scale, row, seed).score(output, "nll") for seed in scale.seeds]
    for row in scales.ROWS
  }
  rows = []
  for row, paper_nll, paper_fid in zip(scales.ROWS, paper.nll, paper.fid):
    seed_values = ", ".join(f"{value:.3f}" for value in nll[row])
    cells: tuple[Any, ...] = (
      f"{row.steps // 1000}K",
      row.schedule,
      f"L_{row.objective}",
      paper_nll,
      paper_fid,
      float(np.mean(nll[row])),
      seed_values,
    )
    if scale.has_paper_models:
      # Fewer steps would cost L_simple more than L_hybrid.
      name = tasks.result_name(shared_tasks.all_steps_sampler(scale, row))
      task = shared_tasks.all_steps_fid(scale, row, scale.seeds[0])
      cells = (*cells, task.score(output, "fid", name))
    rows.append(cells)
  columns = (
    "T",
    "schedule",
    "objective",
    f"the paper's NLL ({paper.data})",
    "the paper's FID",
    "our NLL",
    "of each seed",
    *(["our FID"] if scale.has_paper_models else []),
  )
  grids = tuple(
    sections.image_grid(
      _grid(scale, row).picture(output),
      f"{row.schedule}, T = {row.steps:,}, L_{row.objective}: samples by {scale.sampler} steps, "
      f"seed {scale.seeds[0]}, not selected.",
    )
    for row in scales.ROWS
  )
  return sections.Section(
    f"Our NLL (bits/dim) is that of {scale.likelihood_models.data}, after "
    f"{scale.likelihood_models.train_steps:,} training steps of each model. L_vlb is trained with "
    "importance sampling of t, which begins when every timestep has ten losses. "
    f"{_about(scale)}",
    figures=grids,
    tables=(sections.Table(columns, tuple(rows), _caption(scale)),),
    claims=judge(nll),
  )


def _nll(scale: scales.Scale, row: scales.Row, seed: int) -> tasks.EvaluationTask:
  training = scale.likelihood_models.training(row, seed)
  return shared_tasks.nll(scale, training, close=row in _CLOSE)


def _grid(scale: scales.Scale, row: scales.Row) -> tasks.SamplingTask:
  return shared_tasks.sample_grid(scale, scale.likelihood_models.training(row, scale.seeds[0]))


def _caption(scale: scales.Scale) -> str:
  if scale.has_paper_models:
    return f"NLL averaged over the seeds, and FID of seed {scale.seeds[0]}."
  return "NLL averaged over the seeds."


def _about(scale: scales.Scale) -> str:
  """Returns what the report says about FID and about the length of the trainings."""
  if not scale.has_paper_models:
    return (
      "The trainings here are too short for that at T = 4000. Only the order of the rows can be "
      "compared with the paper's. Figure 8 has FID of two of these models."
    )
  text = (
    f"FID is that of {scale.fid.num_samples:,} samples by all T steps. The paper does not say how "
    "many steps the FID of its table takes."
  )
  if scale.name == "imagenet64":
    text += " The paper's two rows of 1.5M iterations are left out."
  return text


def judge(nll: Mapping[scales.Row, Sequence[float]]) -> tuple[claims.Claim, ...]:
  """Judges claims 1, 4 and 5 by the bits/dim of each row's seeds."""
  how = "the difference in bits/dim between models of the same seed"
  return (
    claims.Claim(
      1,
      "NLL falls from T = 1000 to T = 4000.",
      (
        claims.paired(
          "linear, L_simple: T = 1000 minus T = 4000",
          nll[scales.Row("linear", 1000, "simple")],
          nll[scales.Row("linear", 4000, "simple")],
          how,
        ),
      ),
    ),
    claims.Claim(
      4,
      "L_hybrid has a lower NLL than L_simple.",
      tuple(
        claims.paired(
          f"{schedule}, T = 4000: L_simple minus L_hybrid",
          nll[scales.Row(schedule, 4000, "simple")],
          nll[scales.Row(schedule, 4000, "hybrid")],
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
          f"L_{objective}, T = 4000: linear minus cosine",
          nll[scales.Row("linear", 4000, objective)],
          nll[scales.Row("cosine", 4000, objective)],
          how,
        )
        for objective in ("simple", "hybrid")
      ),
    ),
  )
