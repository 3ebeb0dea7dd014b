"""Results of `trainers.evaluate --nll`: a JSON file and a plot each."""

import json
import os
import zlib

import matplotlib

from trainers import model_dir

matplotlib.use("Agg")
from matplotlib import pyplot  # pylint: disable=wrong-import-position


def description(model, dataset, count, options):
  """What a result is of, for its JSON: a `TrainedModel`, the name of the data, the number of images."""
  return {
      "dataset": dataset, "data_dir": model.config.data.data_dir, "split": options.split, "num_examples": count,
      "training_step": model.step, "ema": model.ema, "decoder": model.config.diffusion.decoder,
      "seed": options.seed, "clip_denoised": model.config.sampling.clip_denoised}


def name(model, count, options):
  """All that tells one result from another, so that none replaces another."""
  decoder = model.config.diffusion.decoder
  text = f"nll_step_{model.step}_ema_{model.ema}_{options.split}_{count}_seed_{options.seed}"
  text += f"_{options.nll_schedule}_{options.nll_steps}" if options.nll_steps else ""
  text += f"_stderr_{options.nll_stderr}" if options.nll_stderr else ""
  text += f"_{decoder}" if decoder != "exact" else ""
  text += "" if model.config.sampling.clip_denoised else "_unclipped"
  return text + _other_data(model)


def write(path, result, timesteps, terms):
  """Writes `result` to the JSON file `path`, and beside it Figure 2: the terms by timestep."""
  temporary = path.with_name(f".{os.getpid()}-{path.name}")
  temporary.write_text(json.dumps(result, indent=1) + "\n")
  os.replace(temporary, path)
  _plot(path.with_suffix(".png"), timesteps, terms)
  print(f"wrote {path} and {path.with_suffix('.png')}")


def _other_data(model):
  """For the name of a result: which data, where it is not the model's own."""
  own, data = model_dir.read_config(model.folder).data, model.config.data
  if data == own:
    return ""
  return f"_{zlib.crc32(repr(data).encode()):08x}"


def _plot(path, timesteps, terms):
  """Figure 2: terms of the bound by diffusion step, on a logarithmic axis."""
  figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
  axes.plot(timesteps, terms, linewidth=1, marker="." if len(terms) < 60 else None)
  axes.set(xlabel="diffusion step", ylabel="loss term (bits/dim)", yscale="log",
           title="Terms of the variational bound")
  axes.grid(alpha=0.3)
  figure.savefig(path, dpi=150)
  pyplot.close(figure)
