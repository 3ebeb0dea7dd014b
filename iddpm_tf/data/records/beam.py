"""Shards of records that Apache Beam makes: on all cores of a machine, or on many machines."""

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import dataclasses
import functools
import importlib
import logging
import os
import pathlib
import re
import shlex
import signal
import socket
import sys
import tempfile
import threading
from typing import Any

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.data import decoding
from iddpm_tf.data import sources
from iddpm_tf.data.readers import listing
from iddpm_tf.data.records import shards as shards_lib
from iddpm_tf.utils import progress as progress_lib

LOCAL = "direct"
_WATCH_SECONDS = 1.0
_REFUSED = "refused: "  # Begins the message of an error of this package in a worker.
_WHERE = re.compile(r" \[while running [^\]]*\]$")  # What Beam adds to messages.


@dataclasses.dataclass(frozen=True)
class BeamRunner:
  """Where Apache Beam makes shards.

  Attributes:
    name: `direct`, the processor cores of this machine, or the name of a runner of Beam, such as
      `FlinkRunner`. The machines of such a runner need this package, and the folders of the
      pictures and of the records under the same paths as this machine.
    workers: for `direct`, the number of processes; 0: one per processor.
    options: Beam's own options, such as `flink_master=host:8081`.
  """

  name: str = LOCAL
  workers: int = 0
  options: tuple[str, ...] = ()

  def __post_init__(self) -> None:
    settings.require(self.name, "runner", "direct, or the name of a runner of Apache Beam", "none")
    settings.require(self.workers >= 0, "workers", "a number of at least 0", self.workers)
    for option in self.options:
      settings.require(
        re.match(r"[a-z_]+(=|$)", option), "beam_options", "NAME or NAME=VALUE of each", option
      )

  def arguments(self) -> list[str]:
    """Returns the options of the pipeline, as Beam reads them."""
    workers = f"direct_num_workers={self.workers or os.cpu_count() or 1}"
    options = (workers, *self.options) if self.name == LOCAL else self.options
    return [f"--{option}" for option in options]


@dataclasses.dataclass(frozen=True)
class ShardMaker:
  """Makes shards of some pictures, in any process that can read them.

  Attributes:
    config: the configuration of the data, with absolute paths.
    folder: the absolute path of the folder of the records.
    digests: the digest of each split's listing.
    form: the form to bring the pictures to.
    shape: (H, W, C) of every decoded picture.
    reference_name: the name of a picture of this size, for errors.
  """

  config: config_lib.DataConfig
  folder: pathlib.Path
  digests: dict[str, str]
  form: decoding.Form
  shape: tuple[int, int, int]
  reference_name: str

  def make(self, split: str, number: int, num_shards: int, start: int, stop: int) -> None:
    """Writes a shard; the arguments are those of `shards.Shard`.

    Raises:
      InputError: the pictures have several sizes, or are not those of the process that began.
    """
    shard = shards_lib.Shard(self.folder / split, number, num_shards, start, stop)
    pictures = _listing(self.config, split, self.digests[split])
    positions = pictures.pictures(start, stop)
    # One thread: the runner already has a process or a thread for each core.
    with contextlib.closing(decoding.outcomes(positions, self.form, workers=1)) as outcomes:
      # Beam may make a shard twice at the same time, for example where a machine seems to be lost.
      shards_lib.write(
        shard, outcomes, self.shape, reference_name=self.reference_name, sole_writer=False
      )


def require(runner: BeamRunner) -> None:
  """Raises an `InputError` unless Apache Beam is installed and has the runner."""
  _module("apache_beam")
  try:
    _make_runner(runner)
  except (ImportError, AttributeError, ValueError) as error:
    reason = " ".join(str(error).split())
    message = f"expected direct, or a runner of Apache Beam, received {runner.name!r} ({reason})"
    raise settings.InputError("runner", message) from None


def make_shards(
  maker: ShardMaker,
  shards: Sequence[shards_lib.Shard],
  runner: BeamRunner,
  bar: progress_lib.Bar,
) -> list[dict[str, Any]]:
  """Makes shards, and returns their facts.

  The shards are those that one process makes, byte for byte.

  Args:
    maker: makes one of them.
    shards: the shards.
    runner: where they are made.
    bar: is told the number of pictures of each finished shard.

  Raises:
    InputError: Beam is not installed, the pipeline fails, or the pictures have several sizes.
  """
  require(runner)
  shards = [shard._replace(folder=shard.folder.absolute()) for shard in shards]
  _sweep(shards)
  elements = [(shard.folder.name, *shard[1:]) for shard in shards]
  with _watched(shards, bar), _quiet(runner):
    try:
      _run(maker, elements, runner)
    except settings.InputError:
      raise
    except Exception as error:  # Beam raises exceptions of many kinds.
      raise _refusal(error, runner) from error
  facts = [shards_lib.finished(shard) for shard in shards]
  if None in facts:
    missing = shards[facts.index(None)].path("images")
    raise settings.InputError(
      "runner",
      f"expected workers that write to the folder of the records, received none of {missing}: all "
      "machines need the folder under the same path",
    )
  return [fact for fact in facts if fact is not None]


def _run(maker: ShardMaker, elements: list[tuple[Any, ...]], runner: BeamRunner) -> None:
  beam, options = _module("apache_beam"), _module("apache_beam.options.pipeline_options")
  arguments = options.PipelineOptions(runner.arguments())
  with (
    _raising_if_lost() as worker_command,
    beam.Pipeline(_make_runner(runner, worker_command), options=arguments) as pipeline,
  ):
    created = pipeline | "shards" >> beam.Create(elements)
    # Without it, one worker would make all shards.
    spread = created | "share out" >> beam.Reshuffle()
    _ = spread | "make" >> beam.Map(lambda element: _make(maker, element))


def _make(maker: ShardMaker, element: tuple[Any, ...]) -> None:
  try:
    maker.make(*element)
  except settings.InputError as error:  # Beam changes the first argument of exceptions.
    raise RuntimeError(f"{_REFUSED}{error}") from None


def _make_runner(runner: BeamRunner, worker_command: str = "false") -> Any:
  """Returns Beam's runner.

  The local one is not the DirectRunner: this name stands for several runners, the first of which is
  a program that Beam downloads.
  """
  if runner.name != LOCAL:
    return _module("apache_beam.runners.runner").create_runner(runner.name)
  environments = _module("apache_beam.transforms.environments")
  return _module("apache_beam.runners.portability.fn_api_runner").FnApiRunner(
    environments.SubprocessSDKEnvironment.from_command_string(worker_command)
  )


@contextlib.contextmanager
def _raising_if_lost() -> Iterator[str]:
  """Yields the command of a local worker. If a worker dies, an error is raised in the block.

  Beam would wait for it for ever. Only the main thread can be interrupted.
  """
  main, ended = threading.main_thread(), threading.Event()
  with tempfile.TemporaryDirectory() as folder:
    mark = pathlib.Path(folder) / "lost"
    # What workers say on the error stream, they also say by their protocol.
    command = (
      f"{shlex.quote(sys.executable)} -m apache_beam.runners.worker.sdk_worker_main "
      f"2>{os.devnull} || touch {shlex.quote(str(mark))}"
    )
    if threading.current_thread() is not main:
      yield command
      return

    def watch() -> None:
      while not ended.wait(_WATCH_SECONDS):
        if mark.exists() and main.ident:
          signal.pthread_kill(main.ident, signal.SIGUSR2)
          return

    def stop(*_: object) -> None:
      raise settings.InputError(
        "runner",
        "expected worker processes that stay until the end, and one was lost, perhaps for lack of "
        "memory; what is finished stays, and the same call continues",
      )

    before = signal.signal(signal.SIGUSR2, stop)
    thread = threading.Thread(target=watch, name="workers", daemon=True)
    thread.start()
    try:
      yield command
    finally:
      ended.set()
      thread.join()
      signal.signal(signal.SIGUSR2, before)


@functools.lru_cache(maxsize=4)
def _listing(config: config_lib.DataConfig, split: str, digest: str) -> listing.Listing:
  """Returns the listing of a split, checked once per process."""
  pictures = sources.open_listing(config, split)
  if pictures.digest() != digest:
    raise settings.InputError(
      "data_dir",
      "expected the same pictures on all machines, received another list of pictures in "
      f"{config.data_dir} of {socket.gethostname()}",
    )
  return pictures


def _module(name: str) -> Any:
  before = logging.root.manager.disable
  logging.disable(logging.WARNING)  # Beam warns of packages for the clouds of others.
  try:
    return importlib.import_module(name)
  except ImportError:
    raise settings.InputError(
      "runner", "expected the package apache-beam; run once: pip install 'iddpm_tf[beam]'"
    ) from None
  finally:
    logging.disable(before)


def _sweep(shards: Iterable[shards_lib.Shard]) -> None:
  """Deletes what killed workers have left, and the facts of shards that are made again."""
  for shard in shards:
    shard.path("shard").unlink(missing_ok=True)
  for folder in {shard.folder for shard in shards}:
    for kind in ("images", "labels", "shard"):
      for leftover in folder.glob(f".*-{kind}-*"):
        leftover.unlink(missing_ok=True)


@contextlib.contextmanager
def _watched(shards: Sequence[shards_lib.Shard], bar: progress_lib.Bar) -> Iterator[None]:
  """Tells a bar which shards are finished, while the block runs. Their facts are written last."""
  left, ended = list(shards), threading.Event()

  def look() -> None:
    for shard in [shard for shard in left if shard.path("shard").exists()]:
      left.remove(shard)
      bar.update(shard.stop - shard.start)

  def watch() -> None:
    while not ended.wait(_WATCH_SECONDS):
      look()

  thread = threading.Thread(target=watch, name="shards", daemon=True)
  thread.start()
  try:
    yield
  finally:
    ended.set()
    thread.join()
    look()


@contextlib.contextmanager
def _quiet(runner: BeamRunner) -> Iterator[None]:
  """Hides Beam's log, and tracebacks of its threads, of a local pipeline while the block runs.

  What fails is raised as well.
  """
  if runner.name != LOCAL:
    yield
    return
  logger, hook = logging.getLogger("apache_beam"), threading.excepthook
  level = logger.level
  logger.setLevel(logging.CRITICAL + 1)
  threading.excepthook = lambda _: None
  try:
    yield
  finally:
    logger.setLevel(level)
    threading.excepthook = hook


def _refusal(error: Exception, runner: BeamRunner) -> settings.InputError:
  """Returns the error of this package that a worker raised, or one that says what failed."""
  # The message is the traceback of the worker.
  lines = [line.strip() for line in str(error).splitlines() if line.strip()]
  last = _WHERE.sub("", lines[-1]) if lines else type(error).__name__
  if _REFUSED in last:
    name, _, message = last.partition(_REFUSED)[2].partition(": ")
    return settings.InputError(name, message)
  return settings.InputError(
    "runner", f"expected a pipeline that succeeds, received an error of {runner.name}: {last}"
  )
