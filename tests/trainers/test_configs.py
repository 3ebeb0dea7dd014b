"""The flagfiles say what they are meant to."""

import dataclasses
import pathlib

from absl import flags as absl_flags
import pytest

from iddpm_tf import config as config_lib
from trainers import flags

ROOT = pathlib.Path(__file__).parents[2]
FILES = sorted(path.name for path in (ROOT / "configs").glob("*.flags"))


def read(*argv):
  """The `Config` of a command line."""
  values = absl_flags.FlagValues()
  for section, dataclass in config_lib.parts().items():
    flags.define(values, dataclass, section)
  flags.parse(values, ["train", *argv])
  return flags.override(config_lib.Config(), values)


@pytest.fixture(autouse=True)
def fixture_root(monkeypatch):
  """Nested flagfiles are relative to the working folder."""
  monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("name", FILES)
def test_every_flagfile_is_valid_and_fits_its_data(name):
  config = read(f"--flagfile=configs/{name}")
  shape = {"digits": (8, 8, 1), "cifar10": (32, 32, 3)}[config.data.dataset]
  dataclasses.replace(config, data=dataclasses.replace(config.data, image_shape=shape, num_classes=10))


def test_cifar10_is_the_papers():
  config = read("--flagfile=configs/cifar10.flags")
  network, diffusion, training = config.network, config.diffusion, config.training
  assert (network.base_channels, network.channel_multipliers) == (128, (1, 2, 2, 2))
  assert network.num_res_blocks == 3
  assert (network.attention_resolutions, network.num_heads, network.dropout) == ((16, 8), 4, 0.3)
  assert network.scale_shift_norm and not network.class_conditional
  assert (diffusion.diffusion_steps, diffusion.noise_schedule) == (4000, "cosine")
  assert diffusion.objective == "hybrid"
  assert (diffusion.variance_type, diffusion.vlb_weight, diffusion.rescale_timesteps) == (
      "learned_range", None, True)
  assert (training.train_steps, training.batch_size, training.learning_rate, training.ema) == (
      500_000, 128, 1e-4, (0.9999,))


def test_later_flags_win_and_tuples_are_replaced_not_appended():
  config = read("--flagfile=configs/cifar10.flags", "--ema=0.9,0.99", "--batch_size=64")
  assert config.training.ema == (0.9, 0.99) and config.training.batch_size == 64


def test_the_defaults_train_the_digits():
  config = read()
  assert config.data.dataset == "digits"
  dataclasses.replace(config, data=dataclasses.replace(config.data, image_shape=(8, 8, 1), num_classes=10))
