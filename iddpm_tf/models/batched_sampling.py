"""The work of `trainers.sample`: images drawn in batches over all devices, and their files."""

import pathlib

import numpy as np

from iddpm_tf import settings
from iddpm_tf.data import pictures
from iddpm_tf.models import image_sampler
from iddpm_tf.models import seeds as samples
from iddpm_tf.models import trained_model
from iddpm_tf.utils import devices as strategy_lib
from iddpm_tf.utils import files
from iddpm_tf.utils import npz
from iddpm_tf.utils import progress
from trainers.cli import command


def sample(config, options, upsampler_config=None):
  """Draws `config.sampling.num_samples` images by each of its samplers, as `sample.Options` say.

  With the `Config` of an upsampler each image is enlarged, too.
  """
  specs = samples.require_samplers(config)
  if upsampler_config:
    (upsampler_spec,) = samples.require_samplers(upsampler_config, "upsampler_sampler")
  folder = _folder(options)
  strategy = strategy_lib.make_strategy()
  with strategy.scope():
    model = trained_model.load_chosen(config, options)
    if upsampler_config:
      upsampler = trained_model.load(
        options.upsampler_dir, upsampler_config, options.upsampler_ema, flag="upsampler_ema"
      )
  command.make_output_dir(folder)
  print(f"sampling from {model}" + (f", enlarging with {upsampler}" if upsampler_config else ""))
  seeds, labels = samples.order(config.sampling.num_samples, config.num_classes, options.seed)
  if options.labels:
    labels = np.resize(np.array(options.labels, np.int32), len(seeds))
  inputs = {"seed": seeds, "label": labels}
  for spec in specs:
    images = draw(model, spec, inputs, options.batch_size, strategy)
    write(folder, str(spec), images, inputs, png=options.png)
    if upsampler_config:
      images = draw(
        upsampler, upsampler_spec, inputs | {"low_res": images}, options.batch_size, strategy
      )
      write(folder, f"{spec}_upsampled_{upsampler_spec}", images, inputs, png=options.png)
  return 0


def enlarge(config, options, *, number_given):
  """Enlarges the images of `--base_samples`: all, or as many as `--num_samples` if that was given."""
  specs = samples.require_samplers(config)
  low_res, labels = _base_samples(options, config)
  count = config.sampling.num_samples if number_given else len(low_res)
  settings.require(
    count <= len(low_res),
    "num_samples",
    f"at most {len(low_res)}, the images of {options.base_samples}",
    count,
  )
  folder = _folder(options)
  strategy = strategy_lib.make_strategy()
  with strategy.scope():
    model = trained_model.load_chosen(config, options)
  command.make_output_dir(folder)
  print(f"enlarging {count} images of {options.base_samples} with {model}")
  seeds, _ = samples.order(count, 0, options.seed)
  inputs = {
    "seed": seeds,
    "label": None if labels is None else labels[:count],
    "low_res": low_res[:count],
  }
  for spec in specs:
    write(
      folder,
      str(spec),
      draw(model, spec, inputs, options.batch_size, strategy),
      inputs,
      png=options.png,
    )
  return 0


def draw(model, spec, inputs, batch_size, strategy):
  """uint8 [N, H, W, C] by the sampler `spec`; see `batches`."""
  return np.concatenate(list(batches(model, spec, inputs, batch_size, strategy)))


def batches(model, spec, inputs, batch_size, strategy):
  """uint8 [batch_size or fewer, H, W, C], one batch after the other, with a bar of network evaluations.

  `inputs`: arrays by the names of the sampler's inputs: `seed` int64 [N], `label` int32 [N], `low_res` uint8
  [N, h, w, C]; those that the model does not take are left.
  """
  steps = spec.num_steps(model.config.diffusion.diffusion_steps)
  starts = range(0, len(inputs["seed"]), batch_size)
  # Each replica reports each of its steps.
  total = steps * len(starts) * strategy.num_replicas_in_sync
  with progress.bar(total=total, unit="step", description=str(spec)) as bar:
    sampler = image_sampler.ImageSampler(
      model.config, model.network, spec, ends=model.sampler_ends, progress=lambda done: bar.update()
    )
    arrays = [inputs[tensor.name] for tensor in sampler.input_signature()]
    run = strategy_lib.over_replicas(strategy, sampler.draw)
    for start in starts:
      yield run(*(array[start : start + batch_size] for array in arrays))


def write(folder, name, images, inputs, *, png):
  """Writes a grid, an .npz and, with `png`, a file an image."""
  labels = inputs["label"]
  pictures.write_png(folder / f"{name}.png", samples.grid(images, labels))
  # The authors' layout, and their name after the sampler's.
  path = folder / f"{name}_samples_{'x'.join(map(str, images.shape))}.npz"
  with files.whole(path) as temporary:
    np.savez(temporary, *([images] if labels is None else [images, labels]))
  print(f"wrote {folder / f'{name}.png'} and {path}")
  if png:
    (folder / name).mkdir(exist_ok=True)
    for i, image in enumerate(images):
      suffix = "" if labels is None else f"_label_{labels[i]}"
      pictures.write_png(folder / name / f"seed_{inputs['seed'][i]}{suffix}.png", image)
    print(f"wrote {len(images)} PNG files to {folder / name}")


def _folder(options):
  return pathlib.Path(options.output_dir or pathlib.Path(options.model_dir) / samples.FOLDER)


def _base_samples(options, config):
  """The images uint8 [N, h, w, C] and labels int32 [N], or None, of `--base_samples`."""
  path, shape = options.base_samples, config.low_res_shape
  try:
    arrays = npz.read(path, "arr_0", optional=("arr_1",))
  except ValueError as error:
    raise settings.InputError("base_samples", f"{error}") from None
  images, labels = arrays["arr_0"], arrays.get("arr_1")
  if images.dtype != np.uint8 or images.shape[1:] != shape or not len(images):
    raise settings.InputError(
      "base_samples",
      f"expected uint8 images of {'x'.join(map(str, shape))}, received "
      f"{images.dtype} {list(images.shape)} ({path})",
    )
  if options.labels:
    return images, np.resize(np.array(options.labels, np.int32), len(images))
  if labels is None:
    settings.require(
      not config.num_classes,
      "base_samples",
      "a label for each image in arr_1, since the model has classes; --labels gives them",
      path,
    )
    return images, None
  if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
    raise settings.InputError(
      "base_samples",
      f"expected {len(images)} whole numbers as labels in arr_1, received "
      f"{labels.dtype} {list(labels.shape)} ({path})",
    )
  if config.num_classes and (labels.min() < 0 or labels.max() >= config.num_classes):
    raise settings.InputError(
      "base_samples",
      f"expected labels from 0 to {config.num_classes - 1}, received "
      f"{labels.min()} to {labels.max()} ({path})",
    )
  return images, labels.astype(np.int32)
