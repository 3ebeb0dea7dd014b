"""The SavedModel that TensorFlow Serving runs: `NAME/VERSION/` with a signature a sampler."""

import os
import pathlib
import shutil
import tempfile

import tensorflow as tf


def export(image_samplers, folder, *, version, assets, verify_with=None):
  """Writes `folder/version/` at once: a server that polls never sees half of it.

  Signatures: each sampler under its name, such as `ancestral_250`, and the first as `serving_default`
  too. Inputs `seed` int64 `[N]` and, where the model has classes, `label` int32 `[N]`, and for an upsampler
  alone `low_res` uint8 `[N, h, w, C]`; output `image` uint8 `[N, H, W, C]`.

  Args:
    image_samplers: `ImageSampler`s, or `TwoStageSampler`s, of one model.
    folder: the servable's.
    version: a positive number.
    assets: text files to put into `assets.extra`, {name: text}.
    verify_with: arrays by input, such as {"seed": ...}; what is written must draw their images as the
      samplers do.

  Returns:
    The path.

  Raises:
    ValueError: the version exists, or an image differs.
  """
  target = pathlib.Path(folder) / str(version)
  if target.exists():
    raise ValueError(f"--version: expected a version that does not exist, received {version} ({target})")
  target.parent.mkdir(parents=True, exist_ok=True)
  module = tf.Module()
  module.samplers = image_samplers
  signatures = {str(sampler.spec): _signature(sampler) for sampler in image_samplers}
  signatures["serving_default"] = signatures[str(image_samplers[0].spec)]
  # Hidden, beside its final place: only within one file system is renaming atomic.
  temporary = pathlib.Path(tempfile.mkdtemp(prefix=f".{version}-", dir=target.parent))
  try:
    tf.saved_model.save(module, temporary, signatures)
    extra = temporary / "assets.extra"
    extra.mkdir()
    for name, text in assets.items():
      (extra / name).write_text(text)
    if verify_with:
      _verify(temporary, image_samplers, verify_with)
    temporary.chmod(0o755)
    os.rename(temporary, target)
  finally:
    shutil.rmtree(temporary, ignore_errors=True)
  return target


def _verify(path, image_samplers, arrays):
  loaded = tf.saved_model.load(path)
  for sampler in image_samplers:
    inputs = {spec.name: tf.constant(arrays[spec.name]) for spec in sampler.input_signature()}
    expected = sampler.draw(*inputs.values())
    received = loaded.signatures[str(sampler.spec)](**inputs)["image"]
    different = int(tf.math.count_nonzero(expected != received))
    if different:
      raise ValueError(f"export: expected the images of the model from {sampler.spec}, received "
                       f"{different} values of {tf.size(expected)} that differ")


def _signature(sampler):
  function = tf.function(lambda *inputs: {"image": sampler.draw(*inputs)},
                         input_signature=sampler.input_signature(), autograph=False)
  return function.get_concrete_function()
