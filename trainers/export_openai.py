"""Exports a model to the authors' code.

  python -m trainers.export_openai --model_dir=DIR --output=X.pt

Writes the weights under the authors' names and in their layouts. The authors' scripts take the file
as --model_path, with their own flags. Writing X.safetensors does not require PyTorch.
"""

import dataclasses
import sys
from typing import Any

from iddpm_tf import settings
from iddpm_tf.interop import state_dicts
from iddpm_tf.utils import progress as progress_lib
from trainers.cli import command
from trainers.cli import model_options


@dataclasses.dataclass(frozen=True)
class Options(model_options.ModelOptions):
  """Settings of this command."""

  output: str = settings.required("the new .pt or .safetensors file")


def main(options: Options, given: dict[str, Any]) -> None:
  """Exports the model."""
  model_options.model_config(options, given)
  state_dicts.require_new_file(options.output, "output")
  command.load_tensorflow()
  from iddpm_tf.interop import exporting

  model = model_options.load_model(options, given, progress=progress_lib.Console())
  path = exporting.export_checkpoint(model.trained, options.output)
  print(f"wrote {path}: {model.network.count_params():,} parameters of {model.trained}")


COMMAND = command.Command(
  main, Options, __doc__, help_sections=(), default_source="the model folder"
)

if __name__ == "__main__":
  sys.exit(COMMAND.run())
