"""Samples kept on disk: a killed evaluation goes on, and a larger one begins where a smaller one ended.

Image i depends on its seed alone, so what was drawn for 10,000 samples is the first fifth of 50,000.
"""

import json
import pathlib
import zlib

import numpy as np

from iddpm_tf.data.records import reading as records
from iddpm_tf.models import batched_sampling as sampling
from iddpm_tf.models import seeds as samples
from iddpm_tf.utils import files
from iddpm_tf.utils import npz

FOLDER = "samples"


def drawn(model, spec, folder, *, count, first_seed, batch_size, strategy):
  """uint8 [count, H, W, C], on disk, of a `TrainedModel` by a `SamplerSpec`: what is missing is drawn.

  Indexed as `records.RecordImages` is. `folder`: of the evaluations. Labels go round the classes.
  """
  sampling_config = model.config.sampling
  drawn_by = {
    "training_step": model.step,
    "ema": model.ema,
    "sampler": str(spec),
    "first_seed": first_seed,
    "clip_denoised": sampling_config.clip_denoised,
    "image_shape": list(model.config.data.image_shape),
  }
  if model.other_variance:
    drawn_by["fixed_variance"] = model.other_variance
  # A checkpoint's name alone would not tell a run from one that was started anew in the same folder.
  key = zlib.crc32(json.dumps([drawn_by, weights_checksum(model)]).encode())
  store = pathlib.Path(folder) / FOLDER / f"step_{model.step}_ema_{model.ema}_{spec}_{key:08x}"
  store.mkdir(parents=True, exist_ok=True)
  have = _files(store, model.config.data.image_shape)
  start = sum(len(images) for images in have)
  if start < count:
    seeds, labels = samples.order(count, model.config.num_classes, first_seed)
    inputs = {"seed": seeds[start:], "label": None if labels is None else labels[start:]}
    if start:
      print(f"{start:,} of {count:,} samples are in {store}")
    for images in sampling.batches(model, spec, inputs, batch_size, strategy):
      with files.whole(store / f"{start:08d}.npy") as temporary:
        np.save(temporary, images)
      start += len(images)
    have = _files(store, model.config.data.image_shape)
  return records.RecordImages(have, model.config.data.image_shape)


def weights_checksum(model):
  """Of the weights that the model samples with."""
  checksum = zlib.crc32(str(model.end_steps).encode())
  networks = [model.network] + ([model.ends.network] if model.ends else [])
  for variable in (variable for network in networks for variable in network.trainable_variables):
    checksum = zlib.crc32(np.ascontiguousarray(variable.value.numpy()).view(np.uint8), checksum)
  return f"{checksum:08x}"


class _File:
  """Images of a file, which is open only while it is read: there may be more files than a process may open."""

  def __init__(self, path, count):
    self._path, self._count = path, count

  def __len__(self):
    return self._count

  def __getitem__(self, index):
    return _mapped(self._path)[index]


def _mapped(path):
  return np.load(path, mmap_mode="r", allow_pickle=False)


def _files(store, image_shape):
  """`_File`s from the first image on, up to the first that is missing or damaged."""
  files, count = [], 0
  while (path := store / f"{count:08d}.npy").exists():
    try:
      images = _mapped(path)
    except OSError:  # That says nothing of the file.
      raise
    except npz.ERRORS:
      break
    if images.dtype != np.uint8 or images.shape[1:] != tuple(image_shape) or not len(images):
      break
    files.append(_File(path, len(images)))
    count += len(images)
  return files
