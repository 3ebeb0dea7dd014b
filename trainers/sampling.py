"""The work of `trainers.sample`: images drawn in batches over all devices, and their files."""

import os
import pathlib

import numpy as np

from iddpm_tf.data import pictures
from iddpm_tf.serving import image_sampler
from trainers import command
from trainers import progress
from trainers import samples
from trainers import strategy as strategy_lib
from trainers import trained_model


def sample(config, options):
  """Draws `config.sampling.num_samples` images by each of its samplers, as `sample.Options` say."""
  specs = samples.require_samplers(config)
  folder = pathlib.Path(options.output_dir or pathlib.Path(options.model_dir) / samples.FOLDER)
  strategy = strategy_lib.make_strategy()
  with strategy.scope():
    model = trained_model.load(options.model_dir, config, options.ema)
  command.make_output_dir(folder)
  print(f"sampling from {model}")
  seeds, labels = samples.order(config.sampling.num_samples, config.num_classes, options.seed)
  if options.labels:
    labels = np.resize(np.array(options.labels, np.int32), len(seeds))
  for spec in specs:
    images = draw(model, spec, seeds, labels, options.batch_size, strategy)
    _write(folder, str(spec), images, seeds, labels, png=options.png)
  return 0


def draw(model, spec, seeds, labels, batch_size, strategy):
  """uint8 [N, H, W, C] by the sampler `spec`, with a bar of network evaluations.

  `seeds` int64 [N], `labels` int32 [N] or None.
  """
  steps = spec.steps or model.config.diffusion.diffusion_steps
  starts = range(0, len(seeds), batch_size)
  batches = []
  # Each replica reports each of its steps.
  total = steps * len(starts) * strategy.num_replicas_in_sync
  with progress.bar(total=total, unit="step", description=str(spec)) as bar:
    sampler = image_sampler.ImageSampler(
        model.config, model.network, spec, progress=lambda done: bar.update())
    run = strategy_lib.over_replicas(strategy, sampler.draw)
    for start in starts:
      chosen = slice(start, start + batch_size)
      inputs = (seeds[chosen],) if labels is None else (seeds[chosen], labels[chosen])
      batches.append(run(*inputs))
  return np.concatenate(batches)


def _write(folder, name, images, seeds, labels, *, png):
  pictures.write_png(folder / f"{name}.png", samples.grid(images, labels))
  # The authors' layout, and their name after the sampler's.
  path = folder / f"{name}_samples_{'x'.join(map(str, images.shape))}.npz"
  temporary = path.with_name(f".{os.getpid()}-{path.name}")
  np.savez(temporary, *([images] if labels is None else [images, labels]))
  os.replace(temporary, path)
  print(f"wrote {folder / f'{name}.png'} and {path}")
  if png:
    (folder / name).mkdir(exist_ok=True)
    for i, image in enumerate(images):
      suffix = "" if labels is None else f"_label_{labels[i]}"
      pictures.write_png(folder / name / f"seed_{seeds[i]}{suffix}.png", image)
    print(f"wrote {len(images)} PNG files to {folder / name}")
