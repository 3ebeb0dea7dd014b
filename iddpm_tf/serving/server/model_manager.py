"""The newest version of each exported model in a folder, loaded and warm before it is served."""

from collections.abc import Callable
import contextlib
import os
import pathlib
import threading
import time
from typing import NamedTuple

from iddpm_tf.serving import layout
from iddpm_tf.serving.server import errors
from iddpm_tf.serving.server import loaded_servable
from iddpm_tf.utils import progress as progress_lib

LOADING, AVAILABLE, ENDED = "LOADING", "AVAILABLE", "END"  # Names of the protocol.

_CONSOLE = progress_lib.Console()


class State(NamedTuple):
  """The state of a version, with the names of the protocol."""

  name: str
  error: str = ""


class ModelManager:
  """Serves the newest version of each model in a folder.

  A version that is replaced is freed after its last request.
  """

  def __init__(self, folder: str | os.PathLike[str], *, progress: progress_lib.Progress = _CONSOLE):
    """Makes the manager. `update` and `watch` load the models.

    Args:
      folder: the folder of the models, `NAME/VERSION/`.
      progress: is told what is loaded and what fails.
    """
    self._folder, self._progress = pathlib.Path(folder), progress
    self._current: dict[str, loaded_servable.LoadedServable] = {}
    self._states: dict[tuple[str, int], State] = {}
    self._lock = threading.Lock()
    # The files of each version that could not be loaded.
    self._failed: dict[tuple[str, int], list[tuple[str, int, int]]] = {}
    self._stopped = threading.Event()
    self._is_loading = False  # Whether the first update of `watch` is still running.
    self._watch: threading.Thread | None = None

  def update(self) -> None:
    """Loads the newest version of each model, and drops models that no longer exist.

    A version that could not be loaded may have been copied in part. It is tried again when its
    files have changed.
    """
    newest = self._newest()
    for name in [name for name in self._current if name not in newest]:
      self._replace(name, None)
    for name, (version, path) in newest.items():
      if self._stopped.is_set():
        return
      if name in self._current and self._current[name].version == version:
        continue
      files = _files(path)
      if self._failed.get((name, version)) != files and not self._load(name, version, path):
        self._failed[name, version] = files

  def watch(self, seconds: float, on_loaded: Callable[[], None] = lambda: None) -> None:
    """Updates now and then at an interval, in a thread, until `stop` is called.

    During the first update, `get` and `states` raise UNAVAILABLE for a model that is not loaded.

    Args:
      seconds: the interval.
      on_loaded: is called in the thread after the first update.
    """
    self._is_loading = True

    def loop() -> None:
      self._try_to_update()
      self._is_loading = False
      if not self._stopped.is_set():
        on_loaded()
      while not self._stopped.wait(seconds):
        self._try_to_update()

    self._watch = threading.Thread(target=loop, name="versions")
    self._watch.start()

  def stop(self) -> None:
    """Ends the thread of `watch`, after the version that it loads."""
    self._stopped.set()
    if self._watch:
      self._watch.join()

  def knows(self, name: str) -> bool:
    """Returns whether a version of a model is served, or has been."""
    with self._lock:
      return name in self._current or any(known == name for known, _ in self._states)

  def get(self, name: str, version: int | None = None) -> loaded_servable.LoadedServable:
    """Returns a model.

    Args:
      name: the name of the model.
      version: the version, or None for the served version.

    Raises:
      RequestError: there is no such model, it is not loaded yet, or another version is served.
    """
    with self._lock:
      servable, names = self._current.get(name), ", ".join(sorted(self._current))
    if servable is None:
      self._require_loaded()
      expected = f"one of {names}" if names else "an exported model, but there is none yet"
      raise errors.RequestError("NOT_FOUND", f"model: expected {expected}, received {name!r}")
    if version is not None and version != servable.version:
      raise errors.RequestError(
        "NOT_FOUND",
        f"version: expected {servable.version}, the served version of {name}, received {version}",
      )
    return servable

  def all(self) -> list[loaded_servable.LoadedServable]:
    """Returns all models, sorted by name."""
    with self._lock:
      return [self._current[name] for name in sorted(self._current)]

  def states(self, name: str, version: int | None = None) -> dict[int, State]:
    """Returns the states of a model's versions, newest first.

    Args:
      name: the name of the model.
      version: a version, or None for all versions.

    Raises:
      RequestError: no such version is known, or known yet.
    """
    with self._lock:
      known = sorted(self._states.items(), reverse=True)
    states = {
      known_version: state
      for (known_name, known_version), state in known
      if known_name == name and version in (None, known_version)
    }
    if not states:
      self._require_loaded()
      received = repr(name) if version is None else f"{name!r} version {version}"
      raise errors.RequestError("NOT_FOUND", f"model: expected a known model, received {received}")
    return states

  def _require_loaded(self) -> None:
    if self._is_loading:
      raise errors.RequestError(
        "UNAVAILABLE", "the models are being loaded: send the request again later"
      )

  def _try_to_update(self) -> None:
    try:
      self.update()
    except Exception as error:  # For example, the folder is on a network that is down.
      self._say(f"{self._folder}: {type(error).__name__}: {error}")

  def _load(self, name: str, version: int, path: pathlib.Path) -> bool:
    """Loads a version, and returns whether that was possible."""
    self._set_state(name, version, State(LOADING))
    start = time.monotonic()
    try:
      servable = loaded_servable.LoadedServable(name, version, path)
      servable.warm_up()
    except Exception as error:  # The other models are served, whatever is wrong with this one.
      reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
      self._set_state(name, version, State(ENDED, reason))
      self._say(f"{path} cannot be served: {reason}")
      return False
    self._replace(name, servable)
    seconds = time.monotonic() - start
    self._say(f"serving {name} version {version}, loaded and warmed up in {seconds:.1f} s")
    return True

  def _replace(self, name: str, servable: loaded_servable.LoadedServable | None) -> None:
    """Serves another version of a model, or no version of it."""
    with self._lock:
      before = self._current.pop(name, None)
      if before:
        self._states[name, before.version] = State(ENDED)
      if servable:
        self._current[name] = servable
        self._states[name, servable.version] = State(AVAILABLE)
    if before and not servable:
      self._say(f"{name} version {before.version} was deleted and is no longer served")

  def _set_state(self, name: str, version: int, state: State) -> None:
    with self._lock:
      self._states[name, version] = state

  def _newest(self) -> dict[str, tuple[int, pathlib.Path]]:
    """Returns the number and the path of each model's newest version.

    A hidden folder is a version that is still being written.
    """
    newest = {}
    for folder in sorted(self._folder.iterdir()):
      versions = [
        int(path.parent.name)
        for path in folder.glob("*/saved_model.pb")
        if layout.is_version(path.parent.name)
      ]
      if versions:
        newest[folder.name] = max(versions), folder / str(max(versions))
    return newest

  def _say(self, text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # The output may have been closed.
      self._progress.say(text)


def _files(path: pathlib.Path) -> list[tuple[str, int, int]]:
  """Returns the name, size and time of each file, which differ between a part and the whole."""
  files = []
  for file in sorted(path.rglob("*")):
    with contextlib.suppress(OSError):  # The file has just been deleted.
      status = file.stat()
      files.append((str(file), status.st_size, status.st_mtime_ns))
  return files
