"""The SavedModel that TensorFlow Serving runs, with signatures for each sampler."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import os
import pathlib
from typing import Any

import numpy as np
import tensorflow as tf

from iddpm_tf import settings
from iddpm_tf.models import image_sampler
from iddpm_tf.serving import config as config_lib
from iddpm_tf.serving import layout
from iddpm_tf.serving import warmup
from iddpm_tf.utils import files

Sampler = image_sampler.ImageSampler | image_sampler.TwoStageSampler

_DEFAULT_CONFIG = config_lib.ServableConfig()


def export(
  samplers: Sequence[Sampler],
  folder: str | os.PathLike[str],
  *,
  assets: Mapping[str, str],
  version: int | None = None,
  config: config_lib.ServableConfig = _DEFAULT_CONFIG,
  verify_with: Mapping[str, np.ndarray] | None = None,
) -> pathlib.Path:
  """Writes `folder/VERSION/`, which appears whole or not at all.

  Each sampler has a signature under its name, such as `ancestral_250`. The first sampler is also
  `serving_default`. The inputs are `seed`, int64 [N]; `label`, int32 [N], if the model has
  classes; `low_res`, uint8 [N, h, w, C], if the sampler is a super-resolution model alone; and
  `guidance_scale` and `classifier_scale`, float32 [N], if the model knows guidance of this kind.
  The output is `image`, uint8 [N, H, W, C].

  `edit_ancestral_250` has three more inputs: `image`, uint8 [N, H, W, C]; `mask`, uint8 [N, H, W,
  1], of which pixels of 128 or more are drawn; and `strength`, float32 [N] in (0, 1].
  `interpolate_ddim_50` takes two pictures, `image` and `other_image`, and `weight`, float32 [N]
  from 0 to 1.

  `png_ancestral_250` returns `image_bytes`, string [N], PNG files. `ancestral_250_trajectory`
  returns `frames`, uint8 [N, F, H, W, C], from noise to the image.

  If the K classes have names, `class_names` returns `class_names_bytes`, string [N, K]: all names,
  in UTF-8, for each `seed`. (A server that batches requests requires the dimension N.)

  If the sampler counts its steps (`step_counter`), `ancestral_250_progress` returns for each `seed`
  two numbers, int64 [N]: `begun_steps`, the steps that the sampler has begun since the model was
  loaded, in all requests; and `steps`, those of one request. A server that draws one request at a
  time can therefore tell how far it is.

  Args:
    samplers: the samplers of one model.
    folder: the folder of the model, whose name is the model's name.
    assets: the text files to put into `assets.extra`, `{name: text}`.
    version: a positive number, or None for the number after the newest version when everything is
      written.
    config: the signatures and warm-up requests to write.
    verify_with: arrays by input, such as `{"seed": ...}`, or None. With arrays, the written model
      is loaded, and its outputs are compared with the samplers' before the version appears.

  Returns:
    The path of the version.

  Raises:
    InputError: the version exists, a weight is not finite, or an output differs.
  """
  folder = pathlib.Path(folder)
  layout.require_new_version(folder, version)
  module = tf.Module()
  module.samplers = list(samplers)
  _require_finite(module.variables)
  folder.mkdir(parents=True, exist_ok=True)
  with files.workspace(folder) as temporary:
    signatures = {
      name: function for sampler in samplers for name, function in _signatures(sampler, config)
    }
    if samplers[0].class_names:
      signatures[layout.CLASS_NAMES] = _class_names(samplers[0].class_names)
    signatures[layout.DEFAULT_SIGNATURE] = signatures[str(samplers[0].sampler)]
    for counter in _counters(samplers):
      counter.assign(0)
    tf.saved_model.save(module, temporary, signatures)
    extra = temporary / layout.ASSETS
    extra.mkdir()
    for name, text in assets.items():
      files.write_text(extra / name, text)
    warmup.write(extra, folder.name, signatures, config.warmup)
    if verify_with:
      _verify(temporary, signatures, verify_with)
    temporary.chmod(0o755)
    return _move_into_place(temporary, folder, version)


def step_counter() -> tf.Variable:
  """Returns a variable that counts the steps of a sampler, for its `on_step`."""
  return tf.Variable(0, trainable=False, dtype=tf.int64, name="begun_steps")


def _move_into_place(temporary: pathlib.Path, folder: pathlib.Path, version: int | None):
  """Renames the temporary folder to a version that no other export has taken meanwhile."""
  while True:
    target = folder / str(layout.next_version(folder) if version is None else version)
    try:
      os.rename(temporary, target)
      return target
    except OSError:
      if version is not None or not target.exists():
        layout.require_new_version(folder, version)
        raise


def _require_finite(variables: Sequence[tf.Variable]) -> None:
  for variable in variables:
    count = int(np.sum(~np.isfinite(variable.numpy())))
    if count:
      raise settings.InputError(
        "weights",
        f"expected finite numbers, received {count} of {variable.shape.num_elements():,} in "
        f"{variable.name} that are not finite: the training has diverged",
      )


def _verify(
  version: pathlib.Path, signatures: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> None:
  """Raises an `InputError` unless the written signatures return what the samplers return."""
  loaded = tf.saved_model.load(version)
  for name, function in signatures.items():
    inputs = {key: tf.constant(arrays[key]) for key in warmup.input_specs(function)}
    for output, expected in function(*inputs.values()).items():
      received = loaded.signatures[name](**inputs)[output]
      different = int(np.sum(expected.numpy() != received.numpy()))
      if different:
        raise settings.InputError(
          "verify",
          f"expected {output} of the signature {name} to equal the model's, received "
          f"{different} of {tf.size(expected)} values that differ",
        )


def _stages(sampler: Sampler) -> tuple[image_sampler.ImageSampler, ...]:
  if isinstance(sampler, image_sampler.TwoStageSampler):
    return sampler.base, sampler.upsampler
  return (sampler,)


def _counters(samplers: Sequence[Sampler]) -> list[tf.Variable]:
  stages = [stage for sampler in samplers for stage in _stages(sampler)]
  return [stage.begun_steps for stage in stages if stage.begun_steps is not None]


def _progress(sampler: Sampler) -> Any:
  """Returns the concrete function of the signature that returns how far a sampler is."""
  counters = _counters([sampler])
  # Some samplers evaluate the network more than once at a timestep.
  steps = sum(len(stage.sampler.schedule(stage.diffusion)) for stage in _stages(sampler))

  def repeated(seed: tf.Tensor) -> dict[str, tf.Tensor]:
    begun = tf.add_n([counter.read_value() for counter in counters])
    values = {layout.BEGUN_STEPS: begun, layout.STEPS: tf.constant(steps, tf.int64)}
    return {name: tf.fill(tf.shape(seed), value) for name, value in values.items()}

  spec = tf.TensorSpec([None], tf.int64, name="seed")
  return tf.function(repeated, input_signature=[spec], autograph=False).get_concrete_function()


def _class_names(names: Sequence[str]) -> Any:
  """Returns the concrete function of the signature that returns the names of the classes."""
  row = tf.constant([[name.encode("utf-8", "surrogateescape") for name in names]])  # [1, K]

  def repeated(seed: tf.Tensor) -> dict[str, tf.Tensor]:
    return {layout.CLASS_NAMES_OUTPUT: tf.tile(row, [tf.size(seed), 1])}

  spec = tf.TensorSpec([None], tf.int64, name="seed")
  return tf.function(repeated, input_signature=[spec], autograph=False).get_concrete_function()


def _signatures(sampler: Sampler, config: config_lib.ServableConfig) -> Iterator[tuple[str, Any]]:
  """Yields the name and the concrete function of each signature of a sampler."""
  name = str(sampler.sampler)

  def concrete(outputs: Callable[..., dict[str, tf.Tensor]], specs: Sequence[tf.TensorSpec]) -> Any:
    function = tf.function(outputs, input_signature=specs, autograph=False)
    return function.get_concrete_function()

  def of_images(name: str, draw: Callable[..., tf.Tensor], specs: Sequence[tf.TensorSpec]) -> Any:
    yield name, concrete(lambda *inputs: {"image": draw(*inputs)}, specs)
    if config.png:
      # The suffix _bytes makes the REST interface send base64.
      yield (
        f"{layout.PNG_PREFIX}{name}",
        concrete(lambda *inputs: {"image_bytes": _png_files(draw(*inputs))}, specs),
      )

  yield from of_images(name, sampler.draw, sampler.input_signature())
  if config.edit:
    assert isinstance(sampler, image_sampler.ImageSampler), "a chain of two models edits nothing"
    editing = f"{layout.EDIT_PREFIX}{name}"
    yield from of_images(editing, sampler.edit, sampler.edit_signature())
    if sampler.can_interpolate:
      between = f"{layout.INTERPOLATE_PREFIX}{name}"
      yield from of_images(between, sampler.interpolate, sampler.interpolation_signature())
  if config.trajectory:
    frames = concrete(
      lambda *inputs: {"frames": sampler.frames(config.trajectory, *inputs)},
      sampler.input_signature(),
    )
    yield f"{name}{layout.TRAJECTORY_SUFFIX}", frames
  if len(_counters([sampler])) == len(_stages(sampler)):
    yield f"{name}{layout.PROGRESS_SUFFIX}", _progress(sampler)


def _png_files(images: tf.Tensor) -> tf.Tensor:
  return tf.map_fn(tf.io.encode_png, images, fn_output_signature=tf.string)
