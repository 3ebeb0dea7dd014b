"""The SavedModel that TensorFlow Serving runs: `NAME/VERSION/` with signatures for each sampler."""

import os
import pathlib
import shutil
import tempfile
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from iddpm_tf.serving import warmup

DEFAULT = "serving_default"


class Options(NamedTuple):
  """What is served besides images."""
  png: bool = True  # `png_NAME`.
  frames: int = 0  # Of `NAME_trajectory`; 0: there is none.
  warmup_batches: tuple[int, ...] = (1,)  # Images of the requests that a server replays before it answers.


def export(image_samplers, folder, *, version, assets, options=Options(), verify_with=None):
  """Writes `folder/version/` at once: a server that polls never sees half of it.

  Signatures: each sampler under its name, such as `ancestral_250`, and the first as `serving_default` too. Inputs `seed`
  int64 `[N]` and, where the model has classes, `label` int32 `[N]`, and for an upsampler alone `low_res` uint8
  `[N, h, w, C]`; output `image` uint8 `[N, H, W, C]`. `png_ancestral_250` has `image_bytes` string `[N]`, a PNG file
  each, and `ancestral_250_trajectory` has `frames` uint8 `[N, F, H, W, C]`, from noise to the image.

  Args:
    image_samplers: `ImageSampler`s, or `TwoStageSampler`s, of one model.
    folder: the servable's.
    version: a positive number.
    assets: text files to put into `assets.extra`, {name: text}.
    options: `Options`.
    verify_with: arrays by input, such as {"seed": ...}; what is written must draw their images as the
      samplers do.

  Returns:
    The path.

  Raises:
    ValueError: the version exists, a weight is not finite, or an image differs.
  """
  target = pathlib.Path(folder) / str(version)
  if target.exists():
    raise ValueError(f"--version: expected a version that does not exist, received {version} ({target})")
  module = tf.Module()
  module.samplers = image_samplers
  _require_finite(module.variables)
  target.parent.mkdir(parents=True, exist_ok=True)
  # Hidden, beside its final place: only within one file system is renaming atomic.
  temporary = pathlib.Path(tempfile.mkdtemp(prefix=f".{version}-", dir=target.parent))
  try:
    signatures = {name: function for sampler in image_samplers for name, function in _signatures(sampler, options)}
    signatures[DEFAULT] = signatures[str(image_samplers[0].spec)]
    tf.saved_model.save(module, temporary, signatures)
    extra = temporary / "assets.extra"
    extra.mkdir()
    for name, text in assets.items():
      (extra / name).write_text(text)
    warmup.write(extra, pathlib.Path(folder).name, signatures, options.warmup_batches)
    if verify_with:
      _verify(temporary, signatures, verify_with)
    temporary.chmod(0o755)
    os.rename(temporary, target)
  finally:
    shutil.rmtree(temporary, ignore_errors=True)
  return target


def _require_finite(variables):
  for variable in variables:
    bad = int(np.sum(~np.isfinite(variable.numpy())))
    if bad:
      raise ValueError(f"export: expected finite weights, received {bad} of {variable.shape.num_elements():,} in "
                       f"{variable.name} that are not: the model has diverged")


def _verify(path, signatures, arrays):
  loaded = tf.saved_model.load(path)
  for name, function in signatures.items():
    inputs = {spec.name: tf.constant(arrays[spec.name]) for spec in tf.nest.flatten(function.structured_input_signature)}
    for output, expected in function(*inputs.values()).items():
      different = int(np.sum(expected.numpy() != loaded.signatures[name](**inputs)[output].numpy()))
      if different:
        raise ValueError(f"export: expected {output} of {name} as the model has it, received {different} values of "
                         f"{tf.size(expected)} that differ")


def _signatures(sampler, options):
  """(name, concrete function) of each signature of a sampler."""
  def of(outputs):
    return tf.function(outputs, input_signature=sampler.input_signature(), autograph=False).get_concrete_function()

  def png(*inputs):
    return tf.map_fn(tf.io.encode_png, sampler.draw(*inputs), fn_output_signature=tf.string)

  yield str(sampler.spec), of(lambda *inputs: {"image": sampler.draw(*inputs)})
  if options.png:
    # The suffix has REST send it as base64.
    yield f"png_{sampler.spec}", of(lambda *inputs: {"image_bytes": png(*inputs)})
  if options.frames:
    yield f"{sampler.spec}_trajectory", of(lambda *inputs: {"frames": sampler.frames(options.frames, *inputs)})
