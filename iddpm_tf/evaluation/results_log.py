"""The results of a run: one JSON object per line of the results file of its folder."""

import contextlib
import datetime
import json
import math
import os
import pathlib
from typing import TYPE_CHECKING
from typing import Any

import iddpm_tf
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.utils import files

if TYPE_CHECKING:  # Reading results needs no TensorFlow.
  from iddpm_tf.diffusion.samplers import base as samplers
  from iddpm_tf.models import trained_model


def describe_model(model: "trained_model.TrainedModel", *, seed: int) -> dict[str, Any]:
  """Returns the part of a result that says which model it is of.

  Args:
    model: the model.
    seed: the seed of the evaluation.
  """
  description = {
    "model": str(model.folder),
    "training_step": model.step,
    "ema": model.ema,
    "seed": seed,
    "clip_denoised": model.config.sampling.clip_denoised,
  }
  if model.other_variance:
    description["fixed_variance"] = model.other_variance
  if model.other_precision:
    description["precision"] = model.other_precision
  if model.ends:
    description |= {
      "ensemble": str(model.ends.folder),
      "ensemble_training_step": model.ends.step,
      "ensemble_ema": model.ends.ema,
      "ensemble_steps": model.end_steps,
    }
  return description


def describe_sampler(
  model: "trained_model.TrainedModel", sampler: "samplers.Sampler"
) -> dict[str, Any]:
  """Returns the part of a result that says by which sampler the images were drawn."""
  description = {
    "sampler": str(sampler),
    "sampling_steps": sampler.num_steps(model.config.diffusion.diffusion_steps),
  }
  sampling = model.config.sampling
  if sampling.dynamic_threshold:
    description["dynamic_threshold"] = sampling.dynamic_threshold
  if sampling.truncate:
    description["truncate"] = True
  return description | model.guidance


def describe_upsampler(
  model: "trained_model.TrainedModel", sampler: "samplers.Sampler"
) -> dict[str, Any]:
  """Returns the part of a result that says by which model and sampler images were enlarged."""
  description = describe_model(model, seed=0) | describe_sampler(model, sampler)
  folder = description.pop("model")
  del description["seed"]  # That of the first model.
  return {"upsampler": folder} | {f"upsampler_{name}": value for name, value in description.items()}


def read(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
  """Returns all results in a folder. A line that a killed process left unfinished is left out."""
  path = model_dir_lib.ModelDir(folder).results
  if not path.exists():
    return []
  results = []
  for line in path.read_text(errors="replace").splitlines():
    with contextlib.suppress(json.JSONDecodeError):
      results.append(json.loads(line))
  return [result for result in results if isinstance(result, dict)]


def require_writable(folder: str | os.PathLike[str]) -> None:
  """Checks that results can be added to those in a folder.

  Raises:
    InputError: the folder or its file of results cannot be written.
  """
  path = model_dir_lib.ModelDir(folder).results
  files.require_writable(path if path.exists() else folder)


def append(folder: str | os.PathLike[str], *results: dict[str, Any]) -> pathlib.Path:
  """Adds results, with the package's version and the time, to those in a folder.

  Args:
    folder: a model folder, or another existing folder for results.
    *results: the results. Each has its `scores`, numbers by name.

  Returns:
    The path of the file.
  """
  now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
  stamp = {"version": iddpm_tf.__version__, "time": now}
  text = "".join(
    json.dumps(result | _json_scores(result) | stamp, allow_nan=False) + "\n" for result in results
  )
  path = model_dir_lib.ModelDir(folder).results
  # A killed process may have left the last line unfinished.
  if path.exists() and path.stat().st_size and path.read_bytes()[-1:] != b"\n":
    text = "\n" + text
  # One write to the end of the file, so that lines of two processes do not mix.
  file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
  try:
    os.write(file, text.encode())
    os.fsync(file)
  finally:
    os.close(file)
  return path


def _json_scores(result: dict[str, Any]) -> dict[str, Any]:
  """Returns the scores of a result, with null for numbers that JSON does not have."""
  return {
    "scores": {
      name: None if isinstance(value, float) and not math.isfinite(value) else value
      for name, value in result["scores"].items()
    }
  }
