"""The files beside exported models: the server's configuration, manifests, and instructions."""

from collections.abc import Mapping
from importlib import resources
import os
import pathlib
import re
import string

from google.protobuf import text_format
import tensorflow as tf
from tensorflow_serving.config import model_server_config_pb2

from iddpm_tf import settings
from iddpm_tf.serving import layout
from iddpm_tf.utils import files

MOUNT = "/models"  # The folder of the models as the server sees it.
# The flags of TensorFlow Serving, in Docker and on Kubernetes alike.
SERVER_FLAGS = (
  "--port=8500",
  "--rest_api_port=8501",
  "--rest_api_timeout_in_ms=600000",  # The default, 30 s, is less than many images take.
  f"--model_config_file={MOUNT}/{layout.MODELS_CONFIG}",
  "--model_config_file_poll_wait_seconds=60",
  "--file_system_poll_wait_seconds=5",
  "--enable_batching",
  f"--batching_parameters_file={MOUNT}/batching_parameters.txt",
  f"--monitoring_config_file={MOUNT}/monitoring.config",
)
_FILLED_IN = (".yaml", ".md")  # The other templates are copied unchanged.
# Matches closing braces. Comments and strings, which may contain other braces, match as a whole.
_CLOSING_BRACE = r"""#[^\n]*|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[}>]"""


def require_models_config(folder: str | os.PathLike[str]) -> None:
  """Raises an `InputError` if a folder has a models.config that no model can be added to."""
  _read_models_config(pathlib.Path(folder) / layout.MODELS_CONFIG)


def write(
  version: pathlib.Path, signature: str, inputs: Mapping[str, tf.TensorSpec], *, png: bool
) -> None:
  """Adds a model to models.config, and writes the other files that do not exist yet.

  An existing file is not changed, except that models.config gets an entry for a new model.

  Args:
    version: the path of the version, `FOLDER/NAME/VERSION`. The files are written to `FOLDER`.
    signature: the signature of the examples.
    inputs: the inputs of the signature by name.
    png: whether there is a signature that returns PNG files.

  Raises:
    InputError: models.config is a file of another kind.
  """
  folder, name = version.parents[1], version.parent.name
  values = {
    "name": name,
    "version": version.name,
    "signature": signature,
    "arguments": "its seed and its label" if "label" in inputs else "its seed",
    "flags": " \\\n".join(SERVER_FLAGS),
    "list_of_flags": "\n".join(f"- {flag}" for flag in SERVER_FLAGS),
  }
  values["examples"] = _examples(values, inputs, png)
  with files.held(folder, wait=True):  # Another export may write the same files.
    _add_model(folder / layout.MODELS_CONFIG, name)
    for file_name in layout.DEPLOYMENT_FILES:
      if not (folder / file_name).exists():
        text = _template(file_name)
        if file_name.endswith(_FILLED_IN):
          text = _fill(text, values)
        files.write_text(folder / file_name, text)


def _template(name: str) -> str:
  return (resources.files(__package__) / "templates" / name).read_text(encoding="utf-8")


def _fill(template: str, values: Mapping[str, str]) -> str:
  """Fills in a template. The lines of a value keep the indentation of the line it stands in."""
  lines = []
  for line in template.split("\n"):
    first, *others = string.Template(line).substitute(values).split("\n")
    indentation = line[: len(line) - len(line.lstrip())]
    lines += [first, *(indentation + other for other in others)]
  return "\n".join(lines)


def _examples(values: Mapping[str, str], inputs: Mapping[str, tf.TensorSpec], png: bool) -> str:
  """Returns shell commands that request an image."""
  has_low_res = "low_res" in inputs
  instance = {name: "1.0" if spec.dtype.is_floating else "0" for name, spec in inputs.items()}
  if has_low_res:  # A grey image. Python writes it, because it is too long to read.
    height, width, channels = inputs["low_res"].shape[1:]
    instance["low_res"] = f"[[[128] * {channels}] * {width}] * {height}"
  pairs = ", ".join(f'"{key}": {value}' for key, value in instance.items())

  def example(template: str, signature: str) -> str:
    body = f'{{"signature_name": "{signature}", "instances": [{{{pairs}}}]}}'
    script = f"import json; print(json.dumps({body}))"
    data = f"\"$(python3 -c '{script}')\"" if has_low_res else f"'{body}'"
    return _fill(_template(template), {**values, "data": data}).rstrip("\n")

  signature = values["signature"]
  examples = [example("request_image.sh", signature)]
  if png:
    examples.append(example("request_png.sh", f"{layout.PNG_PREFIX}{signature}"))
  if not has_low_res:
    examples.append(example("request_images.sh", signature))
  return "\n".join(examples)


def _read_models_config(path: pathlib.Path) -> model_server_config_pb2.ModelServerConfig:
  config = model_server_config_pb2.ModelServerConfig()
  if path.exists():
    try:
      text_format.Parse(path.read_text(encoding="utf-8"), config)
    except (text_format.ParseError, UnicodeDecodeError) as error:
      raise settings.InputError(
        str(path),
        f"expected a ModelServerConfig of TensorFlow Serving, received another file ({error})",
      ) from None
    if config.HasField("custom_model_config"):
      raise settings.InputError(
        str(path),
        "expected a model_config_list, to which a model can be added, received a "
        "custom_model_config",
      )
  return config


def _add_model(path: pathlib.Path, name: str) -> None:
  config = _read_models_config(path)
  if name in [model.name for model in config.model_config_list.config]:
    return
  entry = config.model_config_list.config.add(
    name=name, base_path=f"{MOUNT}/{name}", model_platform="tensorflow"
  )
  files.write_text(
    path, _with_entry(path.read_text(encoding="utf-8") if path.exists() else "", entry)
  )


def _with_entry(text: str, entry: model_server_config_pb2.ModelConfig) -> str:
  """Returns the text of a ModelServerConfig with another entry at its end.

  The text is not parsed and printed again, so that comments and the layout stay.
  """
  lines = "".join(f"    {line}\n" for line in text_format.MessageToString(entry).splitlines())
  added = f"  config {{\n{lines}  }}\n"
  ends = [match.start() for match in re.finditer(_CLOSING_BRACE, text) if match.group() in "}>"]
  if not ends:
    return f"{text}model_config_list {{\n{added}}}\n"
  return f"{text[: ends[-1]]}{added}{text[ends[-1] :]}"
