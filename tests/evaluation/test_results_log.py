"""The results log: one JSON object per line."""

import dataclasses

from iddpm_tf.diffusion.samplers import ancestral
from iddpm_tf.diffusion.samplers import ddim
from iddpm_tf.evaluation import results_log
from iddpm_tf.training import periodic_evaluation


def test_results_follow_a_line_that_was_cut(tmp_path):
  (tmp_path / "results.jsonl").write_bytes(b'{"scores": 1}\n5\n\xff\n{"scores": {"fid": 3')
  path = results_log.append(
    tmp_path, {"scores": {"nll": 2.0}}, {"scores": {"nll": float("nan"), "fid": 3.0}}
  )
  assert path == tmp_path / "results.jsonl"
  scores = [result["scores"] for result in results_log.read(tmp_path)]
  assert scores == [1, {"nll": 2.0}, {"nll": None, "fid": 3.0}]
  assert "NaN" not in path.read_text(errors="replace")


def test_a_folder_without_results_has_none(tmp_path):
  assert results_log.read(tmp_path) == []


def test_the_description_of_a_model_has_everything_that_its_results_depend_on(model):
  description = results_log.describe_model(model, seed=3)
  assert description == {
    "model": str(model.folder),
    "training_step": 7,
    "ema": 0.9,
    "seed": 3,
    "clip_denoised": True,
  }
  other_variance = dataclasses.replace(
    model,
    config=model.config.with_settings(variance_type="learned", precision="mixed_bfloat16"),
  )
  both = dataclasses.replace(other_variance, ends=model, end_steps=2)
  assert results_log.describe_model(both, seed=3) == description | {
    "fixed_variance": "learned",
    "precision": "mixed_bfloat16",
    "ensemble": str(model.folder),
    "ensemble_training_step": 7,
    "ensemble_ema": 0.9,
    "ensemble_steps": 2,
  }


def test_the_description_of_a_sampler_has_its_number_of_steps(model):
  describe = results_log.describe_sampler
  assert describe(model, ddim.DDIM(5)) == {"sampler": "ddim_5", "sampling_steps": 5}
  scaled = dataclasses.replace(model, config=model.config.with_settings(dynamic_threshold=0.9))
  assert describe(scaled, ddim.DDIM(5))["dynamic_threshold"] == 0.9
  lowered = dataclasses.replace(model, config=model.config.with_settings(truncate=True))
  assert describe(lowered, ddim.DDIM(5))["truncate"] is True
  assert describe(model, ancestral.Ancestral()) == {"sampler": "ancestral", "sampling_steps": 25}


def test_scores_of_other_sampling_begin_anew(model):
  """Whatever describes how images were drawn decides whether two scores can be compared."""
  sampled = dataclasses.replace(
    model,
    config=model.config.with_settings(
      dynamic_threshold=0.995, truncate=True, label_dropout=0.1, guidance_scale=2.0
    ),
  )
  description = results_log.describe_sampler(sampled, ddim.DDIM(5))
  assert periodic_evaluation._measured(description) == {
    name: value for name, value in description.items() if name != "sampling_steps"
  }
