"""Imports a checkpoint of the authors' code as a model folder.

  python -m trainers.import_openai --flagfile=configs/cifar10.flags --checkpoint=X.pt --model_dir=D

X.pt is a model*.pt or ema_*.pt file of the authors' code, or one that they released, or the same
tensors as X.safetensors, which does not require PyTorch. Nothing in it is executed. D becomes a
model folder like any other. Its weights and all of its moving averages (--ema) are the file's, and
Adam's moments start from zero.

X may also be the folder of a training of the authors' code. Then the weights are those of
model*.pt, the moving averages with their rates those of ema_*.pt, and the moments those of opt*.pt,
of the newest step or of --step. A training continues from there.

The flags must describe the network. If the file does not fit them, the command names every flag
that differs. A file does not show the numbers of attention heads, --attention_order, --dropout, the
size of --low_res_size, learned or learned_range, --mean_type and the noising process. If one of
these flags is wrong, only the drawn images will show it. The channels of the images and the number
of classes are taken from the file.

With --pool, the file is one of a noisy classifier, and so is the folder.

The data set is not read now. Give its flags, the learning rate and the batch size for fine-tuning,
because trainers.train continues with them.
"""

import dataclasses
import sys
from typing import Any

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.interop import importing
from iddpm_tf.utils import progress as progress_lib
from trainers.cli import command


@dataclasses.dataclass(frozen=True)
class Options:
  """Settings of this command."""

  checkpoint: str = settings.required(
    "the .pt or .safetensors file, or the folder of a training of the authors' code"
  )
  model_dir: str = settings.required("the new or empty folder")
  step: int | None = settings.setting(
    None,
    "training steps of the weights; unset: the number in the file's name (model500000.pt, "
    "ema_0.9999_500000.pt, ..._500K.pt), or 0; of a folder, the newest step",
  )


def main(options: Options, given: dict[str, Any]) -> None:
  """Imports the checkpoint."""
  config = config_lib.Config().with_settings(**given)
  importing.require_importable(options.checkpoint, options.model_dir, config, step=options.step)
  command.load_tensorflow()
  imported = importing.import_checkpoint(
    options.checkpoint,
    options.model_dir,
    config,
    step=options.step,
    progress=progress_lib.Console(),
  )
  note = "" if imported.step_is_known else " (the file's name has no number of steps; set --step)"
  print(f"wrote {imported.folder}, step {imported.step}{note}")


COMMAND = command.Command(
  main, Options, __doc__, help_sections=("network", "diffusion", "data", "training")
)

if __name__ == "__main__":
  sys.exit(COMMAND.run())
