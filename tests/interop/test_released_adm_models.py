"""Tests of the flagfiles and the import commands of the models of Dhariwal & Nichol (2021).

What the authors published about each model stands here as it does in their README and their code.
"""

import dataclasses
import math
import re
import shlex

import numpy as np
import pytest

from iddpm_tf import config as config_lib
from iddpm_tf.interop import architecture
from iddpm_tf.interop import diagnosis
from iddpm_tf.settings import flagfile
from tests.interop import test_released_models

ROOT, README = test_released_models.ROOT, test_released_models.README
ADDRESS = "https://openaipublic.blob.core.windows.net/diffusion/jul-2021/"
# By the size of the images. The authors' upsamplers of 512x512 have those of 256x256.
MULTIPLIERS = {
  64: (1, 2, 3, 4),
  128: (1, 1, 2, 3, 4),
  256: (1, 1, 2, 2, 4, 4),
  512: (0.5, 1, 1, 2, 2, 4, 4),
}


@dataclasses.dataclass(frozen=True)
class Released:
  """A released model: its file, its flagfile, its size, and the authors' flags."""

  file: str
  flagfile: str
  millions: int  # Of parameters, as the paper has them.
  image_size: int
  num_channels: int = 256
  num_res_blocks: int = 2
  num_heads: int = 0  # 0: heads of 64 channels.
  attention_resolutions: tuple[int, ...] = (32, 16, 8)
  new_attention_order: bool = False
  dropout: float = 0.0
  class_cond: bool = True
  small_size: int = 0
  noise_schedule: str = "linear"
  is_classifier: bool = False

  @property
  def architecture(self):
    """Returns what the parameters of the file show."""
    multipliers = MULTIPLIERS[256 if self.small_size else self.image_size]
    in_middle = self.image_size // 2 ** (len(multipliers) - 1)
    return architecture.Architecture(
      base_channels=self.num_channels,
      num_classes=1000 if self.class_cond else 0,
      enlarges=bool(self.small_size),
      channel_multipliers=multipliers,
      num_res_blocks=self.num_res_blocks,
      attention_levels=frozenset(
        int(math.log2(self.image_size // height)) for height in self.attention_resolutions
      ),
      scale_shift_norm=True,
      conv_resample=True,
      learns_variance=not self.is_classifier,
      image_channels=3,
      resblock_updown=True,
      scaled_first_conv=multipliers[0] != 1,
      pool="attention" if self.is_classifier else "none",
      pool_positions=in_middle**2 + 1 if self.is_classifier else 0,
    )


def classifier(size, millions, depth, **options):
  """Returns a released classifier."""
  return Released(
    f"{size}x{size}_classifier.pt",
    f"adm_classifier{size}",
    millions,
    size,
    num_channels=128,
    num_res_blocks=depth,
    is_classifier=True,
    **options,
  )


def lsun(name, dropout=0.1):
  """Returns a released model of a category of LSUN."""
  return Released(f"lsun_{name}.pt", "adm_lsun", 553, 256, dropout=dropout, class_cond=False)


MODELS = (
  Released(
    "64x64_diffusion.pt",
    "adm_imagenet64",
    296,
    64,
    num_channels=192,
    num_res_blocks=3,
    new_attention_order=True,
    dropout=0.1,
    noise_schedule="cosine",
  ),
  Released("128x128_diffusion.pt", "adm_imagenet128", 422, 128, num_heads=4),
  Released("256x256_diffusion.pt", "adm_imagenet256", 554, 256),
  Released(
    "256x256_diffusion_uncond.pt", "adm_imagenet256_unconditional", 553, 256, class_cond=False
  ),
  Released("512x512_diffusion.pt", "adm_imagenet512", 559, 512),
  Released(
    "64_256_upsampler.pt",
    "adm_upsampler256",
    312,
    256,
    num_channels=192,
    num_heads=4,
    small_size=64,
  ),
  Released(
    "128_512_upsampler.pt",
    "adm_upsampler512",
    309,
    512,
    num_channels=192,
    attention_resolutions=(32, 16),
    small_size=128,
  ),
  lsun("bedroom"),
  lsun("cat"),
  lsun("horse"),
  lsun("horse_nodropout", dropout=0.0),
  classifier(64, 65, 4, noise_schedule="cosine"),
  classifier(128, 43, 2),
  classifier(256, 54, 2),
  classifier(512, 54, 2),
)
each_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.file)


def commands():
  """Returns the arguments of each import command in the README."""
  lines = re.findall(r"^python -m trainers\.import_openai (.*)$", README, re.MULTILINE)
  return [shlex.split(line) for line in lines if "configs/adm_" in line]


def read_config(model):
  """Returns the configuration that the README's command gives the model."""
  dropout = {} if model.dropout else {"dropout": 0.0}
  return config_lib.Config.from_flagfile(ROOT / f"configs/{model.flagfile}.flags", **dropout)


@each_model
def test_the_parameters_are_those_of_the_paper_and_show_the_architecture(model):
  shapes = model.architecture.shapes()
  assert round(sum(map(math.prod, shapes.values())) / 1e6) == model.millions
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
  assert config.data.num_classes == (1000 if model.class_cond else 0)
  assert config.is_classifier == model.is_classifier


@each_model
def test_settings_that_the_file_does_not_show_are_the_authors(model):
  config = read_config(model)
  network, diffusion = config.network, config.diffusion
  if model.num_heads:
    assert (network.num_heads, network.num_head_channels) == (model.num_heads, 0)
  else:
    assert network.num_head_channels == 64
  assert network.attention_order == ("split" if model.new_attention_order else "interleaved")
  assert (network.dropout, network.low_res_size) == (model.dropout, model.small_size)
  assert (diffusion.diffusion_steps, diffusion.noise_schedule) == (1000, model.noise_schedule)
  assert (diffusion.mean_type, diffusion.variance_type) == ("eps", "learned_range")
  assert not diffusion.rescale_timesteps
  # Their loss adds a term of L_vlb at the drawn t with the weight 1, whose mean is L_vlb / T.
  assert diffusion.objective == "hybrid" and diffusion.vlb_weight is None


@each_model
def test_the_readme_has_the_address_and_the_flagfile(model):
  (row,) = re.findall(rf"^\|.*\[{re.escape(model.file)}\].*$", README, re.MULTILINE)
  cells = [cell.strip() for cell in row.strip("|").split("|")]
  assert cells[1:] == [f"[{model.file}]({ADDRESS}{model.file})", f"`{model.flagfile}.flags`"]


def test_the_readme_has_an_import_command_for_each_model(monkeypatch):
  monkeypatch.chdir(ROOT)
  for arguments, model in zip(commands(), MODELS, strict=True):
    assert flagfile.named_by(arguments) == [f"configs/{model.flagfile}.flags"]
    assert arguments[1] == f"--checkpoint={model.file}"
    has_dropout = config_lib.Config.from_flagfile(arguments[0].split("=")[1]).network.dropout
    assert arguments[3:] == (["--dropout=0"] if has_dropout and not model.dropout else [])
  folders = [arguments[2] for arguments in commands()]
  assert len(set(folders)) == len(MODELS)
  assert all(folder.startswith("--model_dir=runs/adm_") for folder in folders)
