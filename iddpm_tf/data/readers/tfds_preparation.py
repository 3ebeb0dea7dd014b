"""Download and preparation of TFDS data sets."""

from collections.abc import Iterator
import contextlib
import json
import os
import queue
import threading
import time
import urllib.parse

import requests
import tensorflow_datasets as tfds

from iddpm_tf import settings
from iddpm_tf.utils import files

_PROBE_SECONDS = 8.0


def prepare(builder: tfds.core.DatasetBuilder, name: str, *, download: bool) -> None:
  """Downloads and prepares a data set, with TFDS's own progress bars.

  Processes that prepare data sets in the same folder wait for each other. What a failed or
  interrupted attempt has downloaded completely is used by the next one, and the rest is deleted.

  Args:
    builder: the data set.
    name: the name that the user gave.
    download: whether downloading is allowed.

  Raises:
    InputError: downloading is not allowed, its server cannot be reached, or something fails.
  """
  root = builder.data_dir_root
  if not download:
    raise settings.InputError(
      "dataset",
      f"expected a prepared data set, since download is off, received {name}, which is not "
      f"prepared in {root}; turn download on, or prepare it where there is a network: "
      f"{_build_command(builder, name)}",
    )
  _require_reachable(builder, name)
  try:
    with _sole_preparation(root), _without_partial_downloads(root):
      if not builder.is_prepared():  # Another process may just have prepared it.
        builder.download_and_prepare(
          download_config=tfds.download.DownloadConfig(try_download_gcs=False)
        )
  except settings.InputError:
    raise
  # Anything can be raised here: by the network, the disk, and the code of the data set.
  except Exception as error:
    reason = _reason(error) if isinstance(error, requests.RequestException) else str(error)
    raise settings.InputError(
      "dataset",
      f"expected a data set that can be prepared in {root}, received {name}, which cannot be "
      f"({' '.join(reason.split()) or type(error).__name__})",
    ) from error


def _build_command(builder: tfds.core.DatasetBuilder, name: str) -> str:
  """Returns the command of TFDS that prepares a data set."""
  root = os.fspath(builder.data_dir_root)
  default = os.path.expanduser(tfds.core.constants.DATA_DIR)
  return f"tfds build {name}" if root == default else f"TFDS_DATA_DIR={root} tfds build {name}"


def _require_reachable(builder: tfds.core.DatasetBuilder, name: str) -> None:
  """Raises an error if no server of what is still to be downloaded answers.

  TFDS would try for minutes.
  """
  urls = {urllib.parse.urlsplit(url).netloc: url for url in _missing_urls(builder)}
  if not urls:
    return
  problems: queue.SimpleQueue[str] = queue.SimpleQueue()
  # Daemon threads, because looking up a name has no time-out.
  for url in urls.values():
    threading.Thread(target=lambda url=url: problems.put(_problem(url)), daemon=True).start()
  deadline = time.monotonic() + _PROBE_SECONDS
  problem = f"no answer within {_PROBE_SECONDS:.0f} s"
  for _ in urls:
    try:
      problem = problems.get(timeout=max(deadline - time.monotonic(), 0))
    except queue.Empty:
      break
    if not problem:
      return
  raise settings.InputError(
    "dataset",
    f"expected a prepared data set or a network, received {name}, which is not prepared in "
    f"{builder.data_dir_root} and cannot be downloaded, since {' and '.join(sorted(urls))} cannot "
    f"be reached ({problem}); try again later, or copy the folder from a machine with a network, "
    f"where this prepares it: {_build_command(builder, name)}",
  )


def _missing_urls(builder: tfds.core.DatasetBuilder) -> list[str]:
  """Returns the web addresses of a data set's files that were not downloaded before.

  They are known from the checksums of the data set. A data set without checksums has none.
  """
  downloads = builder.data_dir_root / "downloads"
  present = set()
  for info in _glob(downloads, "*.INFO"):
    if info.with_suffix("").exists():
      with contextlib.suppress(ValueError):
        present.update(json.loads(info.read_text()).get("urls", ()))
  for url, url_info in (builder.url_infos or {}).items():
    # Users may have downloaded a file themselves.
    if url_info.filename and (downloads / "manual" / url_info.filename).exists():
      present.add(url)
  return [url for url in builder.url_infos or () if url.startswith("http") and url not in present]


def _problem(url: str) -> str:
  """Returns why a server cannot be used, or nothing if it answers."""
  try:
    with requests.get(url, stream=True, timeout=_PROBE_SECONDS) as response:
      # TFDS repeats these for minutes, too.
      return f"HTTP status {response.status_code}" if response.status_code >= 500 else ""
  except (requests.RequestException, OSError, ValueError) as error:
    return _reason(error)


def _reason(error: BaseException) -> str:
  """Returns the message of the error that caused an error of the network."""
  while cause := error.__cause__ or error.__context__:
    error = cause
  return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _glob(downloads: tfds.core.Path, pattern: str) -> list[tfds.core.Path]:
  """Returns the matching paths in the folder of downloads, and in its folders of data sets."""
  return [*downloads.glob(pattern), *downloads.glob(f"*/{pattern}")]


@contextlib.contextmanager
def _sole_preparation(root: tfds.core.Path) -> Iterator[None]:
  """Waits until no other process prepares data sets in a folder, and keeps others waiting."""
  if "://" in os.fspath(root):  # A bucket has no locks.
    yield
    return
  with files.held(files.make_folder(root, "data_dir"), wait=True, setting="data_dir"):
    yield


@contextlib.contextmanager
def _without_partial_downloads(root: tfds.core.Path) -> Iterator[None]:
  """Deletes the partial downloads that a failing block leaves, which TFDS would keep."""
  downloads = root / "downloads"
  before = set(_glob(downloads, "*.tmp.*"))
  try:
    yield
  except BaseException:
    for path in set(_glob(downloads, "*.tmp.*")) - before:
      path.rmtree(missing_ok=True)
    raise
