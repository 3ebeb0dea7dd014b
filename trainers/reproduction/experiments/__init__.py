"""Experiments of the paper, one module each.

The package finds its modules by itself. Listing their names imports none of them.
"""

import re
from typing import TYPE_CHECKING

from iddpm_tf.settings import registry

if TYPE_CHECKING:
  from trainers.reproduction.experiments import base

EXPERIMENTS: "registry.Registry[type[base.Experiment]]" = registry.Registry(
  "experiment", "trainers.reproduction.experiments", helpers=("base",)
)


def names() -> tuple[str, ...]:
  """Returns the names of all experiments in the paper's order, figures before tables."""
  return tuple(sorted(EXPERIMENTS.names(), key=_place))


def load(name: str) -> "base.Experiment":
  """Returns the experiment of a name."""
  return EXPERIMENTS.get(name)()


def load_all() -> "dict[str, base.Experiment]":
  """Returns all experiments by their names, in the paper's order."""
  return {name: load(name) for name in names()}


def _place(name: str) -> tuple[str, int]:
  """Returns a name's place in the order: its kind, then its number."""
  number = re.search(r"\d*$", name)
  assert number is not None
  return name[: number.start()], int(number.group() or 0)
