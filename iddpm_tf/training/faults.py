"""Finds that a training diverges, and says why."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from iddpm_tf import settings
from iddpm_tf.training import state as state_lib
from iddpm_tf.training import step_guard
from iddpm_tf.training import train_step

_RECENT = 100  # The number of steps whose error is averaged, and of which a diagnosis tells.
_SHOWN_TIMESTEPS = 3


class DivergedError(settings.InputError):
  """A training diverges, also after it went back to its last checkpoint."""

  exit_status = 3


class Fault(NamedTuple):
  """Why a run cannot go on from where it is."""

  step: int
  reason: str


class Monitor:
  """Follows the steps of a run.

  Attributes:
    skipped: the number of skipped steps since the run was started or continued.
    last: what was wrong last, or None.
  """

  def __init__(self, state: state_lib.TrainState):
    """Makes a monitor.

    Args:
      state: the state of the training, which a diagnosis looks at.
    """
    self._state = state
    self.skipped = 0
    self.last: Fault | None = None
    self.begin()

  def begin(self) -> None:
    """Forgets the steps, as when a run goes back."""
    self._in_a_row = 0
    self._records: list[train_step.Record] = []

  def add(self, records: train_step.Record, step: int) -> tuple[list[str], Fault | None]:
    """Adds the records of steps.

    Args:
      records: a record of NumPy arrays `[steps, ...]`.
      step: the last of the steps.

    Returns:
      A line about each skipped step, and a fault if too many were skipped in a row.
    """
    self._records = [*self._records, *_split(records)][-_RECENT:]
    lines, limit = [], self._state.config.training.max_skipped_steps
    first = step - len(records.skipped) + 1
    for i in range(len(records.skipped)):
      if not records.skipped[i]:
        self._in_a_row = 0
        continue
      if records.loss_scale[i] > 1 and not np.isfinite(records.grad_norm[i]):
        continue  # An overflow of float16, after which the loss is scaled less.
      self._in_a_row += 1
      self.skipped += 1
      reason = _why_skipped(records, i)
      self.last = Fault(first + i, reason)
      lines.append(f"step {first + i} was skipped: {reason}")
      if self._in_a_row >= limit:
        return lines, Fault(first + i, f"{limit} steps in a row were skipped; the last: {reason}")
    return lines, None

  @property
  def is_skipping(self) -> bool:
    """Whether the last step was skipped."""
    return self._in_a_row > 0

  def check(self, step: int) -> Fault | None:
    """Returns a fault if the state is not worth saving.

    It is not worth saving if the losses of the last steps were far too large, or if numbers of the
    state are not finite.
    """
    taken = [record for record in self._records if not record.skipped]
    reason = self._state.task.why_diverged(taken)
    if reason:
      return Fault(step, reason)
    if not self._state.is_finite():
      return Fault(step, "weights, moments or averages are not finite")
    return None

  def diagnosis(self) -> str:
    """Returns what the last steps and the weights look like, in one line."""
    paths = self._state.paths
    names = step_guard.group_names(paths)
    weights = self._state.weights
    norms = step_guard.group_norms(weights.layout, weights.variable.read_value(), paths).numpy()
    parts = [f"worst timesteps: {self._worst_timesteps()}"] if self._records else []
    skipped = [record for record in self._records if record.skipped]
    if skipped:
      parts.append(f"norms of the gradient: {_by_group(names, skipped[-1].group_norms)}")
    parts.append(f"norms of the weights: {_by_group(names, norms)}")
    return "; ".join(parts)

  def _worst_timesteps(self) -> str:
    """Returns the timesteps of the largest losses, and which term they are of."""
    names = self._state.task.terms
    t, *terms = (
      np.concatenate([np.atleast_1d(getattr(record, name)) for record in self._records])
      for name in ("t", *names)
    )
    sizes = np.nan_to_num(np.abs(np.stack(terms)), nan=np.inf)  # [terms, N]
    texts, seen = [], set()
    for index in np.argsort(-sizes.max(axis=0), kind="stable"):
      if t[index] in seen:
        continue
      seen.add(t[index])
      term = int(sizes[:, index].argmax())
      texts.append(f"{t[index]} ({names[term]} {terms[term][index]:.3g})")
      if len(texts) == _SHOWN_TIMESTEPS:
        break
    return ", ".join(texts)


def _split(records: train_step.Record) -> list[train_step.Record]:
  return [type(records)(*values) for values in zip(*records)]


def _why_skipped(records: train_step.Record, index: int) -> str:
  norm = float(records.grad_norm[index])
  if not np.isfinite(norm):
    return f"expected a finite gradient, received one of norm {norm}"
  losses = records.loss[index]
  if not np.all(np.isfinite(losses)):
    return f"expected finite losses, received {losses[~np.isfinite(losses)][0]}"
  return f"its gradient has the norm {norm:.3g}, far above those of the steps before"


def _by_group(names: Sequence[str], norms: np.ndarray) -> str:
  return ", ".join(f"{name} {norm:.3g}" for name, norm in zip(names, norms, strict=True))
