"""A C program that draws from exports, without Python in its process."""

from collections.abc import Mapping
from collections.abc import Sequence
import pathlib
import shutil
import subprocess

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

Request = tuple[str, Mapping[str, np.ndarray]]  # A signature, and its inputs by name.


def compiled(folder: pathlib.Path) -> pathlib.Path:
  """Returns the path of the program, compiled into a folder; skips the test without a compiler."""
  compiler = shutil.which("gcc") or shutil.which("cc")
  if not compiler:
    pytest.skip("there is no C compiler")
  path, library = folder / "draw", tf.sysconfig.get_lib()
  # It reads TensorFlow's library, of a gigabyte, five times faster than the usual linker.
  linker = ["-fuse-ld=gold"] if shutil.which("ld.gold") else []
  subprocess.run(
    [
      compiler,
      "-O1",
      "-Wall",
      "-Werror",
      *linker,
      f"-I{tf.sysconfig.get_include()}",
      pathlib.Path(__file__).with_name("draw.c"),
      "-o",
      path,
      f"-L{library}",
      "-l:libtensorflow_cc.so.2",
      "-l:libtensorflow_framework.so.2",
      f"-Wl,-rpath,{library}",
    ],
    check=True,
  )
  return path


def run(
  program: pathlib.Path, version: pathlib.Path, requests: Sequence[Request], folder: pathlib.Path
) -> subprocess.CompletedProcess[bytes]:
  """Returns the finished process, which has written the images of all requests as bytes.

  Args:
    program: the program.
    version: the folder of an exported version.
    requests: the requests, which are drawn in turn.
    folder: a folder for the arrays of the requests.
  """
  content = saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes())
  signatures = content.meta_graphs[0].signature_def
  arguments: list[str | pathlib.Path] = [version]
  for number, (name, arrays) in enumerate(requests):
    inputs = signatures[name].inputs
    count = len(next(iter(arrays.values())))
    arguments += [signatures[name].outputs["image"].name, str(count), str(len(arrays))]
    for key, array in arrays.items():
      path = folder / f"{number}_{key}"
      path.write_bytes(np.ascontiguousarray(array).tobytes())
      arguments += [inputs[key].name, path]
  return subprocess.run([program, *arguments], capture_output=True, check=False)
