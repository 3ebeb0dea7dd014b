"""Several processes on the loopback device train as one.

python -m pytest -s tests/long/test_workers.py
"""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from iddpm_tf.evaluation import results_log
from iddpm_tf.models import model_dir as model_dir_lib
from tests import small_model
from tests.trainers.test_train import variables
from tests.training import events
from tests.training import test_replicas

# One process runs them all, because they share a training.
pytestmark = pytest.mark.xdist_group("workers")
ROOT = pathlib.Path(__file__).parents[2]
STEPS = 50
FLAGS = tuple(
  flag
  for flag in test_replicas.FLAGS
  if not flag.startswith(("--train_steps", "--eval_", "--best_score"))
)


def free_ports(count):
  sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
  ports = [each.getsockname()[1] for each in sockets]
  for each in sockets:
    each.close()
  return ports


def start(folder, count, *flags, command="train"):
  """Starts the processes, and returns them."""
  own = FLAGS if command == "train" else ()
  workers = [f"localhost:{port}" for port in free_ports(count)]
  processes = []
  for index in range(count):
    task = {"type": "worker", "index": index}
    environ = {"TF_CONFIG": json.dumps({"cluster": {"worker": workers}, "task": task})}
    processes.append(
      subprocess.Popen(
        [sys.executable, "-m", f"trainers.{command}", *own, f"--model_dir={folder}", *flags],
        cwd=ROOT,
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
      )
    )
  return processes


def wait(processes, seconds=300):
  """Waits for the processes, and returns the exit status and the output of each."""
  outputs = [process.communicate(timeout=seconds)[0] for process in processes]
  return [process.returncode for process in processes], outputs


def wait_for(path, processes):
  deadline = time.monotonic() + 240
  while not path.exists():
    alive = all(process.poll() is None for process in processes)
    assert alive and time.monotonic() < deadline, [p.communicate()[0] for p in processes]
    time.sleep(0.05)


@pytest.fixture(name="one_process", scope="module")
def fixture_one_process(tmp_path_factory):
  from trainers import train

  folder = tmp_path_factory.mktemp("one") / "run"
  flags = (*FLAGS, f"--model_dir={folder}", f"--train_steps={STEPS}")
  assert train.COMMAND.run(["train", *flags]) == 0
  return folder


def assert_same(folder, other):
  """Compares runs whose sums had another order.

  Adam turns the rounding of a gradient that is exactly zero, such as that of the bias of
  attention's keys, into steps of the learning rate.
  """
  ours, theirs = variables(folder), variables(other)
  assert ours.keys() == theirs.keys() and len(ours) > 100
  largest = 0.0
  for name, value in theirs.items():
    if name.startswith(("network/", "averages/")) and "qkv.Sbias" not in name:
      largest = max(largest, float(np.max(np.abs(ours[name] - value))))
  losses = [events.scalars(each)["loss/loss"] for each in (folder, other)]
  assert losses[0] == pytest.approx(losses[1], rel=1e-4)
  print(f"largest difference of a weight: {largest:.2g}")
  return largest


@pytest.mark.parametrize("count", [2, 4])
def test_workers_make_the_steps_of_one_process(tmp_path, one_process, count):
  folder = tmp_path / "run"
  statuses, outputs = wait(start(folder, count, f"--train_steps={STEPS}"))
  assert statuses == [0] * count, outputs
  for index, output in enumerate(outputs[1:], 1):
    assert output.strip() == f"worker {index} of {count}; worker 0 says what the run does"
  assert assert_same(folder, one_process) < 1e-5
  assert len(list((folder / "tensorboard").iterdir())) == 1  # The chief alone writes.


def test_a_lost_worker_ends_the_others_and_the_job_continues(tmp_path, one_process):
  folder = tmp_path / "run"
  flags = ("--save_every=10",)
  processes = start(folder, 2, *flags, "--train_steps=1000000")
  wait_for(folder / "checkpoints/step-20.index", processes)
  processes[1].send_signal(signal.SIGKILL)
  killed = time.monotonic()
  status, output = processes[0].wait(timeout=60), processes[0].stdout.read()
  seconds = time.monotonic() - killed
  assert status == 5 and "Traceback" not in output, output
  line = output.strip().splitlines()[-1]
  assert line.startswith("train: worker 0: expected 2 workers until the end, and lost")
  print(f"the other worker ended after {seconds:.0f} s: {line}")
  saved = model_dir_lib.ModelDir(folder).newest_step()
  assert saved < STEPS, "the run was too fast for the comparison"
  statuses, outputs = wait(start(folder, 2, *flags, f"--train_steps={STEPS}"))
  assert statuses == [0, 0] and f"at step {saved} of {STEPS}" in outputs[0], outputs
  assert assert_same(folder, one_process) < 1e-5


def test_a_signal_to_all_workers_saves_once(tmp_path):
  """Signals one task after the other, as SLURM and Kubernetes do."""
  folder = tmp_path / "run"
  flags = ("--save_every=1000000", "--train_steps=1000000", "--steps_per_call=1")
  processes = start(folder, 2, *flags)
  deadline = time.monotonic() + 200
  while not (folder / "status.json").exists() and time.monotonic() < deadline:
    time.sleep(0.1)
  time.sleep(15)
  for process in processes:
    process.send_signal(signal.SIGUSR1)
    time.sleep(0.3)
  statuses, outputs = wait(processes, 120)
  assert set(statuses) <= {128 + signal.SIGTERM, 128 + signal.SIGUSR1}, outputs
  assert "Traceback" not in "".join(outputs)
  assert model_dir_lib.ModelDir(folder).newest_step() > 0


def test_workers_that_are_restarted_at_step_0_have_the_same_weights(tmp_path, one_process):
  """Step 0 of a run that begins from another model is a checkpoint."""
  folder = tmp_path / "run"
  statuses, outputs = wait(start(folder, 2, f"--init_from={one_process}", "--train_steps=5"))
  assert statuses == [0, 0], outputs
  expected = variables(folder)
  for path in (folder / "checkpoints").glob("step-5*"):
    path.unlink()
  (folder / "checkpoints/checkpoint").unlink()
  statuses, outputs = wait(start(folder, 2, "--train_steps=5"))
  assert statuses == [0, 0], outputs
  ours = variables(folder)
  assert ours.keys() == expected.keys()
  for name, value in expected.items():
    np.testing.assert_array_equal(ours[name], value, name)


def test_a_signal_to_one_worker_saves_and_ends_all(tmp_path):
  folder = tmp_path / "run"
  processes = start(folder, 2, "--save_every=1000000", "--train_steps=1000000")
  deadline = time.monotonic() + 200
  while not (folder / "status.json").exists() and time.monotonic() < deadline:
    time.sleep(0.1)
  time.sleep(15)
  processes[1].send_signal(signal.SIGUSR1)
  statuses, outputs = wait(processes, 120)
  assert statuses == [128 + signal.SIGTERM, 128 + signal.SIGUSR1], outputs
  assert model_dir_lib.ModelDir(folder).newest_step() > 0


def test_workers_evaluate_the_images_of_one_process(tmp_path, one_process):
  """64 images in batches of 4: each of four workers draws a quarter, and the chief scores them."""
  flags = ("--samplers=ddim:2", "--num_samples=64", "--batch_size=4", "--fid", "--kid")
  alone, together = tmp_path / "alone", tmp_path / "together"
  for folder in (alone, together):
    shutil.copytree(one_process, folder)
  command = [sys.executable, "-m", "trainers.evaluate", *flags]
  subprocess.run([*command, f"--model_dir={alone}"], cwd=ROOT, check=True, capture_output=True)
  processes = start(together, 4, *flags, command="evaluate")
  statuses, outputs = wait(processes)
  assert statuses == [0] * 4, outputs
  images = [sorted(folder.rglob("evaluations/samples/*/*.npy")) for folder in (alone, together)]
  assert [path.name for path in images[0]] == [path.name for path in images[1]]
  assert len(images[0]) == 16
  for path, other in zip(*images):
    np.testing.assert_array_equal(np.load(path), np.load(other))
  (line,), (expected,) = (results_log.read(folder) for folder in (together, alone))
  assert line["scores"] == expected["scores"]
  drawn = [output.count("/8 [") > 0 for output in outputs]  # Two steps for each of four batches.
  assert all(drawn), outputs


def run_alone(command, *flags):
  subprocess.run(
    [sys.executable, "-m", f"trainers.{command}", *flags], cwd=ROOT, check=True, capture_output=True
  )


def contents(folder):
  return {
    str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()
  }


def test_workers_draw_the_files_of_one_process(tmp_path, one_process):
  """Seven batches, the last of which is smaller, by each of three workers."""
  flags = (
    "--samplers=ddim:2,ancestral:2",
    "--num_samples=26",
    "--batch_size=4",
    "--seed=5",
    "--png",
  )
  alone, together = tmp_path / "alone", tmp_path / "together"
  run_alone("sample", f"--model_dir={one_process}", *flags, f"--output_dir={alone}")
  statuses, outputs = wait(
    start(one_process, 3, *flags, f"--output_dir={together}", command="sample")
  )
  assert statuses == [0] * 3, outputs
  assert contents(together) == contents(alone)
  assert len(list(alone.glob("*.npz"))) == 2
  assert "wrote" in outputs[0] and "wrote" not in outputs[1] + outputs[2]
  assert all("/6 [" in output or "/4 [" in output for output in outputs), outputs


def test_a_lost_worker_does_not_stop_the_drawing(tmp_path, one_process):
  """The second of two workers never starts."""
  flags = ("--samplers=ddim:2", "--num_samples=12", "--batch_size=4")
  alone, together = tmp_path / "alone", tmp_path / "together"
  run_alone("sample", f"--model_dir={one_process}", *flags, f"--output_dir={alone}")
  workers = {"worker": [f"localhost:{port}" for port in free_ports(2)]}
  environ = {"TF_CONFIG": json.dumps({"cluster": workers, "task": {"type": "worker", "index": 0}})}
  program = """
import sys
from iddpm_tf.utils import shared_batches
from trainers import sample

shared_batches._PATIENCE = 10  # Seconds.
sys.exit(sample.COMMAND.run(["sample", *sys.argv[1:]]))
"""
  command = [sys.executable, "-c", program, *flags]
  done = subprocess.run(
    [*command, f"--model_dir={one_process}", f"--output_dir={together}"],
    cwd=ROOT,
    env={**os.environ, **environ},
    check=True,
    capture_output=True,
    text=True,
  )
  waited = re.search(r"no worker has made a batch for (\d+) s; making one here", done.stdout)
  assert waited and int(waited[1]) >= 10  # Longer if a batch takes more than a second.
  assert contents(together) == contents(alone)


@pytest.mark.parametrize("flags", [(), ("--nll_steps=2",), ("--nll_stderr=0.5",)])
def test_workers_evaluate_the_likelihood_of_one_process(tmp_path, one_process, flags):
  flags = ("--nll", "--num_examples=22", "--batch_size=4", *flags)
  alone, together = tmp_path / "alone", tmp_path / "together"
  run_alone("evaluate", f"--model_dir={one_process}", *flags, f"--output_dir={alone}")
  statuses, outputs = wait(
    start(one_process, 3, *flags, f"--output_dir={together}", command="evaluate")
  )
  assert statuses == [0] * 3, outputs
  (path,), (other,) = alone.glob("*.json"), together.glob("*.json")
  assert path.name == other.name and path.read_bytes() == other.read_bytes()
  assert sorted(contents(alone)) == sorted(contents(together))
  bits = json.loads(path.read_text())["bits_per_dim"]
  assert f"{bits:.4f} bits/dim" in outputs[0]
  assert "bits/dim, standard error" not in outputs[1] + outputs[2]


def test_a_chain_of_two_models_draws_the_files_of_one_process(tmp_path):
  base = small_model.write(
    tmp_path / "base", small_model.make_config((4, 4, 1), class_conditional=False, num_classes=0)
  )
  upsampler = small_model.write(
    tmp_path / "upsampler",
    small_model.make_config(low_res_size=4, class_conditional=False, num_classes=0),
  )
  flags = ("--samplers=ddim:2", f"--upsampler_dir={upsampler}", "--upsampler_sampler=ddim:2")
  flags += ("--num_samples=10", "--batch_size=4")
  alone, together = tmp_path / "alone", tmp_path / "together"
  run_alone("sample", f"--model_dir={base}", *flags, f"--output_dir={alone}")
  statuses, outputs = wait(start(base, 2, *flags, f"--output_dir={together}", command="sample"))
  assert statuses == [0, 0], outputs
  assert contents(together) == contents(alone) and len(contents(alone)) == 4


def test_a_cluster_and_devices_of_one_machine_contradict_each_other(tmp_path):
  (process, other) = start(tmp_path / "run", 2, "--strategy=mirrored", "--train_steps=1")
  statuses, outputs = wait([process, other], 60)
  assert statuses == [2, 2]
  assert "--strategy: expected auto or multi_worker, because TF_CONFIG describes 2" in outputs[0]
  assert not (tmp_path / "run").exists()
