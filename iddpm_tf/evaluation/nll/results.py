"""Results of likelihoods: a JSON file and a plot of the terms for each."""

import pathlib
from typing import Any

from matplotlib import figure as figure_lib
import numpy as np

from iddpm_tf.evaluation import data_key
from iddpm_tf.evaluation import results_log
from iddpm_tf.evaluation.nll import config as nll_config
from iddpm_tf.models import trained_model
from iddpm_tf.utils import files

_SCORES = ("bits_per_dim", "stderr", "stderr_of_estimate")


def describe(
  model: trained_model.TrainedModel, dataset: str, config: nll_config.NllConfig
) -> dict[str, Any]:
  """Returns the part of a result that says what it is of.

  Args:
    model: the model.
    dataset: the name of the data.
    config: the evaluation, whose `num_examples` is the number of images, not 0.
  """
  return results_log.describe_model(model, seed=config.seed) | {
    "dataset": dataset,
    "data_dir": model.config.data.data_dir,
    "split": config.split,
    "num_examples": config.num_examples,
    "decoder": model.config.diffusion.decoder,
  }


def file_name(
  model: trained_model.TrainedModel, config: nll_config.NllConfig, images: str | None = None
) -> str:
  """Returns the name of a result's files, without a suffix. Different evaluations differ in it.

  Args:
    model: the model.
    config: the evaluation, whose `num_examples` is the number of images, not 0.
    images: the checksum of images that are not of the model's data, or None.
  """
  decoder = model.config.diffusion.decoder
  parts = [
    f"nll_step_{model.step}_ema_{model.ema}",
    f"{images or config.split}_{config.num_examples}",
    f"seed_{config.seed}",
  ]
  if config.nll_steps:
    parts.append(f"{config.nll_schedule}_{config.nll_steps}")
  if config.nll_stderr:
    parts.append(f"stderr_{config.nll_stderr}")
  if decoder != "exact":
    parts.append(decoder)
  if model.other_variance:
    parts.append(model.other_variance)
  if model.other_precision:
    parts.append(model.other_precision)
  if not model.config.sampling.clip_denoised:
    parts.append("unclipped")
  if model.ends:
    ends = f"{model.ends.folder.path.resolve()} {model.ends.step} {model.ends.ema}"
    parts.append(f"ensemble_{model.end_steps}_{data_key.checksum(ends)}")
  stored = model.folder.read_config()
  data = data_key.describe(model.config.data)
  if images is None and stored and data != data_key.describe(stored.data):
    parts.append(data_key.checksum(data))
  return "_".join(parts)


def write(
  path: pathlib.Path, result: dict[str, Any], timesteps: np.ndarray, terms: np.ndarray
) -> pathlib.Path:
  """Writes a result to a JSON file, and a plot of its terms beside it (Figure 2).

  Args:
    path: the JSON file.
    result: the result.
    timesteps: the timestep of each term, `[S]`.
    terms: the terms in bits/dim, `[S]`.

  Returns:
    The path of the plot.
  """
  files.write_json(path, result, indent=1)
  picture = path.with_suffix(".png")
  _plot(picture, timesteps, terms)
  return picture


def log_entry(path: pathlib.Path, result: dict[str, Any]) -> dict[str, Any]:
  """Returns what the results log has of a result: its scores and all single values.

  Args:
    path: the JSON file of the result.
    result: the result.
  """
  errors = {
    f"nll_{name}": result[name] for name in ("stderr", "stderr_of_estimate") if name in result
  }
  values = {
    name: value
    for name, value in result.items()
    if isinstance(value, (str, int, float, bool)) and name not in _SCORES
  }
  return {"scores": {"nll": result["bits_per_dim"]} | errors, "file": str(path)} | values


def _plot(path: pathlib.Path, timesteps: np.ndarray, terms: np.ndarray) -> None:
  """Draws the terms of the bound by timestep, on a logarithmic axis."""
  # Without pyplot, which would change the backend of a notebook.
  figure = figure_lib.Figure(figsize=(6, 4), layout="constrained")
  axes = figure.subplots()
  axes.plot(timesteps, terms, linewidth=1, marker="." if len(terms) < 60 else None)
  axes.set(
    xlabel="diffusion step",
    ylabel="loss term (bits/dim)",
    yscale="log",
    title="Terms of the variational bound",
  )
  axes.grid(alpha=0.3)
  with files.whole(path) as temporary:
    figure.savefig(temporary, dpi=150)
