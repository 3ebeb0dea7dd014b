"""Exports a model to the authors' code: python -m trainers.export_openai --model_dir=DIR --output=X.pt

Writes the weights under the authors' names and in their layouts, which their scripts take as --model_path
with flags of their own; or the same tensors as X.safetensors, for which PyTorch is not needed.
"""

import dataclasses
import sys

from iddpm_tf import settings
from iddpm_tf.models import model_dir
from trainers.cli import command


@dataclasses.dataclass(frozen=True)
class Options(model_dir.ModelOptions):
  output: str | None = settings.setting(None, "the new .pt or .safetensors file; required")


def main(options, flag_values):
  config = model_dir.trained_config(options, flag_values)
  settings.require(options.output, "output", "a .pt or .safetensors file", None)
  command.load_tensorflow()
  from iddpm_tf import interop
  from iddpm_tf.interop import state_dicts
  from iddpm_tf.models import trained_model

  path = state_dicts.require_suffix("--output", options.output)
  state_dicts.require_new(path)
  model = trained_model.load(options.model_dir, config, options.ema, best=options.best)
  state_dict = interop.to_state_dict(model.network)
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    interop.write_state_dict(path, state_dict)
  except ImportError as error:
    raise ValueError(f"--output: {error}") from None
  except OSError as error:
    raise ValueError(
      f"--output: expected a file that can be written, received {path} ({error.strerror or error})"
    ) from None
  print(f"wrote {path}: {sum(array.size for array in state_dict.values()):,} parameters of {model}")
  return 0


if __name__ == "__main__":
  sys.exit(command.run(main, Options, __doc__))
