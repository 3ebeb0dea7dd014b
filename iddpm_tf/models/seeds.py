"""Seeds and labels of images: the same in training, from the command line, in Python and in
exports.
"""

from collections.abc import Sequence
import difflib

import numpy as np

from iddpm_tf import config as config_lib
from iddpm_tf import settings


def make_seeds(count: int, first_seed: int = 0) -> np.ndarray:
  """Returns the seeds first_seed, first_seed + 1, ..., int64 `[count]`."""
  return first_seed + np.arange(count, dtype=np.int64)


def first_of_set(seed: int) -> int:
  """Returns the seed of the first image of a set for scores. Sets of two seeds share no image.

  Args:
    seed: the seed of the set. Image i of set 0 has the seed i.
  """
  return seed << 32


# Labels: classes by number or by name.
Labels = int | str | Sequence[int] | Sequence[str] | np.ndarray


def make_labels(
  count: int,
  num_classes: int,
  labels: Labels | None = None,
  *,
  class_names: Sequence[str] = (),
) -> np.ndarray | None:
  """Returns the labels of images, int32 `[count]`, or None for a model without classes.

  An image keeps its label if more images are drawn.

  Args:
    count: the number of images.
    num_classes: the number of classes of the model; 0 for one without classes.
    labels: classes to repeat in turn, by number or by name. None repeats all classes.
    class_names: the names of the classes by number; empty if they are unknown.

  Raises:
    InputError: a label that is not a class of the model.
  """
  if labels is not None:
    labels = np.atleast_1d(np.asarray(labels))
    if labels.dtype.kind == "U" and num_classes:
      labels = _numbers(labels.ravel().tolist(), class_names)
    if not num_classes:
      message = f"expected none, because the model has no classes, received {labels.tolist()}"
      raise settings.InputError("labels", message)
    if labels.ndim != 1 or not labels.size or not np.issubdtype(labels.dtype, np.integer):
      message = f"expected a list of whole numbers, received {labels.tolist()}"
      raise settings.InputError("labels", message)
    if labels.min() < 0 or labels.max() >= num_classes:
      message = f"expected classes from 0 to {num_classes - 1}, received {labels.tolist()}"
      raise settings.InputError("labels", message)
    return np.resize(labels.astype(np.int32), count)
  return np.arange(count, dtype=np.int32) % num_classes if num_classes else None


def _numbers(names: Sequence[str], class_names: Sequence[str]) -> np.ndarray:
  """Returns the numbers of classes by their names, int `[N]`."""
  if not class_names:
    message = f"expected numbers, because the names of the classes are unknown, received {names}"
    raise settings.InputError("labels", message)
  for name in names:
    if name not in class_names:
      near = difflib.get_close_matches(name, class_names, n=1)
      hint = f"; did you mean {near[0]}?" if near else ""
      shown = ", ".join([*class_names[:10], *(["..."] if len(class_names) > 10 else [])])
      message = f"expected names of classes ({shown}), received {name!r}{hint}"
      raise settings.InputError("labels", message)
  return np.array([list(class_names).index(name) for name in names])


def labels_from_texts(texts: Sequence[str], class_names: Sequence[str]) -> list[str] | list[int]:
  """Returns the labels of a command line: names if they are names, otherwise numbers.

  A text that is neither is returned as it is, and `make_labels` refuses it.
  """
  if all(text in class_names for text in texts) or not all(map(is_number, texts)):
    return list(texts)
  return [int(text) for text in texts]


def is_number(text: str) -> bool:
  """Returns whether a text is a whole number, such as `3` or `-1`."""
  return text.removeprefix("-").isdecimal()


def example_inputs(
  config: config_lib.Config, count: int, *, num_labels: int | None = None
) -> dict[str, np.ndarray]:
  """Returns one array `[count, ...]` for each input that a sampler of the model may have."""
  inputs = {"seed": make_seeds(count)}
  labels = make_labels(count, config.num_classes if num_labels is None else num_labels)
  if labels is not None:
    inputs["label"] = labels
  if config.low_res_shape:
    shape = [count, *config.low_res_shape]
    inputs["low_res"] = np.random.RandomState(0).randint(0, 256, shape, np.uint8)
  inputs |= {
    "guidance_scale": np.linspace(0.0, 4.0, count, dtype=np.float32),
    "classifier_scale": np.linspace(0.0, 4.0, count, dtype=np.float32),
    "strength": np.linspace(1.0, 0.3, count, dtype=np.float32),
    "image": np.random.RandomState(1).randint(0, 256, [count, *config.image_shape], np.uint8),
    "other_image": np.random.RandomState(2).randint(0, 256, [count, *config.image_shape], np.uint8),
    "weight": np.linspace(0.0, 1.0, count, dtype=np.float32),
    "mask": np.zeros([count, *config.image_shape[:2], 1], np.uint8),
  }
  inputs["mask"][:, config.image_shape[0] // 2 :] = 255
  return inputs


def make_inputs(
  count: int | None,
  *,
  seed: int | Sequence[int] | np.ndarray = 0,
  labels: Labels | None = None,
  num_classes: int = 0,
  class_names: Sequence[str] = (),
  low_res: np.ndarray | None = None,
) -> dict[str, np.ndarray | None]:
  """Returns the inputs of a sampler by name: `seed`, `label` and `low_res`.

  Args:
    count: the number of images. None is the number of seeds or of images to enlarge, or 1.
    seed: the seed of the first image, or one seed per image.
    labels: classes to repeat in turn, by number or by name. None repeats all classes of the model.
    num_classes: the number of classes of the model; 0 for one without classes.
    class_names: the names of the classes by number; empty if they are unknown.
    low_res: the images that a super-resolution model enlarges, uint8 `[N, h, w, C]`.

  Raises:
    InputError: a wrong value.
  """
  given = np.asarray(seed)
  if not np.issubdtype(given.dtype, np.integer) or given.ndim > 1 or given.size == 0:
    message = f"expected a whole number, or one per image, received {seed!r}"
    raise settings.InputError("seed", message)
  if count is None:
    count = len(given) if given.ndim else 1 if low_res is None else len(low_res)
  if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < 1:
    raise settings.InputError("count", f"expected a positive whole number, received {count!r}")
  last = int(given.max()) + (0 if given.ndim else int(count) - 1)
  if given.min() < 0 or last >= 2**63:
    raise settings.InputError("seed", f"expected seeds from 0 to 2**63 - 1, received {seed}")
  if given.ndim and len(given) != count:
    raise settings.InputError("seed", f"expected {count} seeds, received {len(given)}")
  if low_res is not None and len(low_res) != count:
    raise settings.InputError("low_res", f"expected {count} images, received {len(low_res)}")
  return {
    "seed": given.astype(np.int64) if given.ndim else make_seeds(count, int(given)),
    "label": make_labels(count, num_classes, labels, class_names=class_names),
    "low_res": low_res,
  }
