"""The newest version of each servable of a folder, loaded and warm before it takes over."""

import pathlib
import threading
import time
from typing import NamedTuple

from iddpm_tf.serving.server import errors
from iddpm_tf.serving.server import servable as servable_lib

LOADING, AVAILABLE, ENDED = "LOADING", "AVAILABLE", "END"


class State(NamedTuple):
  """Of a version, as the protocol has it."""

  name: str
  error: str = ""


class Models:
  """All servables of a folder: `NAME/VERSION/`. A version that goes ends when its last request has."""

  def __init__(self, folder, *, say=print):
    """Makes it; `update` loads."""
    self._folder, self._say = pathlib.Path(folder), say
    self._current, self._states, self._lock = {}, {}, threading.Lock()
    self._failed = {}  # {(name, version): files as they were}.
    self._stopped, self._watch = threading.Event(), None

  def update(self):
    """Serves the newest version that is there of each model, and no longer what is not there.

    One that cannot be loaded is tried again once its files are others: it may have been half copied.
    """
    newest = self._newest()
    for name in [name for name in self._current if name not in newest]:
      self._replace(name, None)
    for name, (version, path) in newest.items():
      if name in self._current and self._current[name].version == version:
        continue
      files = _files(path)
      if self._failed.get((name, version)) != files and not self._load(name, version, path):
        self._failed[name, version] = files

  def watch(self, seconds):
    """Updates so often, in a thread of its own, until `stop`."""

    def loop():
      while not self._stopped.wait(seconds):
        try:
          self.update()
        except Exception as error:  # pylint: disable=broad-except
          # Such as a folder that is away for a while.
          self._say(f"{self._folder}: {type(error).__name__}: {error}")

    self._watch = threading.Thread(target=loop, name="versions")
    self._watch.start()

  def stop(self):
    """Ends the watch, once what it loads is loaded."""
    self._stopped.set()
    if self._watch:
      self._watch.join()

  def get(self, name, version=None):
    """The `Servable`; `Refused` if there is none, or none of this version."""
    with self._lock:
      found, names = self._current.get(name), ", ".join(sorted(self._current))
    if found is None:
      raise errors.Refused(
        "NOT_FOUND", f"model: expected one of {names or 'none yet'}, received {name!r}"
      )
    if version is not None and version != found.version:
      raise errors.Refused(
        "NOT_FOUND",
        f"version: expected {found.version}, which is served of {name}, received {version}",
      )
    return found

  def all(self):
    """The `Servable`s, by name."""
    with self._lock:
      return [self._current[name] for name in sorted(self._current)]

  def states(self, name, version=None):
    """{version: `State`} of a model, newest first; `Refused` if none is known."""
    with self._lock:
      known = sorted(self._states.items(), reverse=True)
    found = {one: state for (of, one), state in known if of == name and version in (None, one)}
    if not found:
      raise errors.Refused(
        "NOT_FOUND",
        f"model: none of the name {name!r}"
        + (f" and version {version}" if version is not None else ""),
      )
    return found

  def _load(self, name, version, path):
    """Whether it could be."""
    self._set(name, version, State(LOADING))
    start = time.monotonic()
    try:
      servable = servable_lib.Servable(name, version, path)
      servable.warm_up()
    except Exception as error:  # pylint: disable=broad-except
      # Whatever is wrong with a model, the others are served.
      why = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
      self._set(name, version, State(ENDED, why))
      self._say(f"{path}: cannot be served: {why}")
      return False
    self._replace(name, servable)
    self._say(
      f"serving {name} version {version}, loaded and warm in {time.monotonic() - start:.1f} s"
    )
    return True

  def _replace(self, name, servable):
    """By another version, or by none."""
    with self._lock:
      before = self._current.pop(name, None)
      if before:
        self._states[name, before.version] = State(ENDED)
      if servable:
        self._current[name] = servable
        self._states[name, servable.version] = State(AVAILABLE)
    if before and not servable:
      self._say(f"{name} version {before.version} is no longer there, and no longer served")

  def _set(self, name, version, state):
    with self._lock:
      self._states[name, version] = state

  def _newest(self):
    """{name: (version, path)} of the newest version of each servable; hidden folders are half written."""
    found = {}
    for folder in sorted(self._folder.iterdir()):
      versions = [
        int(path.parent.name)
        for path in folder.glob("*/saved_model.pb")
        if _is_number(path.parent.name)
      ]
      if versions:
        found[folder.name] = max(versions), folder / str(max(versions))
    return found


def _is_number(name):
  return name.isascii() and name.isdecimal() and name == str(int(name)) and int(name) < 2**63


def _files(path):
  """What tells a half copied version from a whole one."""
  found = []
  for file in sorted(path.rglob("*")):
    try:
      status = file.stat()
      found.append((str(file), status.st_size, status.st_mtime_ns))
    except OSError:  # It has just gone.
      pass
  return found
