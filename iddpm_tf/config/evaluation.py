"""The settings of scores during training."""

import dataclasses

from iddpm_tf import settings

# Scores of samples.
SCORES = ("fid", "fid_infinity", "sfid", "inception_score", "precision_recall", "kid")
# Scores of a model, and the split of each. In training, `nll` is of the split val if there is
# one beside test.
LIKELIHOODS = {"nll": "test", "nll_train": "train"}
NEIGHBOURS = (3, 5)  # k of precision and recall (Kynkäänniemi et al., 2019, and Table 4).


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
  """Scores of each moving average during training (Appendices F and G)."""

  eval_every: int = settings.setting(
    0,
    "steps between evaluations of the averaged weights, or of a classifier; 0 means none",
    changeable=True,
    since=3,
  )
  eval_scores: tuple[str, ...] = settings.setting(
    ("fid",), f"scores to compute: {', '.join((*LIKELIHOODS, *SCORES))}", changeable=True, since=3
  )
  eval_samples: int = settings.setting(
    1000, "images to draw by the first sampler for scores of samples", changeable=True, since=3
  )
  eval_examples: int = settings.setting(
    100,
    "images of the test split (or val, if there are both) for nll and for a classifier's accuracy, "
    "and of the training split for nll_train; 0 means all",
    changeable=True,
    since=3,
  )
  eval_nll_steps: int = settings.setting(
    100,
    "K timesteps for nll and nll_train, with every t up to T/K (Appendix E); 0 means all",
    changeable=True,
    since=3,
  )
  eval_features: str | None = settings.setting(
    None,
    "feature extractor for scores of samples: digits, random, the path of the Inception graph, or "
    "the folder of a SavedModel; unset: digits for 8x8 images in one channel, otherwise random",
    changeable=True,
    since=3,
  )
  eval_reference: str | None = settings.setting(
    None,
    "statistics of real images, made by reference_stats; unset: the training images",
    changeable=True,
    since=3,
  )
  best_score: str | None = settings.setting(
    None,
    "keep the best checkpoint by this score, such as fid, nll or recall_k3",
    changeable=True,
    since=3,
  )

  def __post_init__(self) -> None:
    """Checks the values, and raises `InputError` for a wrong one."""
    settings.convert(self)
    settings.require_not_negative(self, "eval_every", "eval_examples", "eval_nll_steps")
    settings.require_positive(self, "eval_samples")
    kinds = (*LIKELIHOODS, *SCORES)
    settings.require(
      self.eval_scores
      and len(set(self.eval_scores)) == len(self.eval_scores)
      and set(self.eval_scores) <= set(kinds),
      "eval_scores",
      f"distinct names of {', '.join(kinds)}",
      self.eval_scores,
    )
    settings.require(
      self.best_score is None or self.best_score in self.score_names,
      "best_score",
      f"a score that eval_scores computes: {', '.join(self.score_names)}",
      self.best_score,
    )

  @property
  def score_names(self) -> tuple[str, ...]:
    """The names of the scores in results."""
    names = []
    for score in self.eval_scores:
      if score == "precision_recall":
        names += [f"{part}_k{k}" for k in NEIGHBOURS for part in ("precision", "recall")]
      else:
        names.append(score)
    return tuple(names)
