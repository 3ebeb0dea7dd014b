"""The report: a self-contained HTML page, and its numbers as JSON."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import pathlib
from typing import Any

import iddpm_tf
from iddpm_tf.utils import files
from trainers.reproduction import page
from trainers.reproduction import records
from trainers.reproduction import scales
from trainers.reproduction import sections

HTML, JSON = "report.html", "report.json"


@dataclasses.dataclass(frozen=True)
class Entry:
  """What the report holds about one experiment.

  Attributes:
    title: the experiment's title.
    section: what it shows.
    commands: the command lines of its tasks.
    time: how long its tasks took.
  """

  title: str
  section: sections.Section
  commands: Sequence[str]
  time: records.Time


def write(
  output: pathlib.Path,
  scale: scales.Scale,
  entries: Mapping[str, Entry],
  unjudged: Mapping[int, Sequence[str]],
) -> None:
  """Writes the report's two files.

  Args:
    output: the output folder.
    scale: the scale of the experiments.
    entries: `{name of the experiment: its entry}`.
    unjudged: `{number of a claim: names of the experiments that will judge it}`.
  """
  output.mkdir(parents=True, exist_ok=True)
  files.write_text(output / HTML, as_html(scale, entries, unjudged))
  files.write_json(output / JSON, as_json(scale, entries, unjudged), indent=1)


def as_json(
  scale: scales.Scale, entries: Mapping[str, Entry], unjudged: Mapping[int, Sequence[str]]
) -> dict[str, Any]:
  """Returns the content of the JSON file: everything but texts and figures."""
  return {
    "scale": scale.name,
    "version": iddpm_tf.__version__,
    "seeds": list(scale.seeds),
    "further_seeds": {claim: list(seeds) for claim, seeds in scale.further_seeds.items()},
    "precision": scale.precision,
    "features": scale.fid.features,
    "claims_not_judged_yet": unjudged,
    "experiments": {
      name: {
        "title": entry.title,
        "tables": [table._asdict() for table in entry.section.tables],
        "claims": [
          {
            "number": claim.number,
            "statement": claim.statement,
            "verdict": claim.verdict,
            "parts": [part._asdict() for part in claim.parts],
          }
          for claim in entry.section.claims
        ],
        "commands": entry.commands,
        "time": entry.time._asdict(),
      }
      for name, entry in entries.items()
    },
  }


def as_html(
  scale: scales.Scale, entries: Mapping[str, Entry], unjudged: Mapping[int, Sequence[str]]
) -> str:
  """Returns the page. The claims of all experiments come first."""
  # Tables 1 and 2 judge the same claims where they share their models.
  claims = dict.fromkeys(claim for entry in entries.values() for claim in entry.section.claims)
  links = " ".join(f'<a href="#{page.escape(name)}">{page.escape(name)}</a>' for name in entries)
  data = page.escape(scale.likelihood_models.data)
  noun = "Seed" if len(scale.seeds) == 1 else "Seeds"
  seeds = [f"{noun} {', '.join(map(str, scale.seeds))}"]
  for claim, further in scale.further_seeds.items():
    seeds.append(f"parts of claim {claim}: also {', '.join(map(str, further))}")
  return page.document(
    f"iddpm_tf: the paper at scale {scale.name}",
    "\n".join(
      [
        "<h1>Improved Denoising Diffusion Probabilistic Models, reproduced</h1>",
        f'<p class="about">Scale {page.escape(scale.name)}: {data}. '
        f"{'; '.join(seeds)}. iddpm_tf {page.escape(iddpm_tf.__version__)}. "
        f"{page.escape(scale.about)}</p>"
        f"<nav>{links}</nav>",
        f"<section><h2>Claims of the paper</h2>{page.claims_table(claims)}{_unjudged(unjudged)}"
        "</section>",
        *(_section(name, entry) for name, entry in entries.items()),
      ]
    ),
  )


def _unjudged(unjudged: Mapping[int, Sequence[str]]) -> str:
  """Returns a paragraph about the claims whose experiments have not been run."""
  if not unjudged:
    return ""
  claims = "; ".join(
    f"claim {number} ({' or '.join(names)})" for number, names in sorted(unjudged.items())
  )
  return f"<p>Not judged yet: {page.escape(claims)}.</p>"


def _section(name: str, entry: Entry) -> str:
  section = entry.section
  verdicts = " ".join(
    f"claim {claim.number} {page.verdict(claim.verdict)}" for claim in section.claims
  )
  return "\n".join(
    [
      f'<section id="{page.escape(name)}"><h2>{page.escape(entry.title)}</h2>',
      f"<p>{page.escape(section.text)}</p>" + (f"<p>{verdicts}</p>" if verdicts else ""),
      *map(page.figure, section.figures),
      *map(page.table, section.tables),
      page.commands(entry.commands, entry.time),
      "</section>",
    ]
  )
