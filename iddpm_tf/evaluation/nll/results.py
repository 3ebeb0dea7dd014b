"""Results of `trainers.evaluate --nll`: a JSON file and a plot each."""

import json
import zlib

import matplotlib

from iddpm_tf.evaluation import results_log as results
from iddpm_tf.models import model_dir
from iddpm_tf.utils import files

matplotlib.use("Agg")
from matplotlib import pyplot  # pylint: disable=wrong-import-position


def description(model, dataset, count, options):
  """What a result is of, for its JSON: a `TrainedModel`, the name of the data, the number of images."""
  return results.of_model(model, seed=options.seed) | {
    "dataset": dataset,
    "data_dir": model.config.data.data_dir,
    "split": options.split,
    "num_examples": count,
    "decoder": model.config.diffusion.decoder,
  }


def name(model, count, options):
  """All that tells one result from another, so that none replaces another."""
  decoder = model.config.diffusion.decoder
  text = f"nll_step_{model.step}_ema_{model.ema}_{options.split}_{count}_seed_{options.seed}"
  text += f"_{options.nll_schedule}_{options.nll_steps}" if options.nll_steps else ""
  text += f"_stderr_{options.nll_stderr}" if options.nll_stderr else ""
  text += f"_{decoder}" if decoder != "exact" else ""
  text += f"_{model.other_variance}" if model.other_variance else ""
  text += "" if model.config.sampling.clip_denoised else "_unclipped"
  if model.ends:
    ends = zlib.crc32(f"{model.ends.folder.resolve()} {model.ends.step} {model.ends.ema}".encode())
    text += f"_ensemble_{model.end_steps}_{ends:08x}"
  return text + _other_data(model)


def write(path, result, timesteps, terms, options):
  """Writes `result` to the JSON file `path`, Figure 2 (the terms by timestep) beside it, and a line of results."""
  with files.whole(path) as temporary:
    temporary.write_text(json.dumps(result, indent=1) + "\n")
  _plot(path.with_suffix(".png"), timesteps, terms)
  print(f"wrote {path} and {path.with_suffix('.png')}")
  errors = {
    f"nll_{name}": result[name] for name in ("stderr", "stderr_of_estimate") if name in result
  }
  scores = ("bits_per_dim", "stderr", "stderr_of_estimate")
  about = {
    name: value
    for name, value in result.items()
    if isinstance(value, (str, int, float, bool)) and name not in scores
  }
  results.append(
    results.folder_of(options),
    {"scores": {"nll": result["bits_per_dim"]} | errors, "file": str(path)} | about,
  )


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
  axes.set(
    xlabel="diffusion step",
    ylabel="loss term (bits/dim)",
    yscale="log",
    title="Terms of the variational bound",
  )
  axes.grid(alpha=0.3)
  with files.whole(path) as temporary:
    figure.savefig(temporary, dpi=150)
  pyplot.close(figure)
