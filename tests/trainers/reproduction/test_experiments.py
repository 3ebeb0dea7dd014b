"""What the experiments show of synthetic results, with which their claims are known."""

import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from tests.trainers.reproduction import synthetic_results
from trainers.reproduction import executors
from trainers.reproduction import experiments
from trainers.reproduction import report
from trainers.reproduction import run
from trainers.reproduction import scales
from trainers.reproduction import shared_tasks
from trainers.reproduction.experiments import fig10
from trainers.reproduction.experiments import fig13
from trainers.reproduction.experiments import fig16
from trainers.reproduction.experiments import table5

SMALL = synthetic_results.SMALL


def make_executor(tasks):
  del tasks  # Not used.
  return executors.InProcess(synthetic_results.run_command)


@pytest.fixture(name="content", scope="module")
def fixture_content(tmp_path_factory):
  """The experiments in the JSON file of a report of all experiments."""
  output = tmp_path_factory.mktemp("reproduced")
  assert run.run(experiments.names(), SMALL, output, make_executor=make_executor) == 0
  return json.loads((output / report.JSON).read_text())["experiments"]


@pytest.mark.parametrize("name", experiments.names())
def test_an_experiment_alone_reaches_its_report(name, tmp_path):
  """It names all tasks that it reads."""
  assert run.run([name], SMALL, tmp_path, make_executor=make_executor) == 0
  content = json.loads((tmp_path / report.JSON).read_text())["experiments"]
  assert list(content) == [name]


def claim(content, number):
  """A claim, which is the same in all experiments that judge it, and its estimates."""
  first, *rest = [
    claim
    for section in content.values()
    for claim in section["claims"]
    if claim["number"] == number
  ]
  assert all(other == first for other in rest)
  return first, [part["estimate"] for part in first["parts"]]


@pytest.mark.parametrize(
  "number, verdict, estimates",
  [
    (1, "holds", [0.2]),
    (4, "fails", [0.1, -0.3]),
    (5, "fails", [0.2, -0.2]),
    (3, "holds", [3.2 / 3.596 - 0.5]),
    (6, "holds", [0.2 - 0.2 * 0.75, 0.2 * 0.25]),
    (7, "holds", [2.0]),
    (8, "holds", [1.0, 0.1, 0.15]),
    (11, "holds", [1.0, 0.9]),
    (12, "holds", [0.83, 0.7, 0.7 - 0.83 / 2, 0.8 + 1 / 139 - 0.1 - 1 / 100]),
    (13, "undecided", [100, 0.085 / 3]),
    (15, "holds", [(50 + 10 - 1) / 250]),
    (16, "holds", [0.1 * 0.15 - 0.01]),
    (17, "holds", [0.1 * (1 + 60 / 250)]),
    (18, "fails", [0.005, -0.19]),
    (19, "holds", [np.mean(np.log10([4.2 / 3.9, 4.3 / 4.0, 4.4 / 4.1]))]),
    (20, "holds", [2.0 - (1 + 9 / 25) / 2, 0.3, 0.1]),
    (21, "holds", [(18 - 1) / 100, (18 - 1) / 200 - (9 - 1) / 100]),
    (22, "fails", [1 / 50 - (50 + 10) / 50]),
    (23, "undecided", [0.0]),
  ],
)
def test_claims_follow_from_the_results(content, number, verdict, estimates):
  judged, received = claim(content, number)
  assert received == pytest.approx(estimates) and judged["verdict"] == verdict
  counts = [len(part["values"]) for part in judged["parts"]]
  assert counts == ([3, 5, 3] if number == 8 else [len(SMALL.seeds_of(number))] * len(counts))
  # What a seed adds to both models cancels in their difference.
  if number in (1, 4, 5):
    assert all(part["high"] - part["low"] < 1e-9 for part in judged["parts"])


def test_claims_of_figure_8_are_judged_by_infinitely_many_samples(content):
  judged, estimates = claim(content, 9)
  near_optimal = 1.1 * 1.0025 - 1.01
  # FID is 1 + loss / steps. The loss of L_simple rises from 50 by 10 with each seed.
  with_three_seeds, with_five_seeds = ((loss - 1) * (1 / 5 - 1 / 100) for loss in (60, 70))
  # The FID of photographs is twice that of digits.
  assert estimates == pytest.approx(
    [
      *(near_optimal, with_five_seeds, with_five_seeds),
      *(2 * near_optimal, 2 * with_three_seeds, 2 * with_three_seeds),
    ]
  )
  assert [len(part["values"]) for part in judged["parts"]] == [3, 5, 5, 3, 3, 3]
  assert judged["verdict"] == "holds"
  judged, estimates = claim(content, 10)
  digits = np.array([-8 / 5, -8 / 10, -8 / 25, 8 / 100])
  assert estimates == pytest.approx([*digits, *2 * digits])
  assert judged["verdict"] == "fails"
  assert "photographs" in judged["parts"][4]["statement"]


def test_one_seed_judges_nothing_and_has_no_further_seeds(tmp_path):
  names, scale = ["fig4", "fig6", "fig8", "fig15"], SMALL.with_seeds(SMALL.seeds[:1])
  assert run.run(names, scale, tmp_path, make_executor=make_executor) == 0
  content = json.loads((tmp_path / report.JSON).read_text())["experiments"]
  claims = [claim for section in content.values() for claim in section["claims"]]
  assert {part["verdict"] for claim in claims for part in claim["parts"]} == {"undecided"}
  assert {len(part["values"]) for claim in claims for part in claim["parts"]} == {1}


def test_further_seeds_of_figures_4_and_8_have_fewer_evaluations(content):
  shown, judging = (table["caption"] for table in content["fig4"]["tables"])
  assert "of 1,000 samples by 50 steps, seed 11" in shown
  assert "5,000 samples by 25 steps, averaged over the seeds 11, 12, 13, 14, 15, 16." in judging
  needed = {task.name: task.flags for task in experiments.load("fig8").needs(SMALL)}
  few = {name: flags for name, flags in needed.items() if "_by_5_and_100" in name}
  samplers = {flag for flags in few.values() for flag in flags if "samplers" in flag}
  assert len(few) == 6 and samplers == {"--samplers=ancestral:5,ancestral:100"}


@pytest.mark.parametrize("scale", scales.SCALES.values(), ids=lambda scale: scale.name)
def test_the_shares_that_figure_4_skips_are_whole_steps(scale):
  for task in experiments.load("fig4").needs(scale.with_features("graph.pb")):
    (samplers,) = [flag for flag in task.flags if flag.startswith("--samplers=")]
    for steps, share in re.findall(r"ancestral:(\d+):skip([\d.]+)", samplers):
      assert (int(steps) * float(share)).is_integer()


def test_claim_of_figure_10(content):
  judged, (b, ends, r_squared) = claim(content, 14)
  narrow, wide = (synthetic_results.network_cost(width) for width in SMALL.scaling.widths)
  assert (b, r_squared) == pytest.approx((0.5, 0.1)) and judged["verdict"] == "holds"
  assert ends == pytest.approx(0.5 * np.log(wide / narrow))
  rows = content["fig10"]["tables"][0]["rows"]
  assert all(row[1:5] == pytest.approx([0.5, 0.5, 10, 1]) for row in rows)


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
  ours = [synthetic_results.NLL[str(row)] + 0.1 for row in scales.ROWS]
  assert [row[5] for row in rows] == pytest.approx(ours)
  assert [row[3:5] for row in content["table1"]["tables"][0]["rows"]] == [
    [3.99, 32.5],
    [3.77, 31.3],
    [3.66, 32.2],
    [3.68, 27.0],
    [3.62, 28.0],
    [3.57, 56.7],
  ]


def test_table_4_has_two_sizes(content):
  gan, small, large = content["table4"]["tables"][0]["rows"]
  assert gan[1:] == [4.06, 0.86, 0.59, None, None, None, None]
  assert small[1:4] == [6.92, 0.77, 0.72] and small[5:] == [8, 0.7, 0.6]
  assert large[1:4] == [2.92, 0.82, 0.71] and large[5:] == [4, pytest.approx(0.8), 0.6]
  assert float(large[4][:-1]) > 3 * float(small[4][:-1])
  judged, estimates = claim(content, 25)
  assert (judged["verdict"], estimates) == ("undecided", [None])


def test_table_3_has_the_papers_numbers_and_ours(content):
  *papers, ours = content["table3"]["tables"][0]["rows"]
  assert papers[-1] == ["Improved DDPM", 3.53, 2.94, None] and len(papers) == 13
  expected = synthetic_results.NLL["noise_vlb_resampled"] + 0.1
  assert ours[1:] == [None, None, pytest.approx(expected)]


def test_table_5_has_ours_where_the_scale_has_two_sizes(content):
  rows = {row[0]: row[1:] for row in content["table5"]["tables"][0]["rows"]}
  assert rows["single-stage"] == [31.5, pytest.approx(1 + 1 / 50)]
  assert rows["two-stage"] == [12.3, pytest.approx(1 + 60 / 50)]
  cifar10 = table5.Table5().show(scales.SCALES["cifar10"], pathlib.Path("/nowhere"))
  assert [row[2] for row in cifar10.tables[0].rows] == [None] * 5
  assert cifar10.claims[0].verdict == "undecided"


def test_the_time_of_an_experiment_that_was_not_interrupted_is_whole(content):
  """Models in mid-training, of Figures 8 and 15, have no time of their own."""
  assert all(entry["time"]["is_whole"] for entry in content.values())


def test_pages_of_samples_have_a_grid_for_each_choice(tmp_path):
  grids = {"fig9": 1, "fig18": 5, "fig30": 2, "table5": 2}
  assert run.run([*grids], SMALL, tmp_path, make_executor=make_executor) == 0
  page = (tmp_path / report.HTML).read_text()
  assert page.count("data:image/png") == sum(grids.values())


def test_figure_11_has_both_samplers_for_both_batch_sizes(content):
  (table,) = content["fig11"]["tables"]
  assert [row[0] for row in table["rows"]] == list(SMALL.fid.num_steps)
  # FID of few samples is larger by 1.
  assert table["rows"][0][1:] == pytest.approx([2 + 9 / 5, 2 + 9 / 5, 2 + 1 / 5, 2 + 1 / 5])


def test_models_in_mid_training_have_the_first_seed(content):
  end, limits, photos, photo_limits, mid = content["fig8"]["tables"]
  num_steps = SMALL.fid.num_steps
  assert mid["columns"] == end["columns"]
  assert [row[0] for row in mid["rows"]] == list(num_steps)
  assert mid["rows"][0][1] == end["rows"][0][1] == pytest.approx(2 + 1 / num_steps[0])
  assert limits["rows"][0][1] == pytest.approx(1 + 1 / num_steps[0])
  for table, shown in ((limits, photo_limits), (end, photos)):
    assert "photographs" in shown["caption"] and "digits" in table["caption"]
  assert photo_limits["rows"][0][1] == pytest.approx(2 * limits["rows"][0][1])
  # Only L_hybrid has the number of steps that stands for all.
  assert end["rows"][-1] == [400, pytest.approx(2.0025), None, None, None]
  training = SMALL.fid_models.training(scales.COSINE_HYBRID, 0)
  assert shared_tasks.mid_training(training).train_steps == 0.4 * training.train_steps
  rows = content["fig15"]["tables"][0]["rows"]
  assert [row[0] for row in rows] == [25, 50, 100, 139, 400, 4000]
  for row in [row for row in rows if row[0] in SMALL.likelihood.num_steps]:
    # 0.5 more than at the end, where the table has the average over the seeds: 0.11 more than
    # seed 0.
    assert row[5] == pytest.approx(row[2] + 0.5 - 0.11)
    assert row[6] == pytest.approx(row[4] + 0.5 - 0.11)


def test_section_4_has_each_spacing_of_both_samplers(content):
  (table,) = content["section4"]["tables"]
  assert table["rows"] == [
    ["L_hybrid", pytest.approx(1 + 1 / 25), pytest.approx(1.1 + 1 / 25), None],
    ["L_simple, DDIM", *(pytest.approx(base + 9 / 25) for base in (3, 1, 1.3))],
  ]


def test_figure_16_shows_both_splits(content):
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


def test_figure_17_shows_each_dropout_and_rate(content):
  rows = content["fig17"]["tables"][0]["rows"]
  assert [row[:2] for row in rows] == [
    [dropout, str(rate)] for dropout in ("0.0", "0.1", "0.3") for rate in SMALL.ema_sweep.rates
  ]
  first, second, third = (row[2] for row in rows[:3])
  assert first == pytest.approx(2 * second) and first == pytest.approx(3 * third)
  assert all(row[3] == SMALL.ema_sweep.train_steps and row[2] == row[4] for row in rows)
  # The longest average is the best.
  judged, estimates = claim(content, 24)
  assert estimates == pytest.approx([first - second, third - second])
  assert [part["verdict"] for part in judged["parts"]] == ["holds", "fails"]


@pytest.mark.parametrize("scale", scales.SCALES.values(), ids=lambda scale: scale.name)
def test_the_models_of_an_ensemble_have_the_same_process(scale):
  for task in fig13.Figure13().needs(scale):
    steps = [flag.partition("=")[2] for flag in task.flags if flag.startswith("--ensemble_steps")]
    expected = str((250 if scale.name == "small" else 4000) // 40)
    assert steps == ([expected] if task.ensemble_with else [])


def test_the_ensemble_is_scored_by_fid_where_there_are_features(tmp_path):
  scale, figure = SMALL.with_features("graph.pb"), fig13.Figure13()
  status = run.run(
    ["fig13"], scale, tmp_path, make_executor=make_executor, experiments={"fig13": figure}
  )
  assert status == 0
  content = json.loads((tmp_path / report.JSON).read_text())["experiments"]
  rows = content["fig13"]["tables"][0]["rows"]
  assert [row[:3] for row in rows] == [
    ["L_hybrid", 3.57, 19.2],
    ["L_vlb", 3.53, 40.1],
    ["ensemble", 3.52, 19.9],
  ]
  assert [row[-1] for row in rows] == pytest.approx([2 + 1 / 50, 2 + 50 / 50, 2 + 1 / 50])
  (ensemble,) = [
    task for task in figure.needs(scale) if task.ensemble_with and "--fid" in task.flags
  ]
  assert {"--features=graph.pb", "--ensemble_steps=6"} <= set(ensemble.flags)


def test_every_experiment_is_in_the_report_and_judges_its_claims(content):
  assert list(content) == list(experiments.names())
  judged = {
    name: tuple(claim["number"] for claim in section["claims"]) for name, section in content.items()
  }
  declared = {name: experiment.claims for name, experiment in experiments.load_all().items()}
  assert judged == declared
  assert {number for numbers in declared.values() for number in numbers} == set(range(1, 26))


def test_experiments_are_found_in_the_papers_order_without_importing_them():
  """In a process of its own, which has imported nothing yet."""
  program = """
import sys
from trainers.reproduction import experiments
print(*experiments.names())
print(any(name in sys.modules for name in ("tensorflow", "matplotlib")))
experiments.load_all()
print("tensorflow" in sys.modules)
"""
  result = subprocess.run(
    [sys.executable, "-c", program], capture_output=True, text=True, check=True
  )
  names, heavy, tensorflow = result.stdout.splitlines()
  assert names == (
    "fig1 fig2 fig3 fig4 fig5 fig6 fig7 fig8 fig9 fig10 fig11 fig13 fig15 fig16 fig17 fig18 "
    "fig30 section3 section4 table1 table2 table3 table4 table5"
  )
  assert (heavy, tensorflow) == ("False", "False")


def noisy_power_law(rng, compute, exponent, noise):
  """Compute and scores of two networks, float [2, N] each."""
  curves = []
  for width in (1, 4):
    scores = (compute * width) ** -exponent * np.exp(noise * rng.normal(size=len(compute)))
    curves.append(np.stack([compute * width, scores]))
  return curves


def test_the_frontier_has_one_point_for_each_compute():
  compute, score = fig10.frontier(np.array([2.0, 1.0, 1.0, 3.0]), np.array([1.5, 2.0, 1.0, 0.5]))
  assert (compute.tolist(), score.tolist()) == ([1, 3], [1, 0.5])


def test_a_power_law_is_found_where_there_is_one_only():
  rng, compute = np.random.default_rng(0), np.geomspace(1e9, 1e10, 5)
  exact = noisy_power_law(rng, compute, 0.3, 0.0)
  assert fig10.power_law(exact) == pytest.approx((0.3, 10, 1))
  assert fig10.decrease(exact) == pytest.approx(0.3)
  assert fig10.decrease(noisy_power_law(rng, compute, -0.2, 0.0)) == pytest.approx(-0.2)
  # The frontier of noise falls always, and may lie near a line. The other parts see what it is.
  seeds = [[noisy_power_law(rng, compute, 0.0, 0.1) for _ in range(3)] for _ in range(200)]
  b = np.array([fig10.decrease(noise) for noise, *_ in seeds])
  assert 0.35 < np.mean(b < 0) < 0.65
  assert [fig10.judge(of_seeds).verdict for of_seeds in seeds].count("holds") <= 2


def test_the_best_step_can_lie_between_two_evaluations():
  steps = np.arange(1, 9) * 50
  scores = np.stack([(steps - best) ** 2 / 1e4 for best in (50, 212, 240, 400.0, 1000)])
  assert fig16.best_steps(steps, scores) == pytest.approx([50, 212, 240, 400, 400])


def test_overfitting_is_not_seen_in_noise():
  """The last value of a flat curve is above its lowest one, but not above that of other seeds."""
  rng, steps, verdicts = np.random.default_rng(0), np.arange(1, 9) * 200, []
  for _ in range(200):
    nll = {schedule: 4 + 0.01 * rng.normal(size=(3, 8)) for schedule in ("linear", "cosine")}
    overfits, _ = fig16.judge(steps, nll, nll)
    verdicts.append(overfits.parts[1].verdict)
  assert verdicts.count("holds") < 20 and verdicts.count("undecided") > 150
