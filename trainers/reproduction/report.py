"""The report: a self-contained HTML page, and the numbers as JSON."""

import json
import pathlib

import iddpm_tf
from iddpm_tf import atomic
from trainers.reproduction import page
from trainers.reproduction import tasks as tasks_lib

HTML, JSON = "report.html", "report.json"


def write(output, scale, shown):
  """Writes both files.

  Args:
    output: the folder of everything.
    scale: a `Scale`.
    shown: {experiment's name: (its `Section`, its tasks)}.
  """
  output = pathlib.Path(output)
  output.mkdir(parents=True, exist_ok=True)
  for name, text in ((HTML, as_html(output, scale, shown)), (JSON, json.dumps(as_json(scale, shown), indent=1) + "\n")):
    with atomic.whole(output / name) as temporary:
      temporary.write_text(text)
  return output / HTML


def as_json(scale, shown):
  """Everything but the pictures."""
  return {
      "scale": scale.name, "version": iddpm_tf.__version__, "seeds": list(scale.seeds),
      "experiments": {name: {
          "title": section.title, "tables": [table._asdict() for table in section.tables],
          "claims": [{"number": claim.number, "statement": claim.statement, "verdict": claim.verdict,
                      "parts": [part._asdict() for part in claim.parts]} for claim in section.claims],
          "tasks": [task.name for task in tasks]} for name, (section, tasks) in shown.items()}}


def as_html(output, scale, shown):
  """The page."""
  # Tables 1 and 2 share theirs where they share models.
  claims = dict.fromkeys(claim for section, _ in shown.values() for claim in section.claims)
  links = " ".join(f'<a href="#{page.escape(name)}">{page.escape(name)}</a>' for name in shown)
  parts = [
      "<h1>Improved Denoising Diffusion Probabilistic Models, reproduced</h1>",
      f'<p class="about">Scale {page.escape(scale.name)}: {page.escape(scale.about)}. Seeds '
      f'{", ".join(map(str, scale.seeds))}. iddpm_tf {page.escape(iddpm_tf.__version__)}.</p><nav>{links}</nav>']
  if claims:
    parts.append(f"<section><h2>Claims of the paper</h2>{page.claims_table(claims)}</section>")
  parts += [_section(output, name, section, tasks) for name, (section, tasks) in shown.items()]
  return page.document(f"iddpm_tf: the paper at scale {scale.name}", "\n".join(parts))


def _section(output, name, section, tasks):
  verdicts = " ".join(f"claim {claim.number} {page.verdict(claim.verdict)}" for claim in section.claims)
  return "\n".join([
      f'<section id="{page.escape(name)}"><h2>{page.escape(section.title)}</h2>',
      f"<p>{page.escape(section.text)}</p>" + (f"<p>{verdicts}</p>" if verdicts else ""),
      *map(page.figure, section.figures), *map(page.table, section.tables),
      page.commands([tasks_lib.shown(task, output) for task in tasks]), "</section>"])
