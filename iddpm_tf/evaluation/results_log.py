"""The results of a run: a line of JSON each in `results.jsonl`, with all that tells one from another."""

import contextlib
import datetime
import json
import math
import os
import pathlib

import iddpm_tf
from iddpm_tf import settings
from iddpm_tf.models import model_dir
from trainers.cli import command

FILE = "results.jsonl"


def of_model(model, *, seed):
  """What was evaluated, of a `TrainedModel`: a dictionary."""
  result = {
    "model": str(model.folder),
    "training_step": model.step,
    "ema": model.ema,
    "seed": seed,
    "clip_denoised": model.config.sampling.clip_denoised,
  }
  if model.other_variance:
    result["fixed_variance"] = model.other_variance
  if model.ends:
    result |= {
      "ensemble": str(model.ends.folder),
      "ensemble_training_step": model.ends.step,
      "ensemble_ema": model.ends.ema,
      "ensemble_steps": model.end_steps,
    }
  return result


def of_sampler(model, spec):
  """How images were drawn, by a `SamplerSpec`: a dictionary."""
  return {
    "sampler": str(spec),
    "sampling_steps": spec.num_steps(model.config.diffusion.diffusion_steps),
  }


def read(folder):
  """The results of a folder so far, dictionaries; what a kill left of a line is left out."""
  path, found = pathlib.Path(folder) / FILE, []
  for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
    with contextlib.suppress(json.JSONDecodeError):
      found.append(json.loads(line))
  return [result for result in found if isinstance(result, dict)]


def append(folder, *results):
  """Adds dictionaries, with the version of the code and the time, to the folder's results; the file's path."""
  now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
  stamp = {"version": iddpm_tf.__version__, "time": now}
  text = "".join(
    json.dumps(result | _legible(result) | stamp, allow_nan=False) + "\n" for result in results
  )
  path = pathlib.Path(folder) / FILE
  # After what a kill left of a line, a new one.
  if path.exists() and path.stat().st_size and path.read_bytes()[-1:] != b"\n":
    text = "\n" + text
  # One write to the end of the file: lines of two commands at once do not mix.
  file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
  try:
    os.write(file, text.encode())
  finally:
    os.close(file)
  return path


def _legible(result):
  """Its scores, with null for what JSON has no number for."""
  return {
    "scores": {
      name: None if isinstance(value, float) and not math.isfinite(value) else value
      for name, value in result["scores"].items()
    }
  }


def folder_of(options):
  """Where a command's results go: `--output_dir`, or the model's folder; made if need be."""
  settings.require(
    options.output_dir or options.model_dir,
    "output_dir",
    "a folder for the results, since there is no --model_dir",
    options.output_dir,
  )
  if options.output_dir:
    command.make_output_dir(options.output_dir)
  return pathlib.Path(options.output_dir or model_dir.require_given(options.model_dir))
