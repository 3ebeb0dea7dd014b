"""Table 1: as Table 2, on ImageNet-64."""

from trainers.reproduction.experiments import table2

TABLE_1 = table2.Printed(
  "Table 1: schedule and objective on ImageNet-64 (200K iterations)",
  "ImageNet-64",
  (3.99, 3.77, 3.66, 3.68, 3.62, 3.57),
  (32.5, 31.3, 32.2, 27.0, 28.0, 56.7),
)


def needs(scale):
  """The same as Table 2's."""
  return table2.needs(scale)


def show(scale, output):
  """Table 1, and claims 1, 4 and 5."""
  return table2.as_printed(scale, output, TABLE_1)
