"""An exported model in Python."""

from collections.abc import Sequence
import contextlib
import os
import pathlib

import numpy as np
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.data import arrays
from iddpm_tf.diffusion.samplers import base as samplers_lib
from iddpm_tf.models import editing
from iddpm_tf.models import seeds as seeds_lib
from iddpm_tf.serving import layout
from iddpm_tf.serving import made_from
from iddpm_tf.utils import progress as progress_lib


class ExportedModel:
  """A version of an export: it draws images by the samplers that were exported.

  Attributes:
    path: the folder of the version.
    config: the configuration of the model.
  """

  def __init__(self, path: str | os.PathLike[str]):
    """Loads the version.

    Args:
      path: the folder of the version.

    Raises:
      InputError: the folder holds another SavedModel.
    """
    self.path = pathlib.Path(path)
    try:
      text = (self.path / layout.ASSETS / layout.CONFIG).read_text(encoding="utf-8")
      self.config = config_lib.Config.from_json(text)
    except (OSError, settings.InputError) as error:
      message = f"expected an export of this package, received another SavedModel ({error})"
      raise settings.InputError(path, message) from None
    self._loaded = tf.saved_model.load(os.fspath(self.path))

  def __repr__(self) -> str:
    return f"ExportedModel({os.fspath(self.path)!r})"

  @property
  def samplers(self) -> tuple[str, ...]:
    """The names of the exported samplers, such as `ddim_50`, sorted."""
    return tuple(sorted(filter(layout.is_sampler, self._loaded.signatures)))

  def _signature(self, sampler):
    """Returns the name of the signature of a sampler's name or text; None is the default one."""
    if sampler is None:
      return layout.DEFAULT_SIGNATURE
    name = sampler
    if isinstance(sampler, str) and sampler not in self.samplers:
      with contextlib.suppress(settings.InputError):  # Which is said below.
        name = str(samplers_lib.parse(sampler))
    if name not in self.samplers:
      message = f"expected one of {', '.join(self.samplers)}, received {sampler!r}"
      raise settings.InputError("sampler", message)
    return name

  def sample(
    self,
    count: int | None = None,
    *,
    sampler: str | None = None,
    labels: seeds_lib.Labels | None = None,
    seed: int | Sequence[int] | np.ndarray = 0,
    guidance_scale: arrays.Scale | None = None,
    classifier_scale: arrays.Scale | None = None,
    low_res: np.ndarray | None = None,
    batch_size: int = 100,
    progress: bool | progress_lib.Progress = True,
  ) -> np.ndarray:
    """Draws images, as `Model.sample` does.

    Args:
      count: the number of images. None is the number of seeds or of images to enlarge, or 1.
      sampler: an exported sampler, such as "ddim:50" or "ddim_50". None is the default one.
      labels: classes to repeat in turn, by number or by name. None repeats all classes of the
        model.
      seed: the seed of the first image, or one seed per image.
      guidance_scale: see `Model.sample`. None is the configuration's.
      classifier_scale: see `Model.sample`. None is the configuration's.
      low_res: for a super-resolution model, the images to enlarge, uint8 `[N, h, w, C]`.
      batch_size: images at a time.
      progress: True shows a bar, False shows none; or a `Progress`.

    Returns:
      uint8 `[count, H, W, C]`.

    Raises:
      InputError: a wrong argument.
    """
    name = self._signature(sampler)
    inputs = self._inputs(name, count, seed, labels, low_res)
    scales = {"guidance_scale": guidance_scale, "classifier_scale": classifier_scale}
    return self._run(name, inputs, scales, batch_size, progress)

  def edit(
    self,
    images: np.ndarray,
    *,
    masks: np.ndarray | None = None,
    strength: float | Sequence[float] | np.ndarray = 1.0,
    count: int | None = None,
    sampler: str | None = None,
    labels: seeds_lib.Labels | None = None,
    seed: int | Sequence[int] | np.ndarray = 0,
    guidance_scale: arrays.Scale | None = None,
    classifier_scale: arrays.Scale | None = None,
    batch_size: int = 100,
    progress: bool | progress_lib.Progress = True,
  ) -> np.ndarray:
    """Draws a part of pictures anew, as `Model.edit` does; the export must have been made for it.

    Args:
      images: uint8 `[N, H, W, C]`, or one picture `[H, W, C]`.
      masks: see `Model.edit`.
      strength: see `Model.edit`.
      count: see `Model.edit`.
      sampler: an exported sampler, such as "ddim:50" or "ddim_50". None is the default one.
      labels: see `sample`.
      seed: see `sample`.
      guidance_scale: see `sample`.
      classifier_scale: see `sample`.
      batch_size: images at a time.
      progress: True shows a bar, False shows none; or a `Progress`.

    Returns:
      uint8 `[count, H, W, C]`.

    Raises:
      InputError: a wrong argument, or an export without signatures for editing.
    """
    edits = editing.make_edits(
      images, self.config.image_shape, masks=masks, strength=strength, count=count
    )
    editing_names = [
      name for name in self._loaded.signatures if name.startswith(layout.EDIT_PREFIX)
    ]
    (default, *_) = made_from.read(self.path).get("samplers") or self.samplers
    chosen = layout.EDIT_PREFIX + (default if sampler is None else self._signature(sampler))
    if chosen not in editing_names:
      names = ", ".join(sorted(name.removeprefix(layout.EDIT_PREFIX) for name in editing_names))
      message = f"expected a sampler that was exported for editing ({names or 'there is none'})"
      raise settings.InputError("sampler", f"{message}, received {sampler or default!r}")
    inputs = self._inputs(chosen, len(edits.image), seed, labels, None)
    inputs |= {"image": edits.image, "mask": edits.mask, "strength": edits.strength}
    scales = {"guidance_scale": guidance_scale, "classifier_scale": classifier_scale}
    return self._run(chosen, inputs, scales, batch_size, progress)

  def _inputs(self, name, count, seed, labels, low_res):
    """Returns the seeds, labels and images to enlarge of a signature, by name."""
    expected = self._loaded.signatures[name].structured_input_signature[1]
    # A chain of two models has the configuration of the first one, and enlarges its images itself.
    shape = self.config.low_res_shape if "low_res" in expected else None
    images_to_enlarge = arrays.require_low_res(low_res, shape)
    classes = made_from.labels(self.path, self.config)
    inputs = seeds_lib.make_inputs(
      count,
      seed=seed,
      labels=labels,
      num_classes=classes.number,
      class_names=classes.names,
      low_res=None if images_to_enlarge is None else np.asarray(images_to_enlarge),
    )
    return {key: array for key, array in inputs.items() if array is not None and key in expected}

  def _run(self, name, given, scales, batch_size, progress):
    """Returns the images of a signature, uint8 `[N, H, W, C]`."""
    settings.require_count("batch_size", batch_size)
    function = self._loaded.signatures[name]
    total = len(given["seed"])
    given |= self._scales(function.structured_input_signature[1], scales, total)
    images = []
    with progress_lib.make(progress).bar(total=total, unit="image", description=name) as bar:
      for start in range(0, total, batch_size):
        part = slice(start, start + batch_size)
        batch = {key: tf.constant(array[part]) for key, array in given.items()}
        images.append(function(**batch)["image"].numpy())
        bar.update(len(images[-1]))
    return np.concatenate(images)

  def _scales(self, expected, scales, count):
    """Returns the scales that a signature takes: float32 `[count]` each."""
    values = {}
    for name, scale in scales.items():
      message = "none, because the exported model has no such input"
      settings.require(scale is None or name in expected, name, message, scale)
      if name in expected:
        chosen = getattr(self.config.sampling, name) if scale is None else scale
        values[name] = arrays.require_scales(chosen, count, name=name)
    return values
