"""The report: a self-contained HTML page, and the numbers as JSON."""

import json
import pathlib

import iddpm_tf
from iddpm_tf.utils import files
from trainers.reproduction import page

HTML, JSON = "report.html", "report.json"


def write(output, scale, shown, commands, unjudged):
  """Writes both files; the path of the page.

  Args:
    output: the folder of everything.
    scale: a `Scale`.
    shown: {experiment's name: its `Section`}.
    commands: {experiment's name: the command lines that it took}.
    unjudged: {claim's number: names of the experiments that will judge it}.
  """
  output = pathlib.Path(output)
  output.mkdir(parents=True, exist_ok=True)
  for name, text in (
    (HTML, as_html(scale, shown, commands, unjudged)),
    (JSON, json.dumps(as_json(scale, shown, commands, unjudged), indent=1) + "\n"),
  ):
    with files.whole(output / name) as temporary:
      temporary.write_text(text)
  return output / HTML


def as_json(scale, shown, commands, unjudged):
  """Everything but the pictures."""
  return {
    "scale": scale.name,
    "version": iddpm_tf.__version__,
    "seeds": list(scale.seeds),
    "claims_not_judged_yet": unjudged,
    "experiments": {
      name: {
        "title": section.title,
        "tables": [table._asdict() for table in section.tables],
        "claims": [
          {
            "number": claim.number,
            "statement": claim.statement,
            "verdict": claim.verdict,
            "parts": [part._asdict() for part in claim.parts],
          }
          for claim in section.claims
        ],
        "commands": commands[name],
      }
      for name, section in shown.items()
    },
  }


def as_html(scale, shown, commands, unjudged):
  """The page."""
  # Tables 1 and 2 share theirs where they share models.
  claims = dict.fromkeys(claim for section in shown.values() for claim in section.claims)
  links = " ".join(f'<a href="#{page.escape(name)}">{page.escape(name)}</a>' for name in shown)
  parts = [
    "<h1>Improved Denoising Diffusion Probabilistic Models, reproduced</h1>",
    f'<p class="about">Scale {page.escape(scale.name)}: {page.escape(scale.about)}. Seeds '
    f"{', '.join(map(str, scale.seeds))}. iddpm_tf {page.escape(iddpm_tf.__version__)}.</p><nav>{links}</nav>",
  ]
  parts.append(
    f"<section><h2>Claims of the paper</h2>{page.claims_table(claims)}{_unjudged(unjudged)}</section>"
  )
  parts += [_section(name, section, commands[name]) for name, section in shown.items()]
  return page.document(f"iddpm_tf: the paper at scale {scale.name}", "\n".join(parts))


def _unjudged(unjudged):
  if not unjudged:
    return ""
  said = "; ".join(
    f"claim {number} ({' or '.join(names)})" for number, names in sorted(unjudged.items())
  )
  return f"<p>Not judged yet: {page.escape(said)}.</p>"


def _section(name, section, lines):
  verdicts = " ".join(
    f"claim {claim.number} {page.verdict(claim.verdict)}" for claim in section.claims
  )
  return "\n".join(
    [
      f'<section id="{page.escape(name)}"><h2>{page.escape(section.title)}</h2>',
      f"<p>{page.escape(section.text)}</p>" + (f"<p>{verdicts}</p>" if verdicts else ""),
      *map(page.figure, section.figures),
      *map(page.table, section.tables),
      page.commands(lines),
      "</section>",
    ]
  )
