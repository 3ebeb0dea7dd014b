"""Imports a model of the authors' code:
python -m trainers.import_openai --checkpoint=X.pt --flagfile=configs/cifar10.flags --model_dir=DIR

X.pt is one of their model*.pt, ema_*.pt or released files, or the same tensors as .safetensors (for which
PyTorch is not needed). Nothing in it is executed. DIR is then a model folder as any other: its weights and
all of its moving averages (--ema) are the file's.

The flags must describe the network; a file that does not fit them is refused, with the flag that would
explain it. What leaves no trace in a file is taken on trust: --num_heads, --num_heads_upsample, --dropout,
the size of --low_res_size, learned against learned_range, --mean_type, and the noising process. A wrong one
shows in bad images alone. The channels of the images and the number of classes are the file's.

The data set is not read now, but trainers.train goes on with it, at the learning rate and batch size
given here: say here what is to be fine-tuned on, and how. Adam's moments start from zero.
"""

import dataclasses
import os
import sys

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.models import model_dir
from trainers.cli import command
from trainers.cli import flags


@dataclasses.dataclass(frozen=True)
class Options:
  model_dir: str | None = settings.setting(None, "folder to make; required")
  checkpoint: str | None = settings.setting(None, "the .pt or .safetensors file; required")
  step: int | None = settings.setting(
    None,
    "training steps that the weights have had; unset: as its name says (model500000.pt, "
    "ema_0.9999_500000.pt, ..._500K.pt), or 0",
  )

  def __post_init__(self):
    settings.require(
      self.step is None or 0 <= self.step < 2**31, "step", "a number from 0 to 2^31 - 1", self.step
    )


def main(options, flag_values):
  folder = model_dir.require_given(options.model_dir)
  _require_new(folder)
  settings.require(options.checkpoint, "checkpoint", "a .pt or .safetensors file", None)
  config = flags.override(config_lib.Config(), flag_values)
  settings.require(
    config.data.image_size,
    "image_size",
    "the height of the model's images, such as 32",
    config.data.image_size,
  )
  if config.data.data_dir:  # As in training.
    config = dataclasses.replace(
      config, data=dataclasses.replace(config.data, data_dir=os.path.abspath(config.data.data_dir))
    )
  command.load_tensorflow()
  from iddpm_tf.interop import importing

  return importing.import_checkpoint(config, options.checkpoint, folder, options.step)


def _require_new(folder):
  if folder.is_dir():
    content = sorted(path.name for path in folder.iterdir())
    if not content:
      return
    received = f"{folder}, which holds {content[0]}"
  elif not os.path.lexists(folder):
    return
  else:
    received = f"{folder}, which is a file"
  raise ValueError(f"--model_dir: expected a new or empty folder, received {received}")


if __name__ == "__main__":
  sys.exit(command.run(main, Options, __doc__))
