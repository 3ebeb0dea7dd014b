"""Figure 17: dropout and the rate of the moving average, by FID throughout training."""

from trainers.reproduction import curves
from trainers.reproduction import scales
from trainers.reproduction import sections

_DROPOUTS = (0.0, 0.1, 0.3)


def _run(scale, dropout):
  flags = (
    f"--dropout={dropout}",
    f"--ema={','.join(map(str, scale.sweep_ema))}",
    "--eval_scores=fid",
  )
  seed = scale.seeds[0]
  row = scales.Row("cosine", 4000, "hybrid")
  # The paper's is class-conditional.
  run = scale.sized_run("small", seed) if scale.sizes else scale.fid_run(row, seed)
  return scale.watched(run, f"dropout{dropout}", flags, scale.sweep_train_steps, scale.sweep_points)


def needs(scale):
  """A long run with each dropout; one training keeps all averages."""
  return tuple(_run(scale, dropout) for dropout in _DROPOUTS)


def show(scale, output):
  """Figure 17, of which no claim is judged: it is of one seed."""
  found = {
    (dropout, rate): {step: scores["fid"] for step, scores in sorted(of_rate.items())}
    for dropout in _DROPOUTS
    for rate, of_rate in curves.scores_by_rate(_run(scale, dropout).folder(output)).items()
  }

  def draw(*axes):
    for axis, dropout in zip(axes, _DROPOUTS):
      for rate in scale.sweep_ema:
        fid = found[dropout, rate]
        axis.plot(list(fid), list(fid.values()), marker="o", markersize=3, label=f"EMA {rate}")
      axis.set(title=f"dropout {dropout}", xlabel="training step", ylabel="FID", yscale="log")
      axis.sharey(axes[0])
    axes[0].legend()

  rows = tuple(
    (str(dropout), str(rate), min(fid.values()), min(fid, key=fid.get), list(fid.values())[-1])
    for (dropout, rate), fid in found.items()
  )
  return sections.Section(
    "Figure 17: a sweep of dropout and of the moving average",
    f"Of {scale.fid_about}{', class-conditional' if scale.sizes else ''}: L_hybrid, cosine schedule, T = 4000, scored in training (--eval_every), seed "
    f"{scale.seeds[0]}. The paper: rates of 0.9999 and 0.99995 worked best, and a little dropout bettered the best FID "
    "but took longer to reach it.",
    figures=(
      sections.plot(
        draw, "FID throughout training, by dropout and rate.", columns=len(_DROPOUTS), width=3.6
      ),
    ),
    tables=(
      sections.Table(("dropout", "EMA rate", "best FID", "at step", "FID at the end"), rows, ""),
    ),
  )
