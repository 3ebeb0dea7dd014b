"""The work of `trainers.reproduce`: the tasks of experiments, then the report."""

import dataclasses
import signal

from trainers import signals
from trainers.reproduction import report
from trainers.reproduction import scales
from trainers.reproduction import workers
from trainers.reproduction import workshop
from trainers.reproduction.experiments import fig1
from trainers.reproduction.experiments import fig10
from trainers.reproduction.experiments import fig13
from trainers.reproduction.experiments import fig15
from trainers.reproduction.experiments import fig16
from trainers.reproduction.experiments import fig17
from trainers.reproduction.experiments import fig2
from trainers.reproduction.experiments import fig3
from trainers.reproduction.experiments import fig4
from trainers.reproduction.experiments import fig5
from trainers.reproduction.experiments import fig6
from trainers.reproduction.experiments import fig7
from trainers.reproduction.experiments import fig8
from trainers.reproduction.experiments import table1
from trainers.reproduction.experiments import table2
from trainers.reproduction.experiments import table4

MODULES = {
    "fig1": fig1, "fig2": fig2, "fig3": fig3, "fig4": fig4, "fig5": fig5, "fig6": fig6, "fig7": fig7, "fig8": fig8,
    "fig10": fig10, "fig13": fig13, "fig15": fig15, "fig16": fig16, "fig17": fig17,
    "table1": table1, "table2": table2, "table4": table4}


def reproduce(options, output):
  """As `reproduce.Options` say, in the folder `output`; the process's exit status."""
  names = MODULES if options.experiment == "all" else (options.experiment,)
  data_flags = () if options.data_dir is None else (f"--data_dir={options.data_dir}",)
  scale = dataclasses.replace(scales.SCALES[options.scale], features=options.features)
  count = options.workers or (workers.fitting() if options.scale == "small" else 1)
  hands = workers.Workers(count, output) if count > 1 else workers.Here()
  return run(names, scale, output, hands=hands, data_flags=data_flags)


def run(names, scale, output, *, modules=None, hands=None, data_flags=()):
  """The same of any `Scale`; a report is written each time that another experiment can be shown.

  It shows those that were not asked for, too, once their measurements are there: `modules` of them all (`MODULES`).
  """
  modules, hands = modules or MODULES, hands or workers.Here()
  tasks = {name: workshop.needed(modules[name].needs(scale)) for name in modules}
  wanted = list(dict.fromkeys(task for name in names for task in tasks[name]))
  shop, sections = workshop.Workshop(wanted, output, data_flags=data_flags), {}

  def show():
    found = [name for name in modules if name not in sections and all(map(shop.done, tasks[name]))]
    sections.update((name, modules[name].show(scale, output)) for name in found)
    if found:
      report.write(output, scale, {name: (sections[name], tasks[name]) for name in modules if name in sections})

  try:
    with signals.raised():
      if all(map(shop.done, wanted)):
        show()
      else:
        with hands:
          for _ in shop.work(hands):
            show()
  except workshop.Stopped as stopped:
    return stopped.status
  except KeyboardInterrupt as stopped:  # `signals.Stopped`, or a training's own if it was asked twice.
    print("stopped; the same command goes on")
    return getattr(stopped, "status", 128 + signal.SIGINT)
  print(f"wrote {output / report.HTML} and {output / report.JSON}")
  return 0
