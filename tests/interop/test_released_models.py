"""Tests of the flagfiles and the import commands of the authors' released models.

What the authors published about each model stands here as it does in their README: the flags that
differ from their defaults.
"""

import dataclasses
import math
import pathlib
import re
import shlex

import numpy as np
import pytest

from iddpm_tf import config as config_lib
from iddpm_tf.interop import architecture
from iddpm_tf.interop import diagnosis
from iddpm_tf.interop import state_dicts
from iddpm_tf.settings import flagfile

ROOT = pathlib.Path(__file__).parents[2]
README = (ROOT / "configs/README.md").read_text(encoding="utf-8")
ADDRESS = "https://openaipublic.blob.core.windows.net/diffusion/march-2021/"
MULTIPLIERS = {32: (1, 2, 2, 2), 64: (1, 2, 3, 4), 256: (1, 1, 2, 2, 4, 4)}


@dataclasses.dataclass(frozen=True)
class Released:
  """A released model: its file, its flagfile, its size, and the authors' flags."""

  file: str
  flagfile: str
  parameters: int
  image_size: int
  num_channels: int = 128
  num_res_blocks: int = 3
  num_heads: int = 4
  attention_resolutions: tuple[int, ...] = (16, 8)
  use_scale_shift_norm: bool = True
  dropout: float = 0.0
  class_cond: bool = False
  small_size: int = 0
  diffusion_steps: int = 4000
  noise_schedule: str = "cosine"
  use_kl: bool = False
  rescale_timesteps: bool = True
  rescale_learned_sigmas: bool = True
  lr: float = 1e-4
  batch_size: int = 128

  @property
  def architecture(self):
    """Returns what the parameters of the file show."""
    return architecture.Architecture(
      base_channels=self.num_channels,
      num_classes=1000 if self.class_cond else 0,
      enlarges=bool(self.small_size),
      channel_multipliers=MULTIPLIERS[self.image_size],
      num_res_blocks=self.num_res_blocks,
      attention_levels=frozenset(
        int(math.log2(self.image_size // height)) for height in self.attention_resolutions
      ),
      scale_shift_norm=self.use_scale_shift_norm,
      conv_resample=True,
      learns_variance=True,
      image_channels=3,
    )


RAW = {"rescale_timesteps": False, "rescale_learned_sigmas": False}
LSUN = {
  "parameters": 113_676_678,
  "image_size": 256,
  "num_res_blocks": 2,
  "num_heads": 1,
  "attention_resolutions": (16,),
  "use_scale_shift_norm": False,
  "diffusion_steps": 1000,
  "noise_schedule": "linear",
  **RAW,
}
MODELS = (
  Released("cifar10_uncond_50M_500K.pt", "cifar10", 52_546_438, 32, dropout=0.3),
  Released(
    "cifar10_uncond_vlb_50M_500K.pt", "cifar10_vlb", 52_546_438, 32, dropout=0.3, use_kl=True
  ),
  Released("imagenet64_uncond_100M_1500K.pt", "imagenet64", 121_063_942, 64),
  Released("imagenet64_uncond_vlb_100M_1500K.pt", "imagenet64_vlb", 121_063_942, 64, use_kl=True),
  Released(
    "imagenet64_cond_270M_250K.pt",
    "imagenet64_class_conditional",
    273_049_350,
    64,
    num_channels=192,
    class_cond=True,
    lr=3e-4,
    batch_size=2048,
    **RAW,
  ),
  Released(
    "upsample_cond_500K.pt",
    "imagenet256_upsampler",
    279_792_390,
    256,
    num_channels=192,
    num_res_blocks=2,
    class_cond=True,
    small_size=64,
    noise_schedule="linear",
    lr=3e-4,
    batch_size=256,
    **RAW,
  ),
  Released("lsun_uncond_100M_1200K_bs128.pt", "lsun_bedroom", **LSUN),
  # The authors' README has a batch size of 128. The file's name and the paper have 64.
  Released(
    "lsun_uncond_100M_2400K_bs64.pt", "lsun_bedroom_small_batch", lr=2e-5, batch_size=64, **LSUN
  ),
)
each_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.flagfile)


def read_config(model):
  return config_lib.Config.from_flagfile(ROOT / f"configs/{model.flagfile}.flags")


@each_model
def test_the_architecture_is_the_authors(model):
  shapes = model.architecture.shapes()
  assert sum(map(math.prod, shapes.values())) == model.parameters
  assert architecture.infer(shapes) == model.architecture


@each_model
def test_the_file_fits_its_flagfile(model):
  # Broadcast zeros take no memory.
  zeros = {
    name: np.broadcast_to(np.float32(0), shape)
    for name, shape in model.architecture.shapes().items()
  }
  config = diagnosis.fitted_config(zeros, read_config(model), model.file)
  assert config.data.image_shape == (model.image_size, model.image_size, 3)
  assert config.num_classes == (1000 if model.class_cond else 0)


@each_model
def test_settings_that_the_file_does_not_show_are_the_authors(model):
  config = read_config(model)
  network, diffusion, training = config.network, config.diffusion, config.training
  assert (network.num_heads, network.num_heads_upsample) == (model.num_heads, 0)
  assert (network.dropout, network.low_res_size) == (model.dropout, model.small_size)
  assert (diffusion.diffusion_steps, diffusion.noise_schedule) == (
    model.diffusion_steps,
    model.noise_schedule,
  )
  assert (diffusion.mean_type, diffusion.variance_type) == ("eps", "learned_range")
  assert diffusion.rescale_timesteps == model.rescale_timesteps
  assert diffusion.objective == ("vlb" if model.use_kl else "hybrid")
  assert diffusion.timestep_sampler == ("loss_second_moment" if model.use_kl else "uniform")
  assert (training.learning_rate, training.batch_size) == (model.lr, model.batch_size)
  assert training.train_steps == state_dicts.step_in_name(model.file)


@each_model
def test_the_weight_of_the_bound_is_the_authors(model):
  """Their loss adds a term of L_vlb at the drawn t, times T/1000 where it is rescaled."""
  diffusion = read_config(model).diffusion
  weight = diffusion.vlb_weight or {"hybrid": 1e-3, "vlb": 1.0}[diffusion.objective]
  if model.use_kl:
    expected = 1.0
  else:
    factor = model.diffusion_steps / 1000 if model.rescale_learned_sigmas else 1.0
    expected = factor / model.diffusion_steps  # The mean over t of T terms is L_vlb / T.
  assert weight == pytest.approx(expected)


@each_model
def test_the_readme_has_the_address_and_the_flagfile(model):
  (row,) = re.findall(rf"^\|.*{re.escape(model.file)}\).*$", README, re.MULTILINE)
  cells = [cell.strip() for cell in row.strip("|").split("|")]
  assert cells[1:] == [f"[{model.file}]({ADDRESS}{model.file})", f"`{model.flagfile}.flags`"]


def test_the_readme_has_an_import_command_for_each_model(monkeypatch):
  monkeypatch.chdir(ROOT)
  commands = re.findall(r"^python -m trainers\.import_openai (.*)$", README, re.MULTILINE)
  commands = [command for command in commands if "configs/adm_" not in command]
  for command, model in zip(commands, MODELS, strict=True):
    arguments = shlex.split(command)
    assert flagfile.named_by(arguments) == [f"configs/{model.flagfile}.flags"]
    assert arguments[1:] == [
      f"--checkpoint={model.file}",
      f"--model_dir=runs/{model.flagfile}",
    ]
