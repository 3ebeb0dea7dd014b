"""Exporting a trained model to the authors' code."""

import pathlib

from iddpm_tf import settings
from iddpm_tf.interop import openai
from iddpm_tf.interop import state_dicts
from iddpm_tf.models import classifier as classifier_lib
from iddpm_tf.models import trained_model
from iddpm_tf.utils import files


def export_checkpoint(
  model: trained_model.TrainedModel | classifier_lib.Classifier, output: state_dicts.PathLike
) -> pathlib.Path:
  """Writes a model's weights under the authors' names and in their layouts.

  The authors' scripts take the file as their `model_path`.

  Args:
    model: one model, not an ensemble of two, or a classifier.
    output: the new file. It ends in `.pt`, which requires PyTorch, or in `.safetensors`.

  Returns:
    The path of the file.

  Raises:
    InputError: the file exists, has another suffix or cannot be written, or PyTorch is not
      installed.
  """
  output = state_dicts.require_new_file(output, "output")
  if isinstance(model, trained_model.TrainedModel) and model.ends is not None:
    raise settings.InputError("model", "expected one model, received an ensemble of two")
  files.make_folder(output.parent, "output")
  try:
    state_dicts.write_state_dict(output, openai.to_state_dict(model.network))
  except OSError as error:
    raise settings.InputError(
      "output",
      f"expected a file that can be written, received {output} ({error.strerror or error})",
    ) from None
  return output
