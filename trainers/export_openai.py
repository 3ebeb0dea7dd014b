"""Exports a model to the authors' code.

  python -m trainers.export_openai --model_dir=DIR --output=X.pt

Writes the weights under the authors' names and in their layouts. The authors' scripts take the file
as --model_path, or that of a classifier as --classifier_path, with their own flags. Writing
X.safetensors does not require PyTorch.
"""

import dataclasses
import sys
from typing import Any

from iddpm_tf import settings
from iddpm_tf.interop import state_dicts
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.utils import progress as progress_lib
from trainers.cli import command
from trainers.cli import model_options


@dataclasses.dataclass(frozen=True)
class Options(model_options.ModelOptions):
  """Settings of this command."""

  output: str = settings.required("the new .pt or .safetensors file")


def main(options: Options, given: dict[str, Any]) -> None:
  """Exports the model."""
  folder = model_dir_lib.ModelDir(options.model_dir) if options.model_dir else None
  stored = folder.read_config() if folder else None
  if stored and stored.is_classifier:
    for name in settings.changed(options).keys() - {"model_dir", "output"}:
      raise settings.InputError(name, "expected no value for a classifier, received one")
  else:
    model_options.model_config(options, given)
  state_dicts.require_new_file(options.output, "output")
  command.load_tensorflow()
  from iddpm_tf.interop import exporting
  from iddpm_tf.models import classifier as classifier_lib
  from iddpm_tf.models import trained_model

  progress = progress_lib.Console()
  model: trained_model.TrainedModel | classifier_lib.Classifier
  if folder and stored and stored.is_classifier:
    model = classifier_lib.load_classifier(folder, progress=progress)
  else:
    model = model_options.load_model(options, given, progress=progress).trained
  path = exporting.export_checkpoint(model, options.output)
  print(f"wrote {path}: {model.network.count_params():,} parameters of {model}")


COMMAND = command.Command(
  main, Options, __doc__, help_sections=(), default_source="the model folder"
)

if __name__ == "__main__":
  sys.exit(COMMAND.run())
