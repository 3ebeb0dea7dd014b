"""The SavedModel that TensorFlow Serving runs: `NAME/VERSION/` with signatures for each sampler."""

import os
import pathlib
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from iddpm_tf import settings
from iddpm_tf.serving import warmup
from iddpm_tf.utils import files

DEFAULT = "serving_default"
_END = 2**63  # Of versions: a server counts them in int64.


class Options(NamedTuple):
  """What is served besides images."""

  png: bool = True  # `png_NAME`.
  frames: int = 0  # Of `NAME_trajectory`; 0: there is none.
  warmup_batches: tuple[int, ...] = (
    1,
  )  # Images of the requests that a server replays before it answers.


def export(image_samplers, folder, *, version=None, assets, options=Options(), verify_with=None):
  """Writes `folder/VERSION/` at once: a server that polls never sees half of it.

  Signatures: each sampler under its name, such as `ancestral_250`, and the first as `serving_default` too. Inputs `seed`
  int64 `[N]` and, where the model has classes, `label` int32 `[N]`, and for an upsampler alone `low_res` uint8
  `[N, h, w, C]`; output `image` uint8 `[N, H, W, C]`. `png_ancestral_250` has `image_bytes` string `[N]`, a PNG file
  each, and `ancestral_250_trajectory` has `frames` uint8 `[N, F, H, W, C]`, from noise to the image.

  Args:
    image_samplers: `ImageSampler`s, or `TwoStageSampler`s, of one model.
    folder: the servable's.
    version: a positive number; None: the next one, when everything is written.
    assets: text files to put into `assets.extra`, {name: text}.
    options: `Options`.
    verify_with: arrays by input, such as {"seed": ...}; what is written must draw their images as the
      samplers do.

  Returns:
    The path.

  Raises:
    ValueError: the version exists, a weight is not finite, or an image differs.
  """
  folder = pathlib.Path(folder)
  require_new(folder, version)
  module = tf.Module()
  module.samplers = image_samplers
  _require_finite(module.variables)
  folder.mkdir(parents=True, exist_ok=True)
  # Hidden, beside its final place: only within one file system is renaming files.
  with files.workspace(folder) as temporary:
    signatures = {
      name: function
      for sampler in image_samplers
      for name, function in _signatures(sampler, options)
    }
    signatures[DEFAULT] = signatures[str(image_samplers[0].spec)]
    tf.saved_model.save(module, temporary, signatures)
    extra = temporary / "assets.extra"
    extra.mkdir()
    for name, text in assets.items():
      (extra / name).write_text(text)
    warmup.write(extra, folder.name, signatures, options.warmup_batches)
    if verify_with:
      _verify(temporary, signatures, verify_with)
    temporary.chmod(0o755)
    return _put(temporary, folder, version)


def require_new(folder, version):
  """`ValueError` if there is this version, or if `version` is None and there is no next one."""
  if version is None:
    version = _next_version(folder)
  target = pathlib.Path(folder) / str(version)
  settings.require(
    version < _END and not target.exists(),
    "version",
    f"one below 2**63 that is not in {folder} yet",
    version,
  )


def _put(temporary, folder, version):
  """Renames it to a version that is not there, whatever other exports do meanwhile; its path."""
  while True:
    target = folder / str(_next_version(folder) if version is None else version)
    try:
      os.rename(temporary, target)
      return target
    except OSError:
      if version is not None or not target.exists():
        require_new(folder, version)
        raise


def _next_version(folder):
  names = [path.name for path in pathlib.Path(folder).glob("*")]
  found = [int(name) for name in names if name.isascii() and name.isdecimal() and len(name) < 20]
  return max((version for version in found if version < _END), default=0) + 1


def _require_finite(variables):
  for variable in variables:
    bad = int(np.sum(~np.isfinite(variable.numpy())))
    if bad:
      raise settings.InputError(
        "weights",
        f"expected finite ones, received {bad} of {variable.shape.num_elements():,} in "
        f"{variable.name} that are not: the model has diverged",
      )


def _verify(path, signatures, arrays):
  loaded = tf.saved_model.load(path)
  for name, function in signatures.items():
    inputs = {name: tf.constant(arrays[name]) for name in warmup.inputs(function)}
    for output, expected in function(*inputs.values()).items():
      different = int(np.sum(expected.numpy() != loaded.signatures[name](**inputs)[output].numpy()))
      if different:
        raise settings.InputError(
          "images",
          f"expected {output} of {name} as the model has it, received {different} values of "
          f"{tf.size(expected)} that differ",
        )


def _signatures(sampler, options):
  """(name, concrete function) of each signature of a sampler."""

  def of(outputs):
    return tf.function(
      outputs, input_signature=sampler.input_signature(), autograph=False
    ).get_concrete_function()

  def png(*inputs):
    return tf.map_fn(tf.io.encode_png, sampler.draw(*inputs), fn_output_signature=tf.string)

  yield str(sampler.spec), of(lambda *inputs: {"image": sampler.draw(*inputs)})
  if options.png:
    # The suffix has REST send it as base64.
    yield f"png_{sampler.spec}", of(lambda *inputs: {"image_bytes": png(*inputs)})
  if options.frames:
    yield (
      f"{sampler.spec}_trajectory",
      of(lambda *inputs: {"frames": sampler.frames(options.frames, *inputs)}),
    )
