"""Section 4: what the text says of the spacing of the timesteps, without a figure."""

from collections.abc import Mapping
from collections.abc import Sequence
import pathlib

import numpy as np

from trainers.reproduction import claims
from trainers.reproduction import experiments
from trainers.reproduction import scales
from trainers.reproduction import sections
from trainers.reproduction import shared_tasks
from trainers.reproduction import tasks
from trainers.reproduction.experiments import base
from trainers.reproduction.experiments import fig8

_HYBRID, _DDIM = fig8.HYBRID, fig8.DDIM
# Of each sampler, the spacing that the paper takes, and others.
_SPACINGS = {_HYBRID: ("uniform", "stride"), _DDIM: ("stride", "uniform", "quadratic")}
_COLUMNS = {
  "uniform": "evenly spaced timesteps",
  "stride": "constant stride from the first timestep",
  "quadratic": "quadratic stride",
}
_STEPS = 25
_DRASTIC = 0.5  # FID is drastically larger if it is larger by more than this part of it.
_SAME_SEED = "FID of infinitely many samples, of models of the same seed"


@experiments.EXPERIMENTS.register("section4")
class Section4(base.Experiment):
  """FID of two samplers by timesteps that are spaced in several ways."""

  title = "Section 4: statements on the spacing of the timesteps"
  claims = (20,)

  def needs(self, scale: scales.Scale) -> Sequence[tasks.Task]:
    """Returns the evaluations of each seed; those with the paper's spacing are of Figure 8."""
    return _evaluations(scale)

  def show(self, scale: scales.Scale, output: pathlib.Path) -> sections.Section:
    """Returns FID by the spacing, and claim 20."""
    # {curve of Figure 8: {spacing: FID of each seed}}
    fid = {
      name: {
        spacing: np.array([_fid(scale, output, name, spacing, seed) for seed in scale.seeds])
        for spacing in spacings
      }
      for name, spacings in _SPACINGS.items()
    }
    rows = tuple(
      (name, *(float(values[each].mean()) if each in values else None for each in _COLUMNS))
      for name, values in fid.items()
    )
    table = sections.Table(
      ("sampler", *_COLUMNS.values()),
      rows,
      f"FID of infinitely many samples by {_STEPS} steps, averaged over the seeds. "
      + shared_tasks.largest_error(_evaluations(scale), output),
    )
    return sections.Section(
      f"The models are those of Figure 8, of {scale.fid_models.data}, at the end of training. The "
      "figure has DDIM with a constant stride, and L_hybrid with evenly spaced timesteps.",
      tables=(table,),
      claims=(judge(fid),),
    )


def _evaluations(scale: scales.Scale) -> list[tasks.EvaluationTask]:
  """Returns the evaluations of each sampler, spacing and seed."""
  return [
    _evaluation(scale, name, spacing, seed)
    for name, spacings in _SPACINGS.items()
    for spacing in spacings
    for seed in scale.seeds
  ]


def _evaluation(scale: scales.Scale, name: str, spacing: str, seed: int) -> tasks.EvaluationTask:
  """Returns the evaluation of the model of a curve of Figure 8, with a spacing."""
  training = fig8.training(scale.fid_models, name, seed)
  if spacing == _SPACINGS[name][0]:
    return fig8.evaluation(scale, name, training)
  kind = f"{fig8.CURVES[name].sampler}_{spacing}"
  return shared_tasks.fid(scale, kind, training, [_sampler(name, spacing)], ("--fid_infinity",))


def _fid(scale: scales.Scale, output: pathlib.Path, name: str, spacing: str, seed: int) -> float:
  """Returns the FID of infinitely many samples."""
  task = _evaluation(scale, name, spacing, seed)
  return task.score(output, "fid_infinity", tasks.result_name(_sampler(name, spacing)))


def _sampler(name: str, spacing: str) -> str:
  own = fig8.sampler(name, _STEPS)
  return own if spacing == _SPACINGS[name][0] else f"{own}:{spacing}"


def judge(fid: Mapping[str, Mapping[str, np.ndarray]]) -> claims.Claim:
  """Judges claim 20.

  Args:
    fid: `{curve of Figure 8: {spacing: FID of each seed}}`, of L_hybrid and of DDIM.
  """
  ddim, hybrid = fid[_DDIM], fid[_HYBRID]
  return claims.Claim(
    20,
    "Evenly spaced timesteps drastically harm DDIM, and a quadratic stride harms it. L_hybrid is "
    "slightly better with evenly spaced timesteps than with a constant stride.",
    (
      claims.paired(
        f"DDIM, {_STEPS} steps: evenly spaced ones increase FID by more than half",
        ddim["uniform"],
        (1 + _DRASTIC) * ddim["stride"],
        f"FID with them, minus {1 + _DRASTIC} times that with a constant stride; {_SAME_SEED}",
      ),
      claims.paired(
        f"DDIM, {_STEPS} steps: FID with a quadratic stride minus a constant one's",
        ddim["quadratic"],
        ddim["stride"],
        _SAME_SEED,
      ),
      claims.paired(
        f"L_hybrid, {_STEPS} steps: FID with a stride minus that with evenly spaced ones",
        hybrid["stride"],
        hybrid["uniform"],
        _SAME_SEED,
      ),
    ),
  )
