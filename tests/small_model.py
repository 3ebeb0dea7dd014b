"""A model that is small enough for tests, trained or with random weights."""

import os

import numpy as np

from iddpm_tf import config as config_lib
from iddpm_tf.models import checkpoints
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.training import state as state_lib

# One level, the fewest channels, few timesteps: tracing takes most of the time of a test.
SETTINGS = {
  "base_channels": 32,
  "channel_multipliers": (1,),
  "num_res_blocks": 1,
  "attention_resolutions": (),
  "diffusion_steps": 25,
  "batch_size": 8,
  "learning_rate": 1e-3,
  "ema": (0.9, 0.5),
  "samplers": ("ancestral:5", "ddim:5"),
  "num_samples": 12,
  "log_every": 5,
  "class_conditional": True,
}
# Those of a noisy classifier, which differ.
CLASSIFIER_SETTINGS = {
  **{name: SETTINGS[name] for name in SETTINGS.keys() - {"class_conditional", "ema"}},
  "pool": "attention",
  "ema": (),
  "eval_every": 5,
  "eval_examples": 30,
}
# The arguments of a `UNet` of that size, for images of three channels.
NETWORK = {
  "base_channels": 32,
  "channel_multipliers": (1,),
  "num_res_blocks": 1,
  "attention_factors": (),
  "num_heads": 1,
  "out_channels": 3,
}
# The last step of the models below.
STEP = 10


def flags(**settings):
  """Returns settings as arguments of a command."""
  return tuple(f"--{name}={_text(value)}" for name, value in settings.items())


def _text(value):
  return ",".join(map(str, value)) if isinstance(value, tuple) else value


FLAGS = flags(**SETTINGS)
CLASSIFIER_FLAGS = flags(**CLASSIFIER_SETTINGS)


def make_config(image_shape=(8, 8, 1), num_classes=10, **changes):
  """Returns the configuration of a small model of the digits, with changes to some settings."""
  config = config_lib.Config.from_settings(**{**SETTINGS, **changes})
  return config.with_data(image_shape=image_shape, num_classes=num_classes)


def make_classifier_config(image_shape=(8, 8, 1), num_classes=10, **changes):
  """Returns the configuration of a small classifier of the digits, with changes."""
  config = config_lib.Config.from_settings(**{**CLASSIFIER_SETTINGS, **changes})
  return config.with_data(image_shape=image_shape, num_classes=num_classes)


def write(folder: str | os.PathLike[str], config: config_lib.Config, *, seed: int = 0):
  """Writes a model folder with random weights and averages, without any training.

  The images depend on every weight, so that the model serves wherever a trained one would.
  """
  folder = model_dir_lib.ModelDir(folder)
  folder.write_config(config)
  state = state_lib.TrainState(config)
  random = np.random.default_rng(seed)
  for values in (state.weights, *state.averages.averages):
    values.assign(
      [
        value + 0.1 * random.standard_normal(value.shape).astype(np.float32)
        for value in values.read()
      ]
    )
  state.step.assign(STEP)
  checkpoints.Checkpoints(state, folder.checkpoints).save(STEP)
  return folder.path
