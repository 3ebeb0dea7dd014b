"""The work of `trainers.evaluate --nll`: the bound over a split, as JSON and as a plot."""

import dataclasses
import json
import os
import pathlib
import zlib

import matplotlib
import numpy as np
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf.data import images as images_lib
from iddpm_tf.data import sources
from iddpm_tf.diffusion import likelihood
from iddpm_tf.diffusion import process as process_lib
from iddpm_tf.diffusion import respacing
from iddpm_tf.diffusion import samplers
from iddpm_tf.networks.stateless import call_network
from trainers import command
from trainers import model_dir
from trainers import progress
from trainers import trained_model

matplotlib.use("Agg")
from matplotlib import pyplot  # pylint: disable=wrong-import-position

FOLDER = "evaluations"


def evaluate(config, options):
  """Bits/dim of a split, as `evaluate.Options` say."""
  if options.decoder:
    config = dataclasses.replace(
        config, diffusion=dataclasses.replace(config.diffusion, decoder=options.decoder))
  source = sources.load(config.data, options.split)
  model_dir.require_same_data(config, source, options.model_dir)
  config_lib.require(options.num_examples <= len(source.images), "num_examples",
                     f"at most {len(source.images)}, the {options.split} images of {source.name}",
                     options.num_examples)
  model = trained_model.load(options.model_dir, config, options.ema, best=options.best)
  count = options.num_examples or len(source.images)
  process = process_of(config.diffusion, options.nll_steps, options.nll_schedule)
  folder = pathlib.Path(options.output_dir or model.folder / FOLDER)
  command.make_output_dir(folder)
  print(f"bits/dim of {model}: {count} {options.split} images of {source.name}, "
        f"{process.num_timesteps} timesteps")
  bits = bits_per_dim(model, process, source, count, options)
  _write(folder, model, process, source.name, bits, options)
  return 0


def process_of(config, count, schedule):
  """The process of a `DiffusionConfig` on `count` timesteps (0: all) by `--nll_schedule`'s rule."""
  process = process_lib.make_process(config)
  steps = process.num_timesteps
  if not count:
    return process
  if schedule == "dense_start":
    return process.respaced(respacing.likelihood_timesteps(steps, count))
  return process.respaced(respacing.space_timesteps(steps, str(count)))


def bits_per_dim(model, process, source, count, options):
  """`BitsPerDim` of the first `count` images, as NumPy, with a bar of network evaluations."""
  batches = -(-count // options.batch_size)
  with progress.bar(total=batches * process.num_timesteps, unit="step") as bar:
    function = function_of(model, process, lambda done: bar.update(1))
    results = list(bits_of_batches(function, source, count, seed=options.seed, batch_size=options.batch_size))
  return likelihood.BitsPerDim(*(np.concatenate(parts) for parts in zip(*results)))


def bits_of_batches(function, source, count, *, seed, batch_size):
  """Yields the `BitsPerDim` of each batch of the first `count` images, by a function of `function_of`."""
  for start in range(0, count, batch_size):
    chosen = slice(start, min(start + batch_size, count))
    # Each image has its own noise, whatever its batch.
    seeds = tf.range(chosen.start, chosen.stop, dtype=tf.int64) + (seed << 32)
    yield function(source.images[chosen], source.labels[chosen], seeds)


def function_of(model, process, report=lambda done: None):
  """uint8 [B, H, W, C], int32 [B], int64 [B] -> `BitsPerDim`, as a graph."""
  config = model.config
  image_shape = config.data.image_shape
  report = samplers.python_progress(report)

  @tf.function(autograph=False, input_signature=[
      tf.TensorSpec((None, *image_shape), tf.uint8), tf.TensorSpec([None], tf.int32),
      tf.TensorSpec([None], tf.int64)])
  def function(image, label, seeds):
    noise_fn = samplers.seeded_noise(seeds, image_shape)
    x_start, low = images_lib.to_unit_range(image), config.network.low_res_size
    low_res = images_lib.area_downsample(x_start, low) if low else None

    def denoise_fn(x_t, t):
      report(0)
      return call_network(
          model.network, x_t, t, label if config.num_classes else None, low_res=low_res)

    return likelihood.bits_per_dim(
        denoise_fn, process, config.diffusion, x_start, noise_fn, clip=config.sampling.clip_denoised)

  return function


def _write(folder, model, process, dataset, bits, options):
  mean = float(np.mean(bits.total, dtype=np.float64))
  # Of the mean over images; one alone has none.
  stderr = float(np.std(bits.total, ddof=1) / np.sqrt(len(bits.total))) if len(bits.total) > 1 else None
  decoder = model.config.diffusion.decoder
  # All that tells one result from another, so that none replaces another.
  name = f"nll_step_{model.step}_ema_{model.ema}_{options.split}_{len(bits.total)}_seed_{options.seed}"
  name += f"_{options.nll_schedule}_{options.nll_steps}" if options.nll_steps else ""
  name += f"_{decoder}" if decoder != "exact" else ""
  name += "" if model.config.sampling.clip_denoised else "_unclipped"
  name += _other_data(model)
  result = {
      "bits_per_dim": mean, "stderr": stderr, "dataset": dataset, "data_dir": model.config.data.data_dir,
      "split": options.split,
      "num_examples": len(bits.total), "training_step": model.step, "ema": model.ema,
      "decoder": decoder, "seed": options.seed, "clip_denoised": model.config.sampling.clip_denoised,
      "timesteps": process.timestep_map.tolist(), "prior": _mean(bits.prior),
      "terms": _mean(bits.terms), "x_start_mse": _mean(bits.x_start_mse), "eps_mse": _mean(bits.eps_mse),
      "bits_per_dim_of_images": bits.total.tolist(),
  }
  path = folder / f"{name}.json"
  temporary = path.with_name(f".{os.getpid()}-{path.name}")
  temporary.write_text(json.dumps(result, indent=1) + "\n")
  os.replace(temporary, path)
  _plot(folder / f"{name}.png", process.timestep_map, np.mean(bits.terms, axis=0))
  print(f"{mean:.4f} bits/dim, standard error {'unknown' if stderr is None else f'{stderr:.4f}'}\n"
        f"wrote {path} and {path.with_suffix('.png')}")


def _other_data(model):
  """For the name of a result: which data, where it is not the model's own."""
  own, data = model_dir.read_config(model.folder).data, model.config.data
  if data == own:
    return ""
  return f"_{zlib.crc32(repr(data).encode()):08x}"


def _mean(values):
  """Over the images."""
  return np.mean(values, axis=0, dtype=np.float64).tolist()


def _plot(path, timesteps, terms):
  """Figure 2: terms of the bound by diffusion step, on a logarithmic axis."""
  figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
  axes.plot(timesteps, terms, linewidth=1, marker="." if len(terms) < 60 else None)
  axes.set(xlabel="diffusion step", ylabel="loss term (bits/dim)", yscale="log",
           title="Terms of the variational bound")
  axes.grid(alpha=0.3)
  figure.savefig(path, dpi=150)
  pyplot.close(figure)
