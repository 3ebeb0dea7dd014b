"""Figure 8: FID by the number of sampling steps."""

from collections.abc import Mapping
from collections.abc import Sequence
import pathlib
from typing import Any
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


class Curve(NamedTuple):
  """One curve of the figure: a model, a sampler, and flags of `trainers.evaluate`."""

  row: scales.Row
  sampler: str
  flags: tuple[str, ...] = ()


HYBRID, DDIM = "L_hybrid", "L_simple, DDIM"
_SHORT = {HYBRID: "L_hybrid", DDIM: "DDIM"}  # In statements of claims.
_BETA, _BETA_TILDE = "L_simple, variance beta", "L_simple, variance beta tilde"
# L_simple trains no variance, so that the same weights serve both fixed variances.
CURVES = {
  HYBRID: Curve(scales.COSINE_HYBRID, "ancestral"),
  _BETA: Curve(scales.COSINE_SIMPLE, "ancestral"),
  _BETA_TILDE: Curve(scales.COSINE_SIMPLE, "ancestral", ("--fixed_variance=fixed_small",)),
  DDIM: Curve(scales.COSINE_SIMPLE, "ddim"),
}
_INCREASING = (HYBRID, _BETA, _BETA_TILDE)  # Claim 9 compares how much FID of these increases.
_ENOUGH = 100  # The number of steps that is near-optimal (section 4).
_FEW = 50  # DDIM is better with fewer steps than these (section 4).
_SAME_SEED = "FID of infinitely many samples, of models of the same seed"
_NEAR = 0.1  # FID is near-optimal if it is larger by less than this part of it.
_CLOSED = 0.5  # A gap is closed by more than this part of it.


@experiments.EXPERIMENTS.register("fig8")
class Figure8(base.Experiment):
  """FID of four samplers with few and with many steps."""

  title = "Figure 8: FID by the number of sampling steps"
  claims = (9, 10, 21)

  def needs(self, scale: scales.Scale) -> Sequence[tasks.Task]:
    """Returns the evaluations of each curve and seed, also in mid-training."""
    return [
      *(task for models in _all_models(scale) for task in _evaluations(scale, models)),
      *(
        task
        for models in _all_models(scale)
        for name in _INCREASING
        for task in _judging_increase(scale, name, models)
      ),
      *(
        evaluation(scale, name, training(scale.fid_models, name, seed), mid=True)
        for name in CURVES
        for seed in _seeds_in_mid_training(scale, name)
      ),
    ]

  def show(self, scale: scales.Scale, output: pathlib.Path) -> sections.Section:
    """Returns FID by the number of steps, and claims 9, 10 and 21."""
    # {data: {curve: {number of steps: FID of each seed}}}
    fid_by_data, limits_by_data = (
      {
        models.data: {name: _of_seeds(scale, output, name, score, models) for name in CURVES}
        for models in _all_models(scale)
      }
      for score in ("fid", "fid_infinity")
    )
    # {data: {curve: increase of each seed}}
    increases_by_data = {
      models.data: {name: _increase(scale, output, name, models) for name in _INCREASING}
      for models in _all_models(scale)
    }
    # {curve: {number of steps: FID}}
    first = {name: training(scale.fid_models, name, scale.seeds[0]) for name in CURVES}
    mid = {name: fids(scale, output, name, each, "fid", mid=True) for name, each in first.items()}
    mid_limits = {
      name: _of_seeds(scale, output, name, "fid_infinity", scale.fid_models, mid=True)
      for name in (HYBRID, DDIM)
    }

    def draw(*axes: matplotlib.axes.Axes) -> None:
      for axis, (data, fid) in zip(axes, fid_by_data.items(), strict=True):
        for i, (name, values) in enumerate(fid.items()):
          if data == scale.fid_models.data:
            axis.plot(*zip(*mid[name].items()), "--", color=f"C{i}", linewidth=0.9)
          means = [of_seeds.mean() for of_seeds in values.values()]
          axis.plot([*values], means, color=f"C{i}", marker="o", markersize=3, label=name)
        label = f"FID: {data.partition(' (')[0]}"
        axis.set(xlabel="sampling steps", ylabel=label, xscale="log", yscale="log")
        axis.legend()

    return sections.Section(
      _about(scale),
      figures=(
        sections.plot(
          draw,
          "FID by the number of steps, averaged over the seeds. Dashed: models of "
          f"{scale.fid_models.data} in mid-training, seed {scale.seeds[0]}.",
          columns=len(fid_by_data),
        ),
      ),
      tables=(
        *(
          table
          for models in _all_models(scale)
          for table in (
            _table(fid_by_data[models.data], f"FID on {models.data}, averaged over the seeds."),
            _table(
              limits_by_data[models.data],
              f"FID of infinitely many samples on {models.data}, averaged over the seeds. "
              + shared_tasks.largest_error(_evaluations(scale, models), output),
            ),
          )
        ),
        _table(mid, f"FID on {scale.fid_models.data} in mid-training, seed {scale.seeds[0]}."),
      ),
      claims=judge(limits_by_data, increases_by_data, mid_limits),
    )


def _all_models(scale: scales.Scale) -> tuple[scales.Models, ...]:
  """Returns the models whose FID is shown, those that judge all claims first.

  Claims 9 and 10 are judged by all of them. At the small scale, these are the models of digits,
  which may need fewer sampling steps than natural images do, and the models of photographs.
  """
  if scale.has_paper_models:
    return (scale.fid_models,)
  return scale.fid_models, scale.likelihood_models


def _about(scale: scales.Scale) -> str:
  """Returns what the report says of the models and of their scores."""
  first, *others = _all_models(scale)
  kept = first.training(scales.COSINE_HYBRID, scale.seeds[0])
  text = (
    f"FID of {scale.fid.num_samples:,} samples, cosine schedule, T = 4000. The models of "
    f"{first.data} are those after {first.train_steps:,} training steps, by which the claims are "
    f"judged, and those in mid-training, after {kept.kept_step:,} steps. "
  )
  for models in others:
    text += (
      f"Claims 9 and 10 are judged by models of {models.data}, too, after {models.train_steps:,} "
      f"training steps; their FID compares other features ({', '.join(models.fid_flags)}), so that "
      "it cannot be compared with the FID above. "
    )
  if further := scale.seeds_of(9)[len(scale.seeds) :]:
    text += (
      f"For claim 9, the increase of FID on {first.data} from {_ENOUGH} to {_fewest(scale)} steps "
      f"has the further seeds {', '.join(map(str, further))}, which the figure and the tables do "
      "not have. "
    )
  if scale.fid.most_steps < 4000:
    text += f"L_hybrid with {scale.fid.most_steps:,} steps stands for all 4,000 timesteps. "
  return (
    f"{text}The two fixed variances use the same weights (--fixed_variance). DDIM takes timesteps "
    "with a constant stride, and the other samplers take evenly spaced ones. FID of few samples is "
    "too large; the claims are judged by FID of infinitely many samples, to which it is "
    "extrapolated (Chong & Forsyth, 2020)."
  )


def _table(fid: Mapping[str, Mapping[int, Any]], caption: str) -> sections.Table:
  """Returns a table of `{curve: {number of steps: FID, or FID of each seed}}`."""
  num_steps = sorted({steps for by_steps in fid.values() for steps in by_steps})
  rows = tuple(
    (
      steps,
      *(float(np.mean(values[steps])) if steps in values else None for values in fid.values()),
    )
    for steps in num_steps
  )
  return sections.Table(("steps", *fid), rows, caption)


def _evaluations(scale: scales.Scale, models: scales.Models) -> list[tasks.EvaluationTask]:
  """Returns the evaluations of each curve and seed at the end of training."""
  return [
    evaluation(scale, name, training(models, name, seed), models)
    for name in CURVES
    for seed in scale.seeds
  ]


def _judging_increase(
  scale: scales.Scale, name: str, models: scales.Models
) -> list[tasks.EvaluationTask]:
  """Returns the evaluations of each seed that judge how much FID increases with few steps.

  The models of the further seeds are evaluated with two numbers of steps only.
  """
  seeds = scale.seeds_of(9) if models == scale.fid_models else scale.seeds
  return [
    evaluation(scale, name, training(models, name, seed), models)
    if seed in scale.seeds
    else evaluation(
      scale, name, training(models, name, seed), models, num_steps=(_fewest(scale), _ENOUGH)
    )
    for seed in seeds
  ]


def _increase(
  scale: scales.Scale, output: pathlib.Path, name: str, models: scales.Models
) -> np.ndarray:
  """Returns the increase of FID from `_ENOUGH` to the fewest steps, of each seed."""
  few, enough = (tasks.result_name(sampler(name, steps)) for steps in (_fewest(scale), _ENOUGH))
  scores = [task.scores(output, "fid_infinity") for task in _judging_increase(scale, name, models)]
  return np.array([of_seed[few] - of_seed[enough] for of_seed in scores])


def evaluation(
  scale: scales.Scale,
  name: str,
  training: tasks.TrainingTask,
  models: scales.Models | None = None,
  *,
  mid: bool = False,
  num_steps: Sequence[int] | None = None,
) -> tasks.EvaluationTask:
  """Returns the evaluation of a model by a curve's sampler, with each number of steps.

  Args:
    scale: the scale.
    name: the curve.
    training: the training of the model.
    models: the models to which it belongs; None for those of FID.
    mid: whether to evaluate the model in mid-training.
    num_steps: the numbers of steps, for an evaluation with some of those of the curve only.
  """
  curve = CURVES[name]
  models = models or scale.fid_models
  kind = "_".join([curve.sampler, *(flag.partition("=")[2] for flag in curve.flags)])
  if num_steps is None:
    num_steps = _num_steps(scale, name, mid=mid)
  else:
    kind += "_by_" + "_and_".join(map(str, num_steps))
  return shared_tasks.fid(
    scale,
    kind,
    shared_tasks.mid_training(training) if mid else training,
    [sampler(name, steps) for steps in num_steps],
    (*curve.flags, "--fid_infinity", *models.fid_flags),
  )


def fids(
  scale: scales.Scale,
  output: pathlib.Path,
  name: str,
  training: tasks.TrainingTask,
  score: str,
  models: scales.Models | None = None,
  *,
  mid: bool = False,
) -> dict[int, float]:
  """Returns a score of a model on a curve by the number of steps; see `evaluation`."""
  task = evaluation(scale, name, training, models, mid=mid)
  return {
    steps: task.score(output, score, tasks.result_name(sampler(name, steps)))
    for steps in _num_steps(scale, name, mid=mid)
  }


def training(models: scales.Models, name: str, seed: int) -> tasks.TrainingTask:
  """Returns the training of a curve's model."""
  return models.training(CURVES[name].row, seed)


def _seeds_in_mid_training(scale: scales.Scale, name: str) -> tuple[int, ...]:
  """Returns the seeds whose models are evaluated in mid-training."""
  # A claim compares these two samplers.
  return scale.seeds if name in (HYBRID, DDIM) else scale.seeds[:1]


def _of_seeds(
  scale: scales.Scale,
  output: pathlib.Path,
  name: str,
  score: str,
  models: scales.Models,
  *,
  mid: bool = False,
) -> dict[int, np.ndarray]:
  """Returns a score of a curve by the number of steps, one for each seed."""
  by_seed = [
    fids(scale, output, name, training(models, name, seed), score, models, mid=mid)
    for seed in scale.seeds
  ]
  return {steps: np.array([values[steps] for values in by_seed]) for steps in by_seed[0]}


def _fewest(scale: scales.Scale) -> int:
  """Returns the smallest number of steps."""
  return min(scale.fid.num_steps)


def _num_steps(scale: scales.Scale, name: str, *, mid: bool = False) -> tuple[int, ...]:
  """Returns the numbers of steps of a curve. L_hybrid has also the one that stands for all."""
  most = {scale.fid.most_steps} if name == HYBRID and not mid else set()
  return tuple(sorted({*scale.fid.num_steps} | most))


def sampler(name: str, steps: int) -> str:
  """Returns the sampler of a curve with a number of steps, as `--samplers` takes it."""
  return f"{CURVES[name].sampler}:{steps}"


def judge(
  fid_by_data: Mapping[str, Mapping[str, Mapping[int, np.ndarray]]],
  increases_by_data: Mapping[str, Mapping[str, np.ndarray]],
  mid: Mapping[str, Mapping[int, np.ndarray]],
) -> tuple[claims.Claim, ...]:
  """Judges claims 9, 10 and 21.

  Args:
    fid_by_data: `{data: {curve: {number of steps: FID of each seed}}}`. The first data judge all
      claims, and others judge claims 9 and 10, too.
    increases_by_data: `{data: {curve: FID by the fewest steps minus that by 100, of each seed}}`.
      There may be more seeds than in `fid_by_data`.
    mid: FID of the first data in mid-training, of L_hybrid and of DDIM.
  """
  fid = next(iter(fid_by_data.values()))
  # {data: start of the statement}
  starts = {data: f"{data}: " if len(fid_by_data) > 1 else "" for data in fid_by_data}
  return (
    claims.Claim(
      9,
      f"With L_hybrid, {_ENOUGH} steps are near-optimal. With fewer, L_simple loses more than "
      "L_hybrid, with either fixed variance.",
      tuple(
        part
        for data, start in starts.items()
        for part in _near_optimal(start, fid_by_data[data], increases_by_data[data])
      ),
    ),
    claims.Claim(
      10,
      f"DDIM is better than L_hybrid with fewer than {_FEW} steps, and worse with {_FEW} or more.",
      tuple(
        part
        for data, start in starts.items()
        for part in _better_with_few(start, fid_by_data[data])
      ),
    ),
    claims.Claim(
      21,
      "DDIM is worse than L_hybrid in mid-training, and closes the gap later.",
      (
        claims.paired(
          "in mid-training: FID of DDIM minus that of L_hybrid",
          mid[DDIM][_ENOUGH],
          mid[HYBRID][_ENOUGH],
          f"{_SAME_SEED}, by {_ENOUGH} steps",
        ),
        claims.paired(
          "at the end of training, less than half of this difference is left",
          (1 - _CLOSED) * (mid[DDIM][_ENOUGH] - mid[HYBRID][_ENOUGH]),
          fid[DDIM][_ENOUGH] - fid[HYBRID][_ENOUGH],
          f"{1 - _CLOSED} times the difference in mid-training, minus that at the end; "
          f"{_SAME_SEED}, by {_ENOUGH} steps",
        ),
      ),
    ),
  )


def _near_optimal(
  start: str,
  fid: Mapping[str, Mapping[int, np.ndarray]],
  increases: Mapping[str, np.ndarray],
) -> tuple[claims.Part, ...]:
  """Returns the parts of claim 9 of one kind of data, whose statements begin with `start`."""
  few, most = min(fid[HYBRID]), max(fid[HYBRID])
  return (
    claims.over_seeds(
      f"{start}L_hybrid: with {_ENOUGH} steps, FID is larger by less than a tenth than with "
      f"{most:,}",
      (1 + _NEAR) * fid[HYBRID][most] - fid[HYBRID][_ENOUGH],
      f"{1 + _NEAR} times the FID of {most:,} steps, minus that of {_ENOUGH} steps",
    ),
    *(
      claims.paired(
        f"{start}{name}, loses more than L_hybrid",
        increases[name],
        increases[HYBRID],
        f"the increase of FID from {_ENOUGH} to {few} steps, minus that of L_hybrid of the same "
        "seed",
      )
      for name in (_BETA, _BETA_TILDE)
    ),
  )


def _better_with_few(
  start: str, fid: Mapping[str, Mapping[int, np.ndarray]]
) -> tuple[claims.Part, ...]:
  """Returns the parts of claim 10 of one kind of data, whose statements begin with `start`."""
  worse_and_better = {
    steps: (HYBRID, DDIM) if steps < _FEW else (DDIM, HYBRID) for steps in fid[DDIM]
  }
  return tuple(
    claims.paired(
      f"{start}{steps} steps: FID of {_SHORT[worse]} minus that of {_SHORT[better]}",
      fid[worse][steps],
      fid[better][steps],
      _SAME_SEED,
    )
    for steps, (worse, better) in worse_and_better.items()
  )
