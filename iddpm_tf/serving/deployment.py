"""The files beside exported servables: the server's configuration, a compose file, a manifest, a page."""

from importlib import resources
import pathlib
import string

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from iddpm_tf import atomic

MODELS = "models.config"
MOUNTED = "/models"  # Where the server sees the folder.
_WRITTEN_ONCE = ("batching_parameters.txt", "monitoring.config", "compose.yaml", "kubernetes.yaml", "SERVING.md")


def write(folder, name, signature, inputs):
  """Writes what is not there yet, and the servable's entry in models.config; what a person changed stays.

  Args:
    folder: where servables are.
    name: the servable's.
    signature: one of its signatures, for the examples.
    inputs: names of its inputs.

  Raises:
    ValueError: models.config is something else.
  """
  folder = pathlib.Path(folder)
  _add_model(folder / MODELS, name)
  instance = ", ".join(f'"{key}": 0' for key in inputs if key != "low_res")
  values = {"name": name, "signature": signature, "instance": f"{{{instance}}}",
            "and_label": " (and label i)" if "label" in inputs else ""}
  for file_name in _WRITTEN_ONCE:
    if not (folder / file_name).exists():
      text = (resources.files(__package__) / "templates" / file_name).read_text()
      if file_name in ("kubernetes.yaml", "SERVING.md"):
        text = string.Template(text).substitute(values)
      with atomic.whole(folder / file_name) as temporary:
        temporary.write_text(text)


def _add_model(path, name):
  config = model_server_config_pb2.ModelServerConfig()
  if path.exists():
    try:
      text_format.Parse(path.read_text(), config)
    except (text_format.ParseError, UnicodeDecodeError) as error:
      raise ValueError(f"{path}: expected the ModelServerConfig of TensorFlow Serving, received another file "
                       f"({error})") from None
  if name in [model.name for model in config.model_config_list.config]:
    return
  config.model_config_list.config.add(name=name, base_path=f"{MOUNTED}/{name}", model_platform="tensorflow")
  with atomic.whole(path) as temporary:
    temporary.write_text(text_format.MessageToString(config))
