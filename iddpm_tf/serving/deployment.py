"""The files beside exported servables: the server's configuration, a compose file, a manifest, a page."""

from importlib import resources
import pathlib
import re
import string

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from iddpm_tf import settings
from iddpm_tf.utils import files

MODELS = "models.config"
MOUNTED = "/models"  # Where the server sees the folder.
# Of the server, wherever it runs.
FLAGS = (
  "--port=8500",
  "--rest_api_port=8501",
  "--rest_api_timeout_in_ms=600000",  # Drawing takes longer than the 30 s that REST waits by default.
  f"--model_config_file={MOUNTED}/{MODELS}",
  "--model_config_file_poll_wait_seconds=60",
  "--file_system_poll_wait_seconds=5",
  "--enable_batching",
  f"--batching_parameters_file={MOUNTED}/batching_parameters.txt",
  f"--monitoring_config_file={MOUNTED}/monitoring.config",
)
_WRITTEN_ONCE = (
  "batching_parameters.txt",
  "monitoring.config",
  "compose.yaml",
  "kubernetes.yaml",
  "SERVING.md",
)
# A brace that closes; or, first, what may hold one that does not: a comment or a string.
_BRACE_OR_NOT = r"""#[^\n]*|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[}>]"""
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"


def require_name(name):
  """`ValueError` unless a servable can have this name, in paths, URLs, YAML and models.config alike."""
  settings.require(
    re.fullmatch(_NAME, name),
    "name",
    "at most 100 letters, digits, '.', '_' and '-', beginning with one of the first two",
    name,
  )
  settings.require(
    name not in (MODELS, *_WRITTEN_ONCE),
    "name",
    "another name than the files have that lie beside it",
    name,
  )


def require_models_config(folder):
  """`ValueError` unless models.config of a folder is one that a model can be added to, or is not there yet."""
  _read(pathlib.Path(folder) / MODELS)


def write(version, signature, inputs, *, png):
  """Writes what is not there yet, and the servable's entry in models.config; what a person changed stays.

  Args:
    version: its path, `FOLDER/NAME/VERSION`; what is written goes to `FOLDER`.
    signature: one of its signatures, for the examples.
    inputs: its inputs, by name: `tf.TensorSpec`s.
    png: whether there is a signature of PNG files, too.

  Raises:
    ValueError: models.config is something else.
  """
  folder, name = version.parents[1], version.parent.name
  values = {
    "name": name,
    "version": version.name,
    "signature": signature,
    "and_label": " (and label i)" if "label" in inputs else "",
    "ask": _examples(name, signature, inputs, png),
    "flags": " \\\n".join(FLAGS),
    "list_of_flags": "\n".join(f"- {flag}" for flag in FLAGS),
  }
  with files.held(folder, wait=True):  # Another export may write them, too.
    _add_model(folder / MODELS, name)
    for file_name in _WRITTEN_ONCE:
      if not (folder / file_name).exists():
        text = (resources.files(__package__) / "templates" / file_name).read_text()
        if file_name.endswith((".yaml", ".md")):
          text = _filled(text, values)
        with files.whole(folder / file_name) as temporary:
          temporary.write_text(text)


def _filled(text, values):
  """A template; what is of several lines keeps the indent of its first."""
  lines = []
  for line in text.split("\n"):
    filled = string.Template(line).substitute(values)
    indent = line[: len(line) - len(line.lstrip())]
    lines += [(indent if i else "") + part for i, part in enumerate(filled.split("\n"))]
  return "\n".join(lines)


def _examples(name, signature, inputs, png):
  """Commands of a shell that draw an image."""
  values = dict.fromkeys(inputs, "0")
  if enlarges := "low_res" in inputs:  # A grey one, which is too long to be typed.
    height, width, channels = inputs["low_res"].shape[1:]
    values["low_res"] = f"[[[128] * {channels}] * {width}] * {height}"
  instance = ", ".join(f'"{key}": {value}' for key, value in values.items())

  def curl(signature):
    body = f'{{"signature_name": "{signature}", "instances": [{{{instance}}}]}}'
    data = (
      f"\"$(python3 -c 'import json; print(json.dumps({body}))')\"" if enlarges else f"'{body}'"
    )
    return f"curl --max-time 600 -d {data} \\\n  http://localhost:8501/v1/models/{name}:predict"

  lines = [curl(signature)]
  if png:
    lines.append(
      f"{curl(f'png_{signature}')} | python3 -c \\\n  'import base64, json, sys; "
      + (
        'open("0.png", "wb").write(base64.b64decode(json.load(sys.stdin)["predictions"][0]["b64"]))'
        + "'"
      )
    )
  if not enlarges:
    lines.append(
      f"python -m trainers.client --address=localhost:8500 --model={name} --num_samples=64 --output_dir=drawn"
    )
  return "\n".join(lines)


def _read(path):
  config = model_server_config_pb2.ModelServerConfig()
  if path.exists():
    try:
      text_format.Parse(path.read_text(), config)
    except (text_format.ParseError, UnicodeDecodeError) as error:
      raise settings.InputError(
        path,
        f"expected the ModelServerConfig of TensorFlow Serving, received another file ({error})",
      ) from None
    if config.HasField("custom_model_config"):
      raise settings.InputError(
        path,
        "expected a model_config_list, to which a model can be added, received a "
        "custom_model_config",
      )
  return config


def _add_model(path, name):
  config = _read(path)
  if name in [model.name for model in config.model_config_list.config]:
    return
  one = config.model_config_list.config.add(
    name=name, base_path=f"{MOUNTED}/{name}", model_platform="tensorflow"
  )
  text = _with_entry(path.read_text() if path.exists() else "", one)
  with files.whole(path) as temporary:
    temporary.write_text(text)


def _with_entry(text, entry):
  """The text of a ModelServerConfig with an entry more, as its last; all that a person wrote stays."""
  lines = "".join(f"    {line}\n" for line in text_format.MessageToString(entry).splitlines())
  added = f"  config {{\n{lines}  }}\n"
  ends = [found.start() for found in re.finditer(_BRACE_OR_NOT, text) if found.group() in "}>"]
  return (
    f"{text[: ends[-1]]}{added}{text[ends[-1] :]}"
    if ends
    else f"{text}model_config_list {{\n{added}}}\n"
  )
