"""The work of `trainers.reproduce`: the tasks of experiments, then the report."""

import dataclasses

from trainers.reproduction import report
from trainers.reproduction import scales
from trainers.reproduction import workshop
from trainers.reproduction.experiments import fig1
from trainers.reproduction.experiments import fig10
from trainers.reproduction.experiments import fig13
from trainers.reproduction.experiments import fig15
from trainers.reproduction.experiments import fig16
from trainers.reproduction.experiments import fig2
from trainers.reproduction.experiments import fig3
from trainers.reproduction.experiments import fig4
from trainers.reproduction.experiments import fig5
from trainers.reproduction.experiments import fig6
from trainers.reproduction.experiments import fig7
from trainers.reproduction.experiments import fig8
from trainers.reproduction.experiments import table1
from trainers.reproduction.experiments import table2

MODULES = {
    "fig1": fig1, "fig2": fig2, "fig3": fig3, "fig4": fig4, "fig5": fig5, "fig6": fig6, "fig7": fig7, "fig8": fig8,
    "fig10": fig10, "fig13": fig13, "fig15": fig15, "fig16": fig16, "table1": table1, "table2": table2}


def reproduce(options, output):
  """As `reproduce.Options` say, in the folder `output`; the process's exit status."""
  names = MODULES if options.experiment == "all" else (options.experiment,)
  data_flags = () if options.data_dir is None else (f"--data_dir={options.data_dir}",)
  scale = dataclasses.replace(scales.SCALES[options.scale], features=options.features)
  return run(names, scale, output, data_flags=data_flags)


def run(names, scale, output, *, modules=None, runner=workshop.run_command, data_flags=()):
  """The same of any `Scale`; a report is written after each experiment.

  It shows the others whose measurements are there, too: `modules` of them all (`MODULES`).
  """
  modules = modules or MODULES
  tasks = {name: workshop.needed(modules[name].needs(scale)) for name in modules}
  wanted = list(dict.fromkeys(task for name in names for task in tasks[name]))
  shop, sections = workshop.Workshop(wanted, output, runner=runner, data_flags=data_flags), {}
  try:
    for name in names:
      shop.do(tasks[name])
      for other in modules:
        if other not in sections and (other == name or tasks[other] and all(map(shop.done, tasks[other]))):
          sections[other] = modules[other].show(scale, output)
      path = report.write(output, scale, {other: (sections[other], tasks[other]) for other in modules
                                          if other in sections})
  except workshop.Stopped as stopped:
    return stopped.status
  except KeyboardInterrupt:
    print("stopped; the same command goes on")
    return 130
  print(f"wrote {path} and {path.with_name(report.JSON)}")
  return 0
