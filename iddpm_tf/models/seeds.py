"""Seeds and labels of images: the same in training, from the command line, in Python and in exports."""

from collections.abc import Sequence

import numpy as np

from iddpm_tf import config as config_lib
from iddpm_tf import settings


def make_seeds(count: int, first_seed: int = 0) -> np.ndarray:
  """Returns the seeds first_seed, first_seed + 1, ..., int64 `[count]`."""
  return first_seed + np.arange(count, dtype=np.int64)


def make_labels(
  count: int, num_classes: int, labels: Sequence[int] | np.ndarray | None = None
) -> np.ndarray | None:
  """Returns the labels of images, int32 `[count]`, or None for a model without classes.

  An image keeps its label if more images are drawn.

  Args:
    count: the number of images.
    num_classes: the number of classes of the model; 0 for one without classes.
    labels: classes to repeat in turn. None repeats all classes.

  Raises:
    InputError: a label that is not a class of the model.
  """
  if labels is not None:
    labels = np.asarray(labels)
    if not num_classes:
      message = f"expected none, because the model has no classes, received {labels.tolist()}"
      raise settings.InputError("labels", message)
    valid = labels.ndim == 1 and labels.size and np.issubdtype(labels.dtype, np.integer)
    if not valid or labels.min() < 0 or labels.max() >= num_classes:
      message = f"expected classes from 0 to {num_classes - 1}, received {labels.tolist()}"
      raise settings.InputError("labels", message)
    return np.resize(labels.astype(np.int32), count)
  return np.arange(count, dtype=np.int32) % num_classes if num_classes else None


def example_inputs(config: config_lib.Config, count: int) -> dict[str, np.ndarray | None]:
  """Returns one array `[count, ...]` for each input that a sampler of the model may have."""
  inputs = {"seed": make_seeds(count), "label": make_labels(count, config.num_classes)}
  if config.low_res_shape:
    shape = [count, *config.low_res_shape]
    inputs["low_res"] = np.random.RandomState(0).randint(0, 256, shape, np.uint8)
  return inputs
