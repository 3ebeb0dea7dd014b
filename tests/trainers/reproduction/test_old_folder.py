"""An output folder of the first version of this code is continued, and shows the same numbers."""

import json

import pytest

from trainers import reproduce
from trainers.reproduction import executors
from trainers.reproduction import report

TRAINING = "photos_small_cosine_4k_hybrid_seed0"
TRAINING_RECORD = [
  "train",
  "configs/photos_small.flags",
  "--noise_schedule=cosine",
  "--diffusion_steps=4000",
  "--seed=0",
  "600",
]
EVALUATION = f"{TRAINING}_terms"
EVALUATION_RECORD = [
  "evaluate",
  "--nll",
  "--num_examples=16",
  f"{TRAINING} at step 600: {' '.join(TRAINING_RECORD)}",
]


@pytest.fixture(name="folder")
def fixture_folder(tmp_path):
  """The folder that `--experiment=fig2 --seeds=1` left."""
  for name, record in ((TRAINING, TRAINING_RECORD), (EVALUATION, EVALUATION_RECORD)):
    write_json(
      tmp_path / f"done/{name}.json", {"record": record, "seconds": 116.5, "resumed": False}
    )
  write_json(tmp_path / "scale.json", {"scale": "small", "features": None})
  checkpoints = tmp_path / "models" / TRAINING / "checkpoints"
  checkpoints.mkdir(parents=True)
  for step in (500, 600):
    (checkpoints / f"step-{step}.index").touch()
  results = tmp_path / "measurements" / EVALUATION
  terms = {"terms": [0.08] * 40 + [1e-4] * 3960, "timesteps": list(range(4000))}
  write_json(results / "nll_terms.json", terms)
  result = {
    "training_step": 600,
    "scores": {"nll": 3.6},
    "file": f"reproduced/measurements/{EVALUATION}/nll_terms.json",
  }
  write_json(results / "results.jsonl", result)
  return tmp_path


def write_json(path, content):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps(content) + "\n")


def run(folder, monkeypatch, experiment="fig2"):
  """Runs the experiment, and returns its exit status and the commands that it started."""
  started = []

  def refuse(name, arguments):
    started.append((name, *arguments))
    return 2

  monkeypatch.setattr(executors, "make", lambda *_: executors.InProcess(refuse))
  flags = ["--seeds=1", f"--experiment={experiment}", f"--output_dir={folder}"]
  return reproduce.COMMAND.run(["reproduce", *flags]), started


def test_nothing_that_is_done_is_run_again(folder, monkeypatch):
  assert run(folder, monkeypatch) == (0, [])
  content = json.loads((folder / report.JSON).read_text())
  assert content["scale"] == "small" and content["seeds"] == [0]
  figure = content["experiments"]["fig2"]
  (row,) = figure["tables"][0]["rows"]
  assert row[0] == "seed 0" and row[1:] == pytest.approx([0.08, 0.8, 3.2, 3.596])
  (claim,) = figure["claims"]
  (part,) = claim["parts"]
  assert claim["number"] == 3 and claim["verdict"] == "undecided"
  assert part["estimate"] == pytest.approx(3.2 / 3.596 - 0.5)
  assert part.keys() == {
    "statement",
    "estimate",
    "low",
    "high",
    "verdict",
    "how",
    "values",
    "is_exact",
  }
  assert figure["commands"] == [
    "python -m trainers.train --flagfile=configs/photos_small.flags --noise_schedule=cosine "
    "--diffusion_steps=4000 --seed=0 --save_every=80 --keep_every=240 --train_steps=600 "
    f"--model_dir={folder}/models/{TRAINING}",
    f"python -m trainers.evaluate --model_dir={folder}/models/{TRAINING} --nll --num_examples=16 "
    f"--output_dir={folder}/measurements/{EVALUATION}",
  ]
  assert json.loads((folder / "scale.json").read_text()) == {"scale": "small", "features": None}


def test_a_model_of_the_folder_is_not_trained_again_for_another_experiment(folder, monkeypatch):
  # Figure 15 evaluates the model of Figure 2, and needs more models, of which the first is trained.
  status, ((name, *flags),) = run(folder, monkeypatch, "fig15")
  assert status == 2 and name == "train"
  assert f"--model_dir={folder}/models/photos_small_cosine_4k_simple_seed0" in flags


def test_an_evaluation_that_is_missing_is_run(folder, monkeypatch):
  (folder / f"done/{EVALUATION}.json").unlink()
  status, ((name, *flags),) = run(folder, monkeypatch)
  assert status == 2 and name == "evaluate"
  assert f"--output_dir={folder}/measurements/{EVALUATION}" in flags
