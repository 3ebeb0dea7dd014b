"""The layout of a model folder: everything about a run. No other file knows it."""

from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import os
import pathlib
from typing import Any
from typing import NamedTuple

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.data import sources
from iddpm_tf.utils import files

_CONFIG = "config.json"
_LOCK = ".lock"
_BEST = "best.json"
_SHOWN_NAMES = 5  # Of classes, in an error.
CHECKPOINT = "step"  # Checkpoints are files step-500.index, step-500.data-00000-of-00001.


class Best(NamedTuple):
  """The best checkpoint of a run by a score."""

  score: str
  value: float
  step: int
  ema: float  # The rate of the averages that had the score; 0 for the raw weights.
  measured: dict[str, Any]  # What the value depends on besides, such as the number of samples.


class DataChecksum(NamedTuple):
  """Distinguishes the images and labels of a run from others."""

  checksum: str  # See `sources.checksum`.
  images: int | None  # The number of images; None for a file of an earlier version.
  of_all: str | None = None  # See `sources.checksum_of_all`; None where it is unknown.

  @classmethod
  def of(cls, source: sources.Source) -> "DataChecksum":
    """Returns the checksum of a source."""
    return cls(sources.checksum(source), len(source.images), sources.checksum_of_all(source))

  def differs(self, other: "DataChecksum") -> bool:
    """Returns whether the images or labels are others, as far as both checksums know them."""
    if None not in (self.of_all, other.of_all) and self.of_all != other.of_all:
      return True
    return self.checksum != other.checksum

  def describe_counts(self, now: "DataChecksum") -> str:
    """Returns the numbers of images until now and `now`, in brackets; "" where they are equal."""
    if self.images in (None, now.images):
      return ""
    return f" ({self.images:,}, now {now.images:,})"


class ModelDir:
  """The folder of a run.

  Attributes:
    path: the folder.
    checkpoints: the folder of checkpoints.
    best_checkpoints: the folder of the best checkpoint by a score.
    tensorboard: the folder of TensorBoard's events.
    progress: the file of the scalars of a training as CSV.
    samples: the folder of sample grids and of drawn images.
    evaluations: the folder of likelihoods in full, kept samples and references.
    results: the file of all scores, one JSON object per line.
    imported: the file that says where imported weights are from; there is none otherwise.
    initialised: the file that says which model's weights the run began from; there is none where
      they were random.
    checksum: the file with the checksum of the images and labels that the run was trained on; there
      is none for a run on files of an earlier version.
    status: the file that says how far a training is.
  """

  def __init__(self, path: str | os.PathLike[str]):
    settings.require_local("model_dir", path)
    self.path = pathlib.Path(path)
    self.checkpoints = self.path / "checkpoints"
    self.best_checkpoints = self.path / "best"
    self.tensorboard = self.path / "tensorboard"
    self.progress = self.path / "progress.csv"
    self.samples = self.path / "samples"
    self.evaluations = self.path / "evaluations"
    self.results = self.path / "results.jsonl"
    self.imported = self.path / "imported.json"
    self.initialised = self.path / "init_from.json"
    self.checksum = self.path / "images.crc32"
    self.status = self.path / "status.json"

  def __str__(self) -> str:
    return str(self.path)

  def read_config(self) -> config_lib.Config | None:
    """Returns the configuration of the run, or None where there is no run yet.

    Raises:
      InputError: the folder is something else, or its configuration cannot be read.
    """
    path = self.path / _CONFIG
    if path.is_file():
      try:
        return config_lib.Config.from_json(path.read_text(encoding="utf-8"))
      except (OSError, ValueError) as error:
        raise settings.InputError(path, f"expected the configuration of a run: {error}") from None
    if not self.path.exists() or (
      self.path.is_dir() and all(map(_is_leftover, self.path.iterdir()))
    ):
      return None
    message = f"expected a folder with {_CONFIG}, or an empty or new one, received {self.path}"
    raise settings.InputError("model_dir", message)

  def require_config(self, *, classifier: bool = False) -> config_lib.Config:
    """Returns the configuration of the run.

    Args:
      classifier: whether the run is to be one of a noisy classifier, not of a diffusion model.

    Raises:
      InputError: there is no run in the folder, or one of the other kind.
    """
    config = self.read_config()
    if config is None:
      state = "is empty" if self.path.exists() else "does not exist"
      message = f"expected the folder of a run, received {self.path}, which {state}"
      raise settings.InputError("model_dir", message)
    self.require_kind(config, classifier=classifier)
    return config

  def require_kind(self, config: config_lib.Config, *, classifier: bool) -> None:
    """Checks that the configuration of the run is one of a diffusion model, or of a classifier.

    Args:
      config: the configuration.
      classifier: whether it is to be one of a noisy classifier.

    Raises:
      InputError: it is one of the other kind.
    """
    kinds = {False: "a diffusion model", True: "a noisy classifier"}
    if config.is_classifier != classifier:
      raise settings.InputError(
        "model_dir",
        f"expected the folder of {kinds[classifier]}, received {self.path}, which holds "
        f"{kinds[not classifier]}",
      )

  def changed_config(self, changes: Mapping[str, Any]) -> config_lib.Config:
    """Returns the configuration of the run with other values for some settings.

    Args:
      changes: settings by their names. Those that a run may change may differ from the folder.
        There is one more name: `fixed_variance`, another variance of the reverse process
        (fixed_small or fixed_large), on which the weights of a model that learns no variance do
        not depend. A value of None changes nothing.

    Raises:
      InputError: there is no run in the folder, or a value contradicts it.
    """
    values = {name: value for name, value in changes.items() if value is not None}
    variance = values.pop("fixed_variance", None)
    config = self.require_config().changed(values, self.path)
    if variance is None:
      return config
    settings.require(
      variance in ("fixed_small", "fixed_large"),
      "fixed_variance",
      "fixed_small or fixed_large",
      variance,
    )
    settings.require(
      not config.diffusion.learns_variance,
      "fixed_variance",
      f"no value for a model that learns its variance ({config.diffusion.variance_type})",
      variance,
    )
    return config.with_settings(variance_type=variance)

  def write_config(self, config: config_lib.Config) -> None:
    """Writes the configuration, and makes the folder if necessary."""
    files.make_folder(self.path, "model_dir")
    try:
      files.write_text(self.path / _CONFIG, config.to_json())
    except OSError as error:
      raise files.not_writable(self.path, "model_dir", error) from None

  def require_writable(self) -> None:
    """Checks that everything that a training writes can be written.

    Raises:
      InputError: a file or a folder cannot be written, as on a disk that can only be read.
    """
    for path in (
      self.path,
      self.checkpoints,
      self.best_checkpoints,
      self.tensorboard,
      self.progress,
      self.samples,
      self.evaluations,
      self.results,
    ):
      files.require_writable(path, "model_dir")

  def remove_leftovers(self) -> None:
    """Deletes what a process has left that was killed before it wrote the configuration."""
    if self.path.is_dir() and all(map(_is_leftover, self.path.iterdir())):
      for path in self.path.iterdir():
        path.unlink()

  @contextlib.contextmanager
  def held(self) -> Iterator[None]:
    """Lets no other training use the folder while the block runs. A new folder is made.

    Raises:
      InputError: another process trains into the folder.
    """
    exists = self.path.exists()
    files.make_folder(self.path, "model_dir")
    try:
      with files.owned(self.path / _LOCK, "model_dir"):
        yield
    finally:
      if not exists:
        with contextlib.suppress(OSError):
          self.path.rmdir()  # If nothing was written to it.

  def newest_step(self) -> int:
    """Returns the step of the newest checkpoint, or 0 where there is none."""
    return max(self.checkpoint_steps(self.checkpoints), default=0)

  @staticmethod
  def checkpoint_path(folder: pathlib.Path, step: int) -> pathlib.Path:
    """Returns the path of a checkpoint, without the suffixes of its files."""
    return folder / f"{CHECKPOINT}-{step}"

  @staticmethod
  def checkpoint_steps(folder: pathlib.Path) -> set[int]:
    """Returns the steps of the checkpoints in a folder that have an index."""
    return {step_of(path.stem) for path in folder.glob(f"{CHECKPOINT}-*.index")}

  def read_best(self) -> Best | None:
    """Returns the record of the best checkpoint, or None where there is none.

    Raises:
      InputError: the file holds something else.
    """
    path = self.path / _BEST
    if not path.exists():
      return None
    try:
      best = Best(**files.read_json(path))
      kinds = (str, float, int, float, dict)
      if not all(isinstance(value, kind) for value, kind in zip(best, kinds, strict=True)):
        raise TypeError("of other types")
      return best
    except (TypeError, ValueError) as error:
      message = f"expected score, value, step, ema and measured, received another file ({error})"
      raise settings.InputError(path, message) from None

  def require_best(self) -> Best:
    """Returns the record of the best checkpoint.

    Raises:
      InputError: the run keeps no best checkpoint.
    """
    best = self.read_best()
    if best is None:
      message = (
        "expected a run that keeps its best checkpoint (with eval_every and best_score), received "
        f"{self.path}, which has no {_BEST}"
      )
      raise settings.InputError("best", message)
    return best

  def write_best(self, best: Best) -> None:
    """Writes the record of the best checkpoint."""
    files.write_json(self.path / _BEST, best._asdict())

  def write_imported(self, record: dict[str, Any]) -> None:
    """Writes where the weights were imported from."""
    files.write_json(self.imported, record, indent=2)

  def read_initialised(self) -> dict[str, Any] | None:
    """Returns which model's weights the run began from, or None for random weights.

    Raises:
      InputError: the file holds something else.
    """
    if not self.initialised.exists():
      return None
    try:
      record = files.read_json(self.initialised)
      if isinstance(record, dict) and isinstance(record.get("init_from"), str):
        return record
      reason = "no init_from"
    except ValueError as error:
      reason = str(error)
    message = f"expected JSON with init_from, received another file ({reason})"
    raise settings.InputError(self.initialised, message)

  def write_initialised(self, record: dict[str, Any]) -> None:
    """Writes which model's weights the run begins from: `init_from`, the model's path, and more."""
    files.write_json(self.initialised, record, indent=2)

  def read_checksum(self) -> DataChecksum | None:
    """Returns the checksum of the images and labels that the run was trained on, or None."""
    if not self.checksum.exists():
      return None
    text, count, of_all, *_ = [*self.checksum.read_text(errors="replace").split(), *[""] * 3]
    return DataChecksum(text, int(count) if count.isdecimal() else None, of_all or None)

  def write_checksum(self, checksum: DataChecksum) -> None:
    """Writes the checksum of the images and labels that the run is trained on."""
    parts = (checksum.checksum, str(checksum.images), checksum.of_all)
    files.write_text(self.checksum, " ".join(part for part in parts if part) + "\n")


def step_of(checkpoint: str) -> int:
  """Returns the step of a checkpoint by its path or name, which ends in `-STEP`."""
  return int(checkpoint.rsplit("-", 1)[-1])


def require_same_data(
  config: config_lib.Config, source: sources.Source, folder: str | os.PathLike[str]
) -> None:
  """Checks that a data source has the images and the classes of a configuration.

  Args:
    config: the configuration of a run.
    source: a data source. Its classes matter only to a class-conditional model and to a classifier.
    folder: the folder of the run, for the error.

  Raises:
    InputError: they differ.
  """

  def describe(shape, classes):
    suffix = f" in {classes} classes" if config.uses_labels else ""
    return "x".join(map(str, shape)) + suffix

  expected = describe(config.data.image_shape, config.data.num_classes)
  received = describe(source.images.shape[1:], source.num_classes)
  if expected != received:
    message = f"expected images of {expected}, as {folder} has, received {received} ({source.name})"
    raise settings.InputError("dataset", message)
  names = config.data.class_names
  if config.uses_labels and names and source.class_names not in ((), names):
    raise settings.InputError("dataset", _other_classes(names, source, folder))


def require_same_images(source: sources.Source, folder: ModelDir) -> None:
  """Checks that a run continues on the images and labels that it was trained on.

  Args:
    source: the training images.
    folder: the folder of the run.

  Raises:
    InputError: the images or labels are others, or the folder does not tell.
  """
  stored, now = folder.read_checksum(), DataChecksum.of(source)
  if stored is None:
    raise settings.InputError(
      "strict",
      f"requires {folder.checksum}, which earlier versions did not write; a call without strict "
      "writes it",
    )
  if stored.differs(now):
    raise settings.InputError(
      "strict",
      f"expected the images and labels that {folder} was trained on, received others"
      f"{stored.describe_counts(now)}; a call without strict continues on them",
    )


def _other_classes(
  names: tuple[str, ...], source: sources.Source, folder: str | os.PathLike[str]
) -> str:
  """Returns the message for a source whose classes have other names than those of a run."""

  def shown(chosen: list[str]) -> str:
    more = [f"and {len(chosen) - _SHOWN_NAMES} more"] if len(chosen) > _SHOWN_NAMES else []
    return ", ".join([*map(ascii, chosen[:_SHOWN_NAMES]), *more])

  missing = [name for name in names if name not in source.class_names]
  added = [name for name in source.class_names if name not in names]
  if not missing:
    return f"expected the classes of {folder} in their order, received others ({source.name})"
  return (
    f"expected the classes that {folder} was trained on, received {shown(added)} instead of "
    f"{shown(missing)} ({source.name})"
  )


def _is_leftover(path: pathlib.Path) -> bool:
  """Whether a file is what a process left that was killed before it wrote config.json."""
  return path.name == _LOCK or (path.name.startswith(".") and _CONFIG in path.name)
