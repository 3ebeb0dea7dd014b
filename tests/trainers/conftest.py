"""Commands run in this process, and a small trained model that they share."""

import dataclasses

import pytest

from trainers import evaluate
from trainers import export
from trainers import export_openai
from trainers import import_openai
from trainers import reference_stats
from trainers import sample
from trainers import train
from trainers.cli import command

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
  modules = {
    "train": train,
    "sample": sample,
    "evaluate": evaluate,
    "export": export,
    "import_openai": import_openai,
    "export_openai": export_openai,
    "reference_stats": reference_stats,
  }

  def run(name, *flags):
    module = modules[name]
    capfd.readouterr()
    status = command.run(module.main, module.Options, module.__doc__, [name, *map(str, flags)])
    return Result(status, *capfd.readouterr())

  return run


@pytest.fixture(name="model_dir", scope="session")
def fixture_model_dir(tmp_path_factory):
  """The folder of a finished run of 10 steps."""
  folder = tmp_path_factory.mktemp("runs") / "small"
  assert (
    command.run(
      train.main,
      train.Options,
      train.__doc__,
      ["train", *SMALL, f"--model_dir={folder}", "--train_steps=10", "--save_every=5"],
    )
    == 0
  )
  return folder
