"""Servables in memory: the newest version of each, loaded and warm before it takes over."""

import json
import pathlib
import threading
import time
from typing import Any, NamedTuple

import tensorflow as tf

from iddpm_tf.serving import warmup
from iddpm_tf.serving.development import errors

LOADING, AVAILABLE, ENDED = "LOADING", "AVAILABLE", "END"


class Servable(NamedTuple):
  """A version, ready to answer."""
  name: str
  version: int
  signatures: dict[str, Any]  # Functions of tensors by name.
  config: dict  # Of the model.
  frames: int  # Of its trajectories; 0: there are none.
  loaded: Any  # Holds the variables.

  def signature(self, name):
    """A function; `Refused` if there is none of the name."""
    name = name or "serving_default"
    if name not in self.signatures:
      raise errors.invalid("signature_name", f"one of {', '.join(sorted(self.signatures))}", name)
    return self.signatures[name]


class Models:
  """All servables of a folder: `NAME/VERSION/`. A version that goes ends when its last request has."""

  def __init__(self, folder, *, say=print):
    """Makes it; `poll` loads."""
    self._folder, self._say = pathlib.Path(folder), say
    self._current, self._states, self._lock = {}, {}, threading.Lock()
    self._stopped = threading.Event()

  def poll(self):
    """Loads what is newer than what is served, and lets go of what is no longer there."""
    for name, version, path in self._newest():
      served = self._current.get(name)
      if served and served.version >= version or self._states.get((name, version)) == ENDED:
        continue
      self._states[name, version] = LOADING
      start = time.monotonic()
      try:
        servable = _load(name, version, path)
        for request in warmup.read(path):
          servable.signature(request.model_spec.signature_name)(
              **{key: tf.constant(tf.make_ndarray(value)) for key, value in request.inputs.items()})
      except Exception as error:  # pylint: disable=broad-except
        # Whatever is wrong with a model, the others are served.
        self._states[name, version] = ENDED
        self._say(f"{path}: cannot be served: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
        continue
      with self._lock:
        self._current[name] = servable
        self._states[name, version] = AVAILABLE
        if served:
          self._states[name, served.version] = ENDED
      self._say(f"serving {name} version {version}, loaded and warm in {time.monotonic() - start:.1f} s")

  def watch(self, seconds):
    """Polls so often, in a thread of its own, until `stop`."""
    def loop():
      while not self._stopped.wait(seconds):
        try:
          self.poll()
        except OSError as error:  # The folder is away for a while.
          self._say(f"{self._folder}: {error.strerror}")

    threading.Thread(target=loop, daemon=True, name="versions").start()

  def stop(self):
    """Ends the watch."""
    self._stopped.set()

  def get(self, name, version=None):
    """The `Servable`; `Refused` if there is none, or none of this version."""
    with self._lock:
      found = self._current.get(name)
    if found is None:
      raise errors.Refused("NOT_FOUND", f"model: expected one of {', '.join(sorted(self._current)) or 'none yet'}, "
                           f"received {name!r}")
    if version is not None and version != found.version:
      raise errors.Refused("NOT_FOUND", f"version: expected {found.version}, which is served of {name}, "
                           f"received {version}")
    return found

  def all(self):
    """The `Servable`s."""
    with self._lock:
      return sorted(self._current.values())

  def states(self, name, version=None):
    """{version: state} of a model, newest first; `Refused` if none is known."""
    found = {one: state for (of, one), state in sorted(self._states.items(), reverse=True)
             if of == name and version in (None, one)}
    if not found:
      raise errors.Refused("NOT_FOUND", f"model: none of the name {name!r}" + (
          f" and version {version}" if version is not None else ""))
    return found

  def _newest(self):
    """(name, version, path) of the newest version of each servable; hidden folders are half written."""
    for folder in sorted(self._folder.iterdir()):
      versions = [int(path.parent.name) for path in folder.glob("*/saved_model.pb") if path.parent.name.isdecimal() and path.parent.name.isascii()]
      if versions:
        yield folder.name, max(versions), folder / str(max(versions))


def _load(name, version, path):
  loaded = tf.saved_model.load(str(path))
  signatures = dict(loaded.signatures)
  frames = [function.structured_outputs["frames"].shape[1] for function in signatures.values()
            if "frames" in function.structured_outputs]
  config = path / "assets.extra" / "config.json"
  return Servable(name, version, signatures, json.loads(config.read_text()) if config.exists() else {},
                  max(frames, default=0), loaded)
