"""Commands run in this process, and a small trained model that they share."""

import dataclasses
import importlib

import pytest

SMALL = (
  "--base_channels=32",
  "--channel_multipliers=1",
  "--num_res_blocks=1",
  "--attention_resolutions=",
  "--diffusion_steps=25",
  "--batch_size=8",
  "--learning_rate=1e-3",
  "--ema=0.9,0.5",
  "--samplers=ancestral:5,ddim:5",
  "--num_samples=12",
  "--log_every=5",
  "--class_conditional",
)


@dataclasses.dataclass
class Result:
  status: int
  out: str
  err: str


@pytest.fixture(name="run")
def fixture_run(capfd):
  """run("train", *flags) -> `Result`."""

  def run(name, *flags):
    capfd.readouterr()
    return Result(run_command(name, *flags), *capfd.readouterr())

  return run


def run_command(name, *flags):
  """Runs `python -m trainers.NAME` in this process, and returns its exit status."""
  return importlib.import_module(f"trainers.{name}").COMMAND.run([name, *map(str, flags)])


@pytest.fixture(name="model_dir", scope="session")
def fixture_model_dir(tmp_path_factory):
  """The folder of a finished run of 10 steps."""
  folder = tmp_path_factory.mktemp("runs") / "small"
  flags = (*SMALL, f"--model_dir={folder}", "--train_steps=10", "--save_every=5")
  assert run_command("train", *flags) == 0
  return folder
