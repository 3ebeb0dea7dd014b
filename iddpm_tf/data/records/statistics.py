"""What pictures are like: sizes, modes, formats and labels, counted."""

import collections

import numpy as np

_NAMES = 10  # Kept as examples.


class Statistics:
  """Counts over readable pictures, which can be added up and written as JSON."""

  def __init__(self):
    self.sizes, self.modes, self.formats, self.labels = (collections.Counter() for _ in range(4))
    self.named_otherwise = 0  # Files whose content is of another format than their name says.
    self.examples_named_otherwise = []

  @property
  def count(self):
    return sum(self.formats.values())

  def add(self, outcome):
    """Counts a readable `decoding.Outcome`."""
    decoded = outcome.decoded
    self.sizes[f"{decoded.height}x{decoded.width}"] += 1
    self.modes[decoded.mode] += 1
    self.formats[decoded.format] += 1
    self.labels[str(outcome.label)] += 1
    if decoded.named_otherwise:
      self.named_otherwise += 1
      self.examples_named_otherwise = (self.examples_named_otherwise + [outcome.name])[:_NAMES]

  def merge(self, other):
    for name in ("sizes", "modes", "formats", "labels"):
      getattr(self, name).update(getattr(other, name))
    self.named_otherwise += other.named_otherwise
    self.examples_named_otherwise = (
      self.examples_named_otherwise + other.examples_named_otherwise
    )[:_NAMES]

  def to_json(self):
    return {
      name: dict(sorted(value.items())) if isinstance(value, collections.Counter) else value
      for name, value in vars(self).items()
    }

  @classmethod
  def from_json(cls, content):
    result = cls()
    for name, value in content.items():
      setattr(result, name, collections.Counter(value) if isinstance(value, dict) else value)
    return result

  def sizes_in_short(self):
    """Smallest, median and largest by area, and the most common: {name: "HxW"}; empty if there are none."""
    if not self.sizes:
      return {}
    by_area = sorted(
      self.sizes, key=lambda size: (np.prod([int(side) for side in size.split("x")]), size)
    )
    ends = np.cumsum([self.sizes[size] for size in by_area])
    median = by_area[int(np.searchsorted(ends, ends[-1] / 2))]
    return {
      "smallest": by_area[0],
      "median": median,
      "largest": by_area[-1],
      "most common": self.sizes.most_common(1)[0][0],
      "different": str(len(by_area)),
    }
