"""The work of `trainers.reproduce`: the tasks of experiments, then the report."""

import contextlib
import dataclasses
import json
import signal
import sys

from iddpm_tf import settings
from iddpm_tf.evaluation import features as features_lib
from iddpm_tf.utils import files
from trainers.cli import signals
from trainers.reproduction import report
from trainers.reproduction import scales
from trainers.reproduction import sections
from trainers.reproduction import tasks as tasks_lib
from trainers.reproduction import workers
from trainers.reproduction import workshop
from trainers.reproduction.experiments import fig1
from trainers.reproduction.experiments import fig2
from trainers.reproduction.experiments import fig3
from trainers.reproduction.experiments import fig4
from trainers.reproduction.experiments import fig5
from trainers.reproduction.experiments import fig6
from trainers.reproduction.experiments import fig7
from trainers.reproduction.experiments import fig8
from trainers.reproduction.experiments import fig10
from trainers.reproduction.experiments import fig13
from trainers.reproduction.experiments import fig15
from trainers.reproduction.experiments import fig16
from trainers.reproduction.experiments import fig17
from trainers.reproduction.experiments import table1
from trainers.reproduction.experiments import table2
from trainers.reproduction.experiments import table4

MODULES = {
  "fig1": fig1,
  "fig2": fig2,
  "fig3": fig3,
  "fig4": fig4,
  "fig5": fig5,
  "fig6": fig6,
  "fig7": fig7,
  "fig8": fig8,
  "fig10": fig10,
  "fig13": fig13,
  "fig15": fig15,
  "fig16": fig16,
  "fig17": fig17,
  "table1": table1,
  "table2": table2,
  "table4": table4,
}


# The numbers of those that each judges.
CLAIMS = {
  "fig1": (2,),
  "fig2": (3,),
  "fig4": (6,),
  "fig6": (8,),
  "fig7": (7,),
  "fig8": (9, 10),
  "fig10": (14,),
  "fig13": (11,),
  "fig15": (12,),
  "fig16": (13,),
  "table1": (1, 4, 5),
  "table2": (1, 4, 5),
}
_MADE_OF = "scale.json"  # What the output folder is of.


def reproduce(options, output):
  """As `reproduce.Options` say, in the folder `output`; the process's exit status."""
  names = MODULES if options.experiment == "all" else (options.experiment,)
  data_flags = () if options.data_dir is None else (f"--data_dir={options.data_dir}",)
  scale = dataclasses.replace(scales.SCALES[options.scale], features=_features(options, output))
  if options.needs_fid and scale.features:
    features_lib.for_images(
      scale.features, scale.fid_image_shape
    )  # Days before the first model is scored.
  if options.seeds:
    scale = dataclasses.replace(scale, seeds=tuple(range(options.seeds)))
  if options.microbatches:
    scale = scale.in_microbatches(options.microbatches)
  count = options.workers or (workers.fitting() if options.scale == "small" else 1)
  return run(
    names,
    scale,
    output,
    make_hands=lambda tasks: workers.hands(min(count, tasks), output),
    data_flags=data_flags,
  )


def run(
  names, scale, output, *, modules=None, make_hands=lambda tasks: workers.Here(), data_flags=()
):
  """The same of any `Scale`; a report is written each time that another experiment can be shown.

  It shows those that were not asked for, too, once their measurements are there: `modules` of them all (`MODULES`).
  `make_hands` makes the `workers.Here` or `workers.Workers` of so many tasks.
  """
  modules = modules or MODULES
  tasks = {name: workshop.needed(modules[name].needs(scale)) for name in modules}
  wanted = list(dict.fromkeys(task for name in names for task in tasks[name]))
  shop = workshop.Workshop(wanted, output, data_flags=data_flags)
  shown = _Report(scale, output, modules, tasks, shop, data_flags)
  output.mkdir(parents=True, exist_ok=True)
  try:
    with signals.raised(), files.held(output):
      missing = sum(not shop.done(task) for task in wanted)
      if missing:
        with make_hands(missing) as hands:
          for _ in shop.work(hands):
            shown.update()
      else:
        shown.update()
  except workshop.Failed as failed:
    return failed.status
  except (
    KeyboardInterrupt
  ) as stopped:  # `signals.Stopped`, or a training's own if it was asked twice.
    print("stopped; the same command goes on")
    return getattr(stopped, "status", 128 + signal.SIGINT)
  finally:
    with contextlib.suppress(OSError):  # Of a command that was wrong nothing is left.
      output.rmdir()
  print(f"wrote {output / report.HTML} and {output / report.JSON}")
  return 1 if shown.broken else 0


class _Report:
  """The report as far as it goes."""

  def __init__(self, scale, output, modules, tasks, shop, data_flags):
    self._scale, self._output, self._modules, self._tasks = scale, output, modules, tasks
    self._shop, self._data_flags, self._sections = shop, data_flags, {}
    self.broken = []  # Names of what could not be shown.

  def update(self):
    """Writes it if another experiment can be shown."""
    new = [
      name
      for name, tasks in self._tasks.items()
      if name not in self._sections and all(map(self._shop.done, tasks))
    ]
    for name in new:
      self._sections[name] = self._section(name)
    if not new:
      return
    shown = {name: self._sections[name] for name in self._modules if name in self._sections}
    judged = {claim.number for section in shown.values() for claim in section.claims}
    unjudged = {}
    for name in self._modules:
      for number in CLAIMS.get(name, ()):
        if number not in judged:
          unjudged.setdefault(number, []).append(name)
    commands = {
      name: [tasks_lib.shown(task, self._output, self._data_flags) for task in self._tasks[name]]
      for name in shown
    }
    report.write(self._output, self._scale, shown, commands, unjudged)
    _write_made_of(self._output, self._scale)

  def _section(self, name):
    try:
      return self._modules[name].show(self._scale, self._output)
    except Exception as error:  # pylint: disable=broad-except
      # The other experiments are shown all the same.
      self.broken.append(name)
      said = f"{name} could not be shown: {type(error).__name__}: {' '.join(str(error).split())}"
      print(said, file=sys.stderr)
      return sections.Section(name, said)


def _features(options, output):
  """Those of --features; without it, of the folder's other experiments. A folder is of one scale and its features."""
  path = output / _MADE_OF
  if not path.exists():
    return options.features
  try:
    before = json.loads(path.read_text())
    before = {name: before[name] for name in ("scale", "features")}
  except (ValueError, KeyError, TypeError):
    raise ValueError(
      f"{path}: expected what trainers.reproduce wrote, received another file"
    ) from None
  settings.require(
    options.scale == before["scale"],
    "scale",
    f"{before['scale']}, which {output} is of",
    options.scale,
  )
  settings.require(
    options.features in (None, before["features"]),
    "features",
    f"{before['features']}, which {output} is of",
    options.features,
  )
  return before["features"]


def _write_made_of(output, scale):
  with files.whole(output / _MADE_OF) as temporary:
    temporary.write_text(json.dumps({"scale": scale.name, "features": scale.features}) + "\n")
