"""What the experiments make of results files: made-up ones, whose claims are known beforehand."""

import dataclasses
import json

import numpy as np
import pytest

from tests.trainers.reproduction import made_up
from trainers.reproduction import report
from trainers.reproduction import run as reproducing
from trainers.reproduction import scales
from trainers.reproduction import workers
from trainers.reproduction.experiments import fig10
from trainers.reproduction.experiments import fig13
from trainers.reproduction.experiments import fig16

SMALL = made_up.SMALL


@pytest.fixture(name="content", scope="module")
def fixture_content(tmp_path_factory):
  """The numbers of a report of everything."""
  output = tmp_path_factory.mktemp("reproduced")
  assert (
    reproducing.run(
      list(reproducing.MODULES),
      SMALL,
      output,
      make_hands=lambda tasks: workers.Here(made_up.finish),
    )
    == 0
  )
  return json.loads((output / report.JSON).read_text())["experiments"]


def claim(content, number):
  (found, *rest) = [
    claim
    for section in content.values()
    for claim in section["claims"]
    if claim["number"] == number
  ]
  assert all(other == found for other in rest)
  return found, [part["estimate"] for part in found["parts"]]


@pytest.mark.parametrize(
  "number, verdict, estimates",
  [
    (1, "holds", [0.2]),
    (4, "fails", [0.1, -0.3]),
    (5, "fails", [0.2, -0.2]),
    (3, "holds", [3.2 / 3.596 - 0.5]),
    (6, "holds", [0.1 - 0.06, 0.2 * 0.4]),
    (7, "holds", [2.0]),
    (8, "holds", [1.0, 0.1, 0.15]),
    (11, "holds", [1.0, 0.9]),
    (12, "holds", [0.82, 0.7, 0.7 - 0.82 / 2, 0.8025 - 0.11]),
    (13, "undecided", [400, 0.16 / 3]),
    (14, "holds", [0.5, 0.1]),
  ],
)
def test_claims_follow_from_the_files(content, number, verdict, estimates):
  found, received = claim(content, number)
  assert received == pytest.approx(estimates)
  assert all(len(part["values"]) == 3 for part in found["parts"])
  # Differences within a seed: what the seed adds to both cancels.
  if number in (1, 4, 5):
    assert found["verdict"] == verdict
    assert all(part["high"] - part["low"] < 1e-9 for part in found["parts"])
  assert found["verdict"] == verdict


def test_claims_of_figure_8(content):
  found, (keeps, large, small, *more) = claim(content, 9)
  assert keeps == pytest.approx(1.5 - 1.04 / 1.01)
  assert (
    large == small == pytest.approx((3 / 1.5 + 3.4 / 1.6 + 3.8 / 1.7) / 3 - 1.5)
    and found["verdict"] == "holds"
  )
  assert more == pytest.approx(2 * [(60 - 1) * (1 / 25 - 1 / 100)])
  found, estimates = claim(content, 10)
  assert (
    estimates == pytest.approx([-8 / 5, -8 / 10, -8 / 25, 8 / 100]) and found["verdict"] == "fails"
  )


def test_tables_have_the_papers_numbers_beside_ours(content):
  rows = content["table2"]["tables"][0]["rows"]
  assert [row[3:5] for row in rows] == [
    [3.73, 3.29],
    [3.37, 2.90],
    [3.26, 3.07],
    [3.26, 3.05],
    [3.17, 3.19],
    [2.94, 11.47],
  ]
  assert [row[5] for row in rows] == pytest.approx(
    [made_up.NLL[str(row)] + 0.1 for row in scales.ROWS]
  )
  assert [row[3:5] for row in content["table1"]["tables"][0]["rows"]] == [
    [3.99, 32.5],
    [3.77, 31.3],
    [3.66, 32.2],
    [3.68, 27.0],
    [3.62, 28.0],
    [3.57, 56.7],
  ]


def test_table_4_of_two_sizes(content):
  gan, small, large = content["table4"]["tables"][0]["rows"]
  assert gan[1:] == [4.06, 0.86, 0.59, None, None, None, None]
  assert small[1:4] == [6.92, 0.77, 0.72] and small[5:] == [7, 0.7, 0.6]
  assert large[1:4] == [2.92, 0.82, 0.71] and large[5:] == [3, pytest.approx(0.8), 0.6]
  assert float(large[4][:-1]) > 3 * float(small[4][:-1])


def test_models_in_mid_training_are_of_the_first_seed(content):
  end, mid = content["fig8"]["tables"]
  assert mid["columns"] == end["columns"] and [row[0] for row in mid["rows"]] == list(
    SMALL.fid_steps
  )
  assert mid["rows"][0][1] == end["rows"][0][1] == pytest.approx(1 + 1 / SMALL.fid_steps[0])
  assert (
    SMALL.in_mid_training(SMALL.fid_run(scales.ROWS[4], 0)).train_steps
    == 0.4 * SMALL.fid_train_steps
  )
  for row in content["fig15"]["tables"][0]["rows"][:-1]:
    # Of made-up results: 0.5 more than at the end, of which there is the mean over seeds of 0.1 and 0.01.
    assert row[5] == pytest.approx(row[2] + 0.5 - 0.11) and row[6] == pytest.approx(
      row[4] + 0.5 - 0.11
    )


def test_figure_16_is_of_both_splits(content):
  table = content["fig16"]["tables"][0]
  assert table["columns"] == [
    "step",
    "FID, linear",
    "FID, cosine",
    "NLL (test), linear",
    "NLL (test), cosine",
    "NLL (train), linear",
    "NLL (train), cosine",
  ]
  assert all(row[5:] == [4, 4] for row in table["rows"])


def test_figure_17_of_each_dropout_and_rate(content):
  rows = content["fig17"]["tables"][0]["rows"]
  assert [row[:2] for row in rows] == [
    [dropout, str(rate)] for dropout in ("0.0", "0.1", "0.3") for rate in SMALL.sweep_ema
  ]
  first, second, third = (row[2] for row in rows[:3])
  assert first == pytest.approx(2 * second) and first == pytest.approx(3 * third)
  assert all(row[3] == SMALL.sweep_train_steps and row[2] == row[4] for row in rows)


@pytest.mark.parametrize(
  "scale",
  [scales.SCALES["small"], scales.SCALES["cifar10"], scales.SCALES["imagenet64"]],
  ids=lambda scale: scale.name,
)
def test_the_ensemble_is_of_models_of_one_process(scale):
  for task in fig13.needs(scale):
    steps = [flag.partition("=")[2] for flag in task.flags if flag.startswith("--ensemble_steps")]
    assert steps == ([str((250 if scale.name == "small" else 4000) // 40)] if task.ends else [])


def test_the_ensemble_is_scored_by_fid_where_there_are_features(tmp_path):
  scale = dataclasses.replace(SMALL, features="graph.pb")
  assert (
    reproducing.run(
      ["fig13"],
      scale,
      tmp_path,
      modules={"fig13": fig13},
      make_hands=lambda tasks: workers.Here(made_up.finish),
    )
    == 0
  )
  rows = json.loads((tmp_path / report.JSON).read_text())["experiments"]["fig13"]["tables"][0][
    "rows"
  ]
  assert [row[:3] for row in rows] == [
    ["L_hybrid", 3.57, 19.2],
    ["L_vlb", 3.53, 40.1],
    ["ensemble", 3.52, 19.9],
  ]
  assert [row[-1] for row in rows] == pytest.approx([1 + 1 / 50, 1 + 50 / 50, 1 + 1 / 50])
  (both,) = [task for task in fig13.needs(scale) if task.ends and "--fid" in task.flags]
  assert {"--features=graph.pb", f"--ensemble_steps={SMALL.noise_steps // 40}"} <= set(both.flags)


def test_every_experiment_is_in_the_report(content):
  assert list(content) == list(reproducing.MODULES)
  assert {
    name: tuple(found["number"] for found in section["claims"])
    for name, section in content.items()
    if section["claims"]
  } == reproducing.CLAIMS
  assert {number for numbers in reproducing.CLAIMS.values() for number in numbers} == set(
    range(1, 15)
  )


def noisy(rng, compute, exponent, noise):
  return [
    np.stack(
      [
        compute * width,
        (compute * width) ** -exponent * np.exp(noise * rng.normal(size=len(compute))),
      ]
    )
    for width in (1, 4)
  ]


def test_a_power_law_is_found_and_one_that_is_not_there_is_not():
  rng, compute = np.random.default_rng(0), np.geomspace(1e9, 1e10, 5)
  b, good = fig10.power_law(noisy(rng, compute, 0.3, 0.0))
  assert b == pytest.approx(0.3) and good == pytest.approx(1)
  # Of noise alone b is as often negative, and the line is bad.
  fits = np.array([fig10.power_law(noisy(rng, compute, 0.0, 0.1)) for _ in range(200)])
  assert 0.35 < np.mean(fits[:, 0] < 0) < 0.65 and np.mean(fits[:, 1] > 0.9) < 0.02
  b, _ = fig10.power_law(noisy(rng, compute, -0.2, 0.0))  # What rises.
  assert b == pytest.approx(-0.2)


def test_overfitting_is_not_seen_in_noise():
  """Of flat curves the end is above the least of all, always; above the least of other seeds' half of the time."""
  rng, steps, verdicts = np.random.default_rng(0), np.arange(1, 9) * 200, []
  for _ in range(200):
    nll = {schedule: 4 + 0.01 * rng.normal(size=(3, 8)) for schedule in ("linear", "cosine")}
    verdicts.append(fig16._claim(steps, nll).parts[1].verdict)
  assert verdicts.count("holds") < 20 and verdicts.count("undecided") > 150
