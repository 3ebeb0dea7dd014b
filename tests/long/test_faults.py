"""Does to a training what real machines do: kills, power losses, damaged files, full disks.

Some tests mount file systems, which needs the rights of root; they are skipped without.
"""

import contextlib
import filecmp
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from iddpm_tf import config as config_lib
from iddpm_tf import settings
from iddpm_tf.models import checkpoints as checkpoints_lib
from iddpm_tf.models import model_dir as model_dir_lib
from iddpm_tf.training import state as state_lib
from tests import small_model
from tests.trainers.test_train import assert_same_run
from tests.trainers.test_train import start
from tests.trainers.test_train import wait_for

KILLS = 25
FLIPPED_BYTES = 240
SNAPSHOTS = 10
DAMAGED_CONFIGS = 2000
FLAG_SETS = 500
ROOT = pathlib.Path(__file__).parents[2]
SLOW = small_model.flags(timestep_sampler="loss_second_moment", dropout=0.1, random_flip=True)


def finish(folder, *flags):
  """Runs the command in a process of its own, and returns its status and what it printed."""
  process = start(folder, *flags)
  output, _ = process.communicate(timeout=600)
  return process.returncode, output


def error_line(output):
  """Returns the last line of an output without a traceback."""
  assert "Traceback" not in output, output
  return output.strip().splitlines()[-1]


def test_kills_at_random_moments_leave_no_trace(tmp_path):
  """Some hit a save: one is due every 20 steps, which is about a second."""
  whole, killed = tmp_path / "whole", tmp_path / "killed"
  flags = (*SLOW, "--save_every=20", "--steps_per_call=5", "--train_steps=1200")
  rng = random.Random(0)
  times = []
  for _ in range(KILLS):
    process = start(killed, *flags)
    before = model_dir_lib.ModelDir(killed).newest_step()
    wait_for(killed / f"checkpoints/step-{before + 20}.index", process)
    times.append(rng.uniform(0, 1.5))
    time.sleep(times[-1])
    process.send_signal(signal.SIGKILL)
    process.communicate()
    if model_dir_lib.ModelDir(killed).newest_step() >= 1200:
      pytest.fail("the run was too short for the kills")
  assert finish(killed, *flags)[0] == 0
  assert finish(whole, *flags)[0] == 0
  assert_same_run(killed, whole)
  leftovers = [path.name for path in (killed / "checkpoints").iterdir()]
  assert not [name for name in leftovers if name.startswith(".") or name.endswith("_temp")]
  print(f"{KILLS} kills, {max(times):.1f} s at most after a save: all tensors are equal")


@pytest.fixture(name="two_checkpoints", scope="module")
def fixture_two_checkpoints(tmp_path_factory):
  folder = tmp_path_factory.mktemp("runs") / "two"
  status, output = finish(folder, "--train_steps=10", "--save_every=5")
  assert status == 0, output
  return folder


@pytest.mark.xdist_group("two_checkpoints")
def test_every_flipped_byte_is_noticed(two_checkpoints, tmp_path):
  """The bytes of the newest checkpoint, each in a copy of its own."""
  folder = tmp_path / "run"
  shutil.copytree(two_checkpoints, folder)
  config = model_dir_lib.ModelDir(folder).require_config()
  state = state_lib.TrainState(config)
  rng = random.Random(0)
  skipped = 0
  for number in range(FLIPPED_BYTES):
    suffix = (".index", ".data-00000-of-00001")[number % 4 > 0]
    path = folder / f"checkpoints/step-10{suffix}"
    content = path.read_bytes()
    position = rng.randrange(len(content))
    damaged = bytearray(content)
    damaged[position] ^= 1 << rng.randrange(8)
    path.write_bytes(damaged)
    checkpoints = checkpoints_lib.Checkpoints(state, folder / "checkpoints")
    restored = checkpoints.restore()
    if restored == 10:  # A byte that no number depends on, such as padding.
      assert np.array_equal(state.weights.variable, reference(two_checkpoints, config))
    else:
      assert restored == 5 and checkpoints.skipped
      skipped += 1
    path.write_bytes(content)
  print(f"{skipped} of {FLIPPED_BYTES} flipped bytes made a checkpoint unusable; none was used")
  assert skipped > 0.9 * FLIPPED_BYTES


def reference(folder, config):
  state = state_lib.TrainState(config)
  checkpoints_lib.Checkpoints(state, folder / "checkpoints").restore(step=10)
  return state.weights.variable.numpy()


def half_gone(folder):
  (folder / "checkpoints/step-10.data-00000-of-00001").unlink()


def truncated(folder):
  path = folder / "checkpoints/step-10.data-00000-of-00001"
  os.truncate(path, path.stat().st_size // 2)


def list_is_garbage(folder):
  (folder / "checkpoints/checkpoint").write_bytes(os.urandom(300))


def config_is_nested(folder):
  (folder / "config.json").write_text('{"version": ' + "[" * 10_000 + "]" * 10_000 + "}")


@pytest.mark.xdist_group("two_checkpoints")
@pytest.mark.parametrize(
  "damage, words",
  [
    (half_gone, "; continuing from step 5"),
    (truncated, "; continuing from step 5"),
    (list_is_garbage, "at step 10 of 15"),
    (config_is_nested, "config.json: expected the configuration of a run"),
  ],
)
def test_a_damaged_folder_is_continued_or_refused_in_a_line(
  two_checkpoints, tmp_path, damage, words
):
  folder = tmp_path / "run"
  shutil.copytree(two_checkpoints, folder)
  damage(folder)
  status, output = finish(folder, "--train_steps=15")
  assert "Traceback" not in output and words in output, output
  assert status == (2 if damage is config_is_nested else 0)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs the rights of root")


@contextlib.contextmanager
def mounted(source, target, *options):
  target.mkdir(exist_ok=True)
  subprocess.run(["mount", *options, source, target], check=True)
  try:
    yield target
  finally:
    subprocess.run(["umount", "--lazy", target], check=True)


def copy_at_one_moment(image, copy, process):
  """Copies the file of a block device to which a process writes.

  The process stands still meanwhile. The kernel may go on writing what the process has written
  before, and a copy whose parts are of different moments is no state that a power loss leaves.
  """
  process.send_signal(signal.SIGSTOP)
  try:
    for _ in range(20):
      subprocess.run(["cp", "--sparse=always", image, copy], check=True)
      if filecmp.cmp(image, copy, shallow=False):
        return
    raise AssertionError("The device changed during each of 20 copies.")
  finally:
    process.send_signal(signal.SIGCONT)


@needs_root
def test_a_power_loss_leaves_what_was_announced(tmp_path):
  """Copies of the block device under ext4 at ten moments, each mounted anew.

  They are moments between two writes of the kernel.
  """
  image = tmp_path / "disk.img"
  with open(image, "wb") as file:
    file.truncate(256 * 2**20)
  subprocess.run(["mkfs.ext4", "-q", image], check=True)
  snapshots = []
  with mounted(image, tmp_path / "disk", "-o", "loop") as disk:
    folder = disk / "run"
    process = start(folder, "--save_every=10", "--train_steps=1000000", "--keep_checkpoints=2")
    wait_for(folder / "checkpoints/step-10.index", process)
    rng = random.Random(0)
    for number in range(SNAPSHOTS):
      time.sleep(rng.uniform(0.3, 1.5))
      announced = model_dir_lib.ModelDir(folder).newest_step()
      copy = tmp_path / f"snapshot-{number}.img"
      copy_at_one_moment(image, copy, process)
      snapshots.append((copy, announced))
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 143, output
    config = model_dir_lib.ModelDir(folder).require_config()
  state = state_lib.TrainState(config)
  for copy, announced in snapshots:
    with mounted(copy, tmp_path / "snapshot", "-o", "loop") as disk:
      folder = model_dir_lib.ModelDir(disk / "run")
      assert folder.require_config() == config
      checkpoints = checkpoints_lib.Checkpoints(state, folder.checkpoints)
      restored = checkpoints.restore(strict=True)
      assert restored >= announced, (restored, announced)
      print(f"announced: step {announced}; after the loss: step {restored}")
    copy.unlink()


@needs_root
@pytest.mark.parametrize("megabytes", [3, 8])
def test_a_full_disk_is_survived(tmp_path, megabytes):
  """A checkpoint has 3.7 MB: one disk never has room, on the other a file takes it for a while."""
  with mounted("tmpfs", tmp_path / "disk", "-t", "tmpfs", "-o", f"size={megabytes}m") as disk:
    folder = disk / "run"
    flags = ("--keep_checkpoints=1", "--save_every=20")
    if megabytes == 3:
      status, output = finish(folder, *flags, "--train_steps=40")
      assert status == 4 and "No space left on device" in error_line(output)
      assert "warning: checkpoint of step 20" in output
      assert not list(folder.glob("checkpoints/*.index"))
      return
    process = start(folder, *flags, "--train_steps=1000000")
    wait_for(folder / "checkpoints/step-20.index", process)
    filler = disk / "filler"
    with contextlib.suppress(OSError), open(filler, "wb") as file:
      file.write(bytes(megabytes * 2**20))
    time.sleep(3)
    kept = model_dir_lib.ModelDir(folder).newest_step()
    time.sleep(2)
    assert model_dir_lib.ModelDir(folder).newest_step() == kept  # No room, but it goes on.
    assert process.poll() is None
    filler.unlink()
    deadline = time.monotonic() + 60
    while model_dir_lib.ModelDir(folder).newest_step() == kept and time.monotonic() < deadline:
      time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 143, output
    assert "No space left on device" in output and "training goes on" in output
    newest = model_dir_lib.ModelDir(folder).newest_step()
    assert newest > kept
    state = state_lib.TrainState(model_dir_lib.ModelDir(folder).require_config())
    restored = checkpoints_lib.Checkpoints(state, folder / "checkpoints").restore(strict=True)
    assert restored == newest
    print(f"full after step {kept}, continued and saved step {newest}")


def test_a_huge_learning_rate_is_found_before_anything_is_exported(tmp_path):
  folder = tmp_path / "run"
  status, output = finish(folder, "--learning_rate=1000", "--train_steps=200", "--save_every=50")
  line = error_line(output)
  assert status == 3 and line.startswith("train: step ") and "norms of the weights" in line
  print(line)
  command = [sys.executable, "-m", "trainers.export", f"--model_dir={folder}"]
  export = subprocess.run(
    [*command, f"--output_dir={tmp_path / 'out'}"],
    check=False,
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  assert export.returncode == 2 and "which holds none" in export.stderr


def test_signals_at_any_moment_end_in_a_line(tmp_path):
  """In the first seconds, Python and TensorFlow are still being imported."""
  rng = random.Random(0)
  lines = set()
  for number in range(24):
    folder = tmp_path / f"run-{number}"
    process = start(folder, "--train_steps=1000000", "--save_every=5")
    time.sleep(0.1 + rng.uniform(0, 12))
    number_of_signal = rng.choice([signal.SIGINT, signal.SIGTERM])
    process.send_signal(number_of_signal)
    output, _ = process.communicate(timeout=120)
    # Before the first import, the system or Python ends the process.
    assert process.returncode in (128 + number_of_signal, -number_of_signal), output
    if process.returncode < 0:
      assert "trainers" not in output, output
    else:
      lines.add(error_line(output).split(" and saved")[0])
  print("\n".join(sorted(lines)))


@pytest.mark.xdist_group("two_checkpoints")
def test_damaged_configurations_are_one_line(two_checkpoints):
  text = (two_checkpoints / "config.json").read_text()
  rng = random.Random(0)
  read = 0
  for _ in range(DAMAGED_CONFIGS):
    damaged = list(text)
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
      position = rng.randrange(len(damaged))
      kind = rng.randrange(4)
      if kind == 0:
        damaged[position] = chr(rng.randrange(1, 0x250))
      elif kind == 1:
        del damaged[position : position + rng.choice([1, 3, 200])]
      elif kind == 2:
        damaged[position:position] = rng.choice(["9" * 400, "[", "{", '"', "NaN", "1e999", "null"])
      else:
        damaged[position] = rng.choice("0123456789-,:")
      if not damaged:
        break
    try:
      config_lib.Config.from_json("".join(damaged))
      read += 1
    except settings.InputError as error:
      assert "\n" not in str(error)
  print(f"{DAMAGED_CONFIGS} damaged configurations: {read} could still be read")


VALUES = {
  "base_channels": [32, 64, 33, 0, -32, "x", 1e9],
  "channel_multipliers": ["1", "1,2", "0", "1,,2", ""],
  "num_res_blocks": [1, 2, 0, "one"],
  "attention_resolutions": ["", "4", "8,4", "3"],
  "num_heads": [1, 4, 3, 0],
  "diffusion_steps": [25, 4, 1, 0, -1, "many"],
  "noise_schedule": ["cosine", "linear", "square"],
  "objective": ["hybrid", "simple", "vlb", "kl"],
  "variance_type": ["learned_range", "fixed_small", "learned", "none"],
  "timestep_sampler": ["uniform", "loss_second_moment", "best"],
  "batch_size": [8, 1, 0, 2000, 3.5],
  "microbatches": [1, 2, 3, 0],
  "learning_rate": [1e-3, 0, -1, "nan", "inf", 1e3],
  "ema": ["0.9", "", "1", "0.9,0.9", "x"],
  "precision": ["float32", "mixed_bfloat16", "float8"],
  "dropout": [0, 0.5, 1, -0.1],
  "low_res_size": [0, 4, 3, 8],
  "samplers": ["ddim:5", "ancestral:5", "ddim:0", "euler:3", "ddim:9999"],
  "seed": [0, 1, -1, 2**40],
  "image_size": [0, 4, -3],
  "dataset": ["digits", "nothing", "folder"],
  "unknown": [1],
}


def test_random_flags_are_one_line_or_a_step(run, tmp_path):
  rng = random.Random(0)
  statuses = {}
  for number in range(FLAG_SETS):
    chosen = rng.sample(list(VALUES), rng.randrange(2, 8))  # One set in ten is possible.
    flags = [f"--{name}={rng.choice(VALUES[name])}" for name in chosen]
    folder = tmp_path / str(number)
    result = run("train", *small_model.FLAGS, "--train_steps=1", *flags, f"--model_dir={folder}")
    statuses[result.status] = statuses.get(result.status, 0) + 1
    if folder.exists():
      tf.keras.backend.clear_session()
    assert "Traceback" not in result.err
    if result.status:
      assert result.err.strip().splitlines()[-1].startswith("train: "), (flags, result)
    else:
      assert model_dir_lib.ModelDir(folder).newest_step() == 1
    shutil.rmtree(folder, ignore_errors=True)
  print(f"{FLAG_SETS} sets of flags by exit status: {statuses}")
  assert statuses.keys() <= {0, 2, 3} and statuses[0] > 20 and statuses[2] > 200


def resources(process):
  """Returns megabytes, open files and threads of a process."""
  proc = pathlib.Path(f"/proc/{process.pid}")
  status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
  return (
    int(status["VmRSS"].split()[0]) / 1024,
    len(list((proc / "fd").iterdir())),
    int(status["Threads"]),
  )


def test_ten_thousand_steps_take_no_more_than_the_first_thousand(tmp_path):
  folder = tmp_path / "run"
  flags = ("--save_every=100", "--log_every=10", "--sample_every=1000", "--train_steps=10000")
  # Not into a pipe, which would be full, and stop the process.
  log = tmp_path / "log"
  with open(log, "w") as file:
    process = start(folder, *flags, stdout=file)
  seen = {}
  while process.poll() is None:
    with contextlib.suppress(OSError, ValueError, KeyError):
      step = json.loads((folder / "status.json").read_text())["step"]
      seen.setdefault(step // 1000, resources(process))
    time.sleep(0.05)
  assert process.returncode == 0, log.read_text()[-2000:]
  for thousand, (memory, files, threads) in seen.items():
    print(f"step {1000 * thousand}: {memory:.0f} MB, {files} files, {threads} threads")
  start_memory, start_files, start_threads = seen[2]
  memory, files, threads = seen[9]
  assert memory < 1.05 * start_memory and files <= start_files and threads <= start_threads
