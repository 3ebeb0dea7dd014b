"""The work of `trainers.evaluate --nll`: the bound over a split, as JSON and as a plot."""

import dataclasses
import pathlib

import numpy as np
import tensorflow as tf

import iddpm_tf
from iddpm_tf import settings
from iddpm_tf.data import images as images_lib
from iddpm_tf.data import sources
from iddpm_tf.diffusion import likelihood
from iddpm_tf.diffusion import process as process_lib
from iddpm_tf.diffusion import respacing
from iddpm_tf.diffusion import samplers
from iddpm_tf.evaluation.nll import estimate as nll_budget
from iddpm_tf.evaluation.nll import results as nll_results
from iddpm_tf.models import model_dir
from iddpm_tf.models import trained_model
from iddpm_tf.utils import progress
from trainers.cli import command

FOLDER = "evaluations"


def prepared(config, options):
  """The work, a function, of bits/dim of a split as `evaluate.Options` say; what is wrong is a `ValueError` now."""
  if options.decoder:
    config = dataclasses.replace(
      config, diffusion=dataclasses.replace(config.diffusion, decoder=options.decoder)
    )
  source = sources.load(config.data, options.split)
  model_dir.require_same_data(config, source, options.model_dir)
  settings.require(
    options.num_examples <= len(source.images),
    "num_examples",
    f"at most {len(source.images)}, the {options.split} images of {source.name}",
    options.num_examples,
  )
  model = trained_model.load_chosen(config, options)
  count = options.num_examples or len(source.images)
  process = process_of(config.diffusion, options.nll_steps, options.nll_schedule)
  folder = pathlib.Path(options.output_dir or model.folder / FOLDER)
  command.make_output_dir(folder)

  def work():
    print(
      f"bits/dim of {model}: {count} {options.split} images of {source.name}, "
      f"{process.num_timesteps} timesteps, seed {options.seed}, iddpm_tf {iddpm_tf.__version__}"
    )
    if options.nll_stderr:
      nll_budget.evaluate(model, process, source, count, options, folder)
      return
    bits = bits_per_dim(model, process, source, count, options)
    _write(folder, model, process, source.name, bits, options)

  return work


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
    results = list(
      bits_of_batches(function, source, count, seed=options.seed, batch_size=options.batch_size)
    )
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

  @tf.function(
    autograph=False,
    input_signature=[
      tf.TensorSpec((None, *image_shape), tf.uint8),
      tf.TensorSpec([None], tf.int32),
      tf.TensorSpec([None], tf.int64),
    ],
  )
  def function(image, label, seeds):
    noise_fn = samplers.seeded_noise(seeds, image_shape)
    x_start = images_lib.to_unit_range(image)
    network_fn = model.denoise_fn(x_start, label)

    def denoise_fn(x_t, t):
      report(0)
      return network_fn(x_t, t)

    return likelihood.bits_per_dim(
      denoise_fn, process, config.diffusion, x_start, noise_fn, clip=config.sampling.clip_denoised
    )

  return function


def _write(folder, model, process, dataset, bits, options):
  mean = float(np.mean(bits.total, dtype=np.float64))
  # Of the mean over images; one alone has none.
  stderr = (
    float(np.std(bits.total, ddof=1) / np.sqrt(len(bits.total))) if len(bits.total) > 1 else None
  )
  result = {
    "bits_per_dim": mean,
    "stderr": stderr,
    **nll_results.description(model, dataset, len(bits.total), options),
    "num_timesteps": process.num_timesteps,
    "timesteps": process.timestep_map.tolist(),
    "prior": _mean(bits.prior),
    "terms": _mean(bits.terms),
    "x_start_mse": _mean(bits.x_start_mse),
    "eps_mse": _mean(bits.eps_mse),
    "bits_per_dim_of_images": bits.total.tolist(),
  }
  print(f"{mean:.4f} bits/dim, standard error {'unknown' if stderr is None else f'{stderr:.4f}'}")
  nll_results.write(
    folder / f"{nll_results.name(model, len(bits.total), options)}.json",
    result,
    process.timestep_map,
    np.mean(bits.terms, axis=0),
    options,
  )


def _mean(values):
  """Over the images."""
  return np.mean(values, axis=0, dtype=np.float64).tolist()
