"""The settings of a run, and the file that holds them."""

from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses
import difflib
import json
import os
from typing import Any
from typing import NamedTuple

from iddpm_tf import settings
from iddpm_tf.config.data import DataConfig
from iddpm_tf.config.diffusion import DiffusionConfig
from iddpm_tf.config.evaluation import LIKELIHOODS
from iddpm_tf.config.evaluation import EvaluationConfig
from iddpm_tf.config.network import NetworkConfig
from iddpm_tf.config.sampling import SamplingConfig
from iddpm_tf.config.training import TrainingConfig
from iddpm_tf.settings import from_json

VERSION = 10  # The version of the layout of config.json.
_CHANGE_KEYS = ("step", "setting", "from", "to")  # How config.json calls the parts of a `Change`.


class Change(NamedTuple):
  """A setting that has changed when a run was resumed."""

  step: int  # The last step with the old value.
  setting: str
  old: Any
  new: Any


@dataclasses.dataclass(frozen=True)
class Config:
  """The settings of a run, in sections, and their history: what `config.json` holds.

  ```python
  Config.from_settings(dataset="cifar10", batch_size=64)
  Config.from_flagfile("configs/digits.flags", train_steps=2000)
  ```
  """

  network: NetworkConfig = dataclasses.field(default_factory=NetworkConfig)
  diffusion: DiffusionConfig = dataclasses.field(default_factory=DiffusionConfig)
  data: DataConfig = dataclasses.field(default_factory=DataConfig)
  training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
  sampling: SamplingConfig = dataclasses.field(default_factory=SamplingConfig)
  evaluation: EvaluationConfig = dataclasses.field(default_factory=EvaluationConfig)
  history: tuple[Change, ...] = ()

  def __post_init__(self) -> None:
    """Checks the sections, and the network against the data once the shape of images is known."""
    for name, kind in sections().items():
      section = getattr(self, name)
      expected = f"a {kind.__name__}; Config.from_settings takes settings by their names"
      settings.require(isinstance(section, kind), name, expected, section)
    if self.is_classifier:
      self._require_classifier()
    if self.data.image_shape:
      self._require_fit()

  @classmethod
  def from_settings(cls, **values: Any) -> "Config":
    """Returns a configuration of settings by their names. Others have their defaults.

    Raises:
      InputError: an unknown name, or a value of the wrong type or range.
    """
    return cls().with_settings(**values)

  @classmethod
  def from_flagfile(cls, path: str | os.PathLike[str], **values: Any) -> "Config":
    """Returns the configuration of a flagfile.

    Args:
      path: a flagfile. If there is no such file, one that is installed with the package is used,
        such as `configs/cifar10.flags`.
      **values: settings that override those of the file.

    Raises:
      InputError: no such file, a line that is not a flag, or a wrong setting.
    """
    from iddpm_tf.settings import arguments
    from iddpm_tf.settings import flagfile

    known = settings.by_name(*sections().values())
    given = arguments.parse(flagfile.read(path), known)
    return cls().with_settings(**(given | values))

  @classmethod
  def from_json(cls, text: str) -> "Config":
    """Returns the configuration that `to_json` wrote, of this or of an earlier version.

    Raises:
      InputError: the text is something else.
    """
    try:
      content = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
      raise settings.InputError("config", f"expected JSON, received other text ({error})") from None
    except TypeError:
      raise settings.InputError("config", f"expected JSON, received {text!r}") from None
    version = content.pop("version", None) if isinstance(content, dict) else None
    if not isinstance(version, int) or not 1 <= version <= VERSION:
      message = f"expected a configuration of version 1 to {VERSION}, received version {version!r}"
      raise settings.InputError("config", message)
    parts = {
      name: from_json.read(section, content.pop(name, None), version)
      for name, section in sections().items()
    }
    history = _read_history(content.pop("history", [])) if version >= 5 else ()
    from_json.require_empty(content, "sections")
    return cls(**parts, history=history)

  def to_json(self) -> str:
    """Returns the configuration as JSON, with its version."""
    content: dict[str, Any] = {"version": VERSION}
    content |= {name: dataclasses.asdict(getattr(self, name)) for name in sections()}
    content["history"] = [dict(zip(_CHANGE_KEYS, change)) for change in self.history]
    return json.dumps(content, indent=2) + "\n"

  def with_settings(self, **values: Any) -> "Config":
    """Returns a copy with other values for some settings.

    Raises:
      InputError: an unknown name, or a value of the wrong type or range.
    """
    parts = {}
    for section, dataclass in sections().items():
      names = {field.name for field in dataclasses.fields(dataclass)}
      given = {name: values.pop(name) for name in names & values.keys()}
      for name, value in given.items():
        settings.require_local(name, value)
      parts[section] = dataclasses.replace(getattr(self, section), **given)
    for name in values:
      raise _unknown_setting(name)
    return dataclasses.replace(self, **parts)

  def with_data(
    self,
    *,
    image_shape: tuple[int, ...],
    num_classes: int,
    class_names: tuple[str, ...] = (),
  ) -> "Config":
    """Returns a copy that knows the images.

    Args:
      image_shape: (H, W, C).
      num_classes: the number of their classes; 0: they have no labels.
      class_names: the names of the classes; empty if they are unknown.

    Raises:
      InputError: the network does not fit the images, or there are too few or too many names.
    """
    data = dataclasses.replace(
      self.data, image_shape=image_shape, num_classes=num_classes, class_names=class_names
    )
    return dataclasses.replace(self, data=data)

  def changed(self, values: Mapping[str, Any], made: str | os.PathLike[str]) -> "Config":
    """Returns a copy with other values for the settings that a run may change.

    Args:
      values: settings by their names.
      made: the model folder of this configuration, for errors.

    Raises:
      InputError: as `with_settings`, or a value that contradicts the folder.
    """
    other = self.with_settings(**values)
    self.require_changeable(other, made)
    return other

  def require_changeable(self, other: "Config", made: str | os.PathLike[str]) -> None:
    """Checks that another configuration differs only in what a run may change.

    The order of the values of an extendable setting may change, too.

    Args:
      other: the other configuration.
      made: the model folder of this configuration, for errors.

    Raises:
      InputError: another setting differs; the message has both values.
    """
    for field, stored, received in self._differences(other):
      if field.metadata.get("changeable"):
        continue
      expected = settings.shown(stored)
      if field.metadata.get("extendable"):
        if set(stored) <= set(received):
          continue
        expected += ", perhaps with more"
      message = f"expected {expected}, the value in {made}, received {settings.shown(received)}"
      raise settings.InputError(field.name, message)

  def continuing(self, earlier: "Config", step: int) -> "Config":
    """Returns a copy with the history of an earlier configuration, and what has changed since.

    Args:
      earlier: the configuration that a run had until now.
      step: the step at which the run is resumed.
    """
    changes = [Change(step, field.name, old, new) for field, old, new in earlier._differences(self)]
    return dataclasses.replace(self, history=(*earlier.history, *changes))

  def _differences(self, other: "Config") -> Iterator[tuple[dataclasses.Field[Any], Any, Any]]:
    """Yields each field that has another value in another configuration, with both values."""
    for section, dataclass in sections().items():
      for field in dataclasses.fields(dataclass):
        ours, theirs = (getattr(getattr(each, section), field.name) for each in (self, other))
        if ours != theirs:
          yield field, ours, theirs

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """The shape (H, W, C) of an image, which is known once there is data."""
    if not self.data.image_shape:
      message = (
        "expected a configuration that knows its images (see with_data), received another one"
      )
      raise settings.InputError("image_shape", message)
    height, width, channels = self.data.image_shape
    return height, width, channels

  @property
  def is_classifier(self) -> bool:
    """Whether this is the configuration of a noisy classifier, not of a diffusion model."""
    return self.network.pool != "none"

  @property
  def uses_labels(self) -> bool:
    """Whether the network learns from the labels of the data."""
    return self.network.class_conditional or self.is_classifier

  @property
  def num_classes(self) -> int:
    """The number of classes that the network is conditioned on; 0 for an unconditional one."""
    return self.data.num_classes if self.network.class_conditional else 0

  @property
  def class_names(self) -> tuple[str, ...]:
    """The names of the network's classes by number; empty where they are unknown."""
    return self.data.class_names if self.network.class_conditional else ()

  @property
  def low_res_shape(self) -> tuple[int, int, int] | None:
    """The shape (h, w, C) of the image that a super-resolution network enlarges, or None."""
    height, width, channels = self.image_shape
    low = self.network.low_res_size
    return (low, width * low // height, channels) if low else None

  @property
  def out_channels(self) -> int:
    """The number of channels of the network's output: for the mean, then for a learned variance."""
    return self.image_shape[-1] * (2 if self.diffusion.learns_variance else 1)

  def _require_classifier(self) -> None:
    """Checks that no setting asks for what only a diffusion model has."""
    for section, name, none in (
      (self.network, "class_conditional", False),
      (self.network, "low_res_size", 0),
      (self.training, "ema", ()),
      (self.evaluation, "best_score", None),
    ):
      value = getattr(section, name)
      settings.require(value == none, name, f"{settings.shown(none)} for a classifier", value)

  def _require_fit(self) -> None:
    height, width, _ = self.data.image_shape
    size = f"{height}x{width}"
    factor = 2**self.network.depth
    settings.require(
      height % factor == 0 and width % factor == 0,
      "channel_multipliers",
      f"at most as many levels as the images of {self.data.dataset}, {size}, can be halved for "
      f"({self.network.depth} times here)",
      self.network.channel_multipliers,
    )
    heights = [height // 2**level for level in range(self.network.depth + 1)]
    for resolution in self.network.attention_resolutions:
      settings.require(
        resolution in heights,
        "attention_resolutions",
        f"heights that the network has ({', '.join(map(str, heights))})",
        self.network.attention_resolutions,
      )
      self.network.require_heads(self.network.widths[heights.index(resolution)])
    settings.require(
      not self.is_classifier or self.data.num_classes > 1,
      "dataset",
      f"images of two or more classes for a classifier (here are {self.data.num_classes})",
      self.data.dataset,
    )
    settings.require(
      not self.network.class_conditional or self.data.num_classes > 1,
      "class_conditional",
      f"False, because {self.data.dataset} has {self.data.num_classes} classes and conditioning "
      "requires two or more",
      True,
    )
    for name, default in (("guidance_scale", 1.0), ("guidance_interval", ())):
      value = getattr(self.sampling, name)
      settings.require(
        self.network.label_dropout or value == default,
        name,
        f"{settings.shown(default)} for a model that was trained without label_dropout",
        value,
      )
    low = self.network.low_res_size
    settings.require(
      not low or (low < height and height % low == 0 and width * low % height == 0),
      "low_res_size",
      f"a divisor, below it, of the height of the images of {self.data.dataset}, {size}",
      low,
    )
    settings.require(
      not self.evaluation.eval_every
      or not low
      or set(self.evaluation.eval_scores) <= set(LIKELIHOODS),
      "eval_scores",
      "nll or nll_train for a super-resolution model, which draws no images from noise alone",
      self.evaluation.eval_scores,
    )
    settings.require(
      not self.sampling.consistent or low,
      "consistent",
      "False for a model that enlarges no images (low_res_size=0)",
      True,
    )


def sections() -> dict[str, Any]:
  """Returns the name and the dataclass of each section, in order."""
  fields = dataclasses.fields(Config)
  return {field.name: field.type for field in fields if dataclasses.is_dataclass(field.type)}


def _read_history(content: Any) -> tuple[Change, ...]:
  """Returns the changes that are a part of the JSON of a configuration."""
  expected = f"a history of changes with {', '.join(_CHANGE_KEYS)}"
  settings.require(isinstance(content, list), "config", expected, content)
  changes = []
  for item in content:
    known = isinstance(item, dict) and item.keys() == set(_CHANGE_KEYS)
    settings.require(known, "config", expected, item)
    step, name, *values = (item[key] for key in _CHANGE_KEYS)
    old, new = (tuple(value) if isinstance(value, list) else value for value in values)
    change = Change(step, name, old, new)
    settings.require(
      isinstance(change.step, int) and isinstance(change.setting, str), "config", expected, item
    )
    changes.append(change)
  return tuple(changes)


def _unknown_setting(name: str) -> settings.InputError:
  known = [field.name for part in sections().values() for field in dataclasses.fields(part)]
  near = difflib.get_close_matches(name, known, n=1)
  hint = f"; did you mean {near[0]}?" if near else ""
  return settings.InputError(name, f"expected the name of a setting, received an unknown one{hint}")
