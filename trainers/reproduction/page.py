"""HTML of the parts of the report. Text and captions are escaped."""

from collections.abc import Iterable
from collections.abc import Sequence
import html

from trainers.reproduction import claims as claims_lib
from trainers.reproduction import records
from trainers.reproduction import sections

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; color: #1d2327;
  background: #f6f6f3; margin: 0; }
main { max-width: 1040px; margin: 0 auto; padding: 32px 24px 80px; }
h1 { font-size: 1.9rem; margin: 0 0 4px; } h2 { font-size: 1.3rem; margin: 0 0 8px; }
section { background: #fff; border: 1px solid #e3e3dd; border-radius: 10px; padding: 22px 26px;
  margin: 22px 0; overflow-x: auto; }
figure { margin: 16px 0; } img { max-width: 100%; height: auto; }
.about, figcaption, caption, .how { color: #5c666e; }
figcaption, caption, .how { font-size: 0.86rem; }
nav a { margin-right: 12px; } a { color: #2f6f9f; }
table { border-collapse: collapse; margin: 14px 0; font-size: 0.92rem;
  font-variant-numeric: tabular-nums; }
caption { caption-side: bottom; text-align: left; padding-top: 6px; }
th, td { padding: 5px 14px 5px 0; text-align: left; border-bottom: 1px solid #ecece6;
  vertical-align: top; }
th { border-bottom: 2px solid #cfcfc7; font-weight: 600; }
td.number, th.number { text-align: right; }
img.pixelated { image-rendering: pixelated; min-width: 360px; }
.verdict { display: inline-block; border-radius: 99px; padding: 0 10px; font-size: 0.85rem;
  font-weight: 600; }
.holds { background: #dcefdc; color: #1e5a2a; } .fails { background: #f8dcd6; color: #8b2a17; }
.undecided { background: #ecebe4; color: #57544a; }
details { margin: 10px 0 0; } summary { cursor: pointer; color: #5c666e; }
pre { background: #f6f6f3; padding: 12px; overflow-x: auto; font-size: 0.8rem; border-radius: 6px; }
"""


def escape(value: object) -> str:
  """Returns a value's text with the special characters of HTML escaped."""
  return html.escape(str(value))


def document(title: str, body: str) -> str:
  """Returns a whole page.

  Args:
    title: the title, as text.
    body: the content, as HTML.
  """
  return (
    '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    f'<meta name="viewport" content="width=device-width">\n<title>{escape(title)}</title>\n'
    f"<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
  )


def figure(content: sections.Figure) -> str:
  """Returns a figure with its caption."""
  kind = ' class="pixelated"' if content.pixelated else ""
  return (
    f'<figure><img{kind} src="{escape(content.data_uri)}" alt="{escape(content.caption)}">'
    f"<figcaption>{escape(content.caption)}</figcaption></figure>"
  )


def table(content: sections.Table) -> str:
  """Returns a table with its caption. Columns with numbers are aligned to the right."""
  kinds = [
    ' class="number"' if any(isinstance(row[i], (int, float)) for row in content.rows) else ""
    for i in range(len(content.columns))
  ]
  head = "".join(f"<th{kind}>{escape(name)}</th>" for kind, name in zip(kinds, content.columns))
  rows = [
    "".join(f"<td{kind}>{_cell(value, content.digits)}</td>" for kind, value in zip(kinds, row))
    for row in content.rows
  ]
  body = "".join(f"<tr>{row}</tr>\n" for row in rows)
  return (
    f"<table><caption>{escape(content.caption)}</caption><thead><tr>{head}</tr></thead>\n"
    f"<tbody>{body}</tbody></table>"
  )


def _cell(value: str | int | float | None, digits: int) -> str:
  """Returns a cell's content; a dash for None."""
  if value is None:
    return "–"
  return _decimal(value, f".{digits}f") if isinstance(value, float) else escape(value)


def claims_table(claims: Iterable[claims_lib.Claim]) -> str:
  """Returns a table of claims in the order of their numbers, with one row for each part."""
  rows = []
  for claim in sorted(claims, key=lambda claim: claim.number):
    rows.append(
      f"<tr><th>{claim.number}</th><th>{escape(claim.statement)}</th><th></th><th></th>"
      f"<th>{verdict(claim.verdict)}</th></tr>"
    )
    rows += map(_part, claim.parts)
  columns = (
    "claim",
    "quantity, which is positive if the claim holds",
    "estimate",
    "95% interval",
    "verdict",
  )
  head = "".join(f"<th>{name}</th>" for name in columns)
  caption = (
    "The intervals are Student's t intervals over the seeds. A seed changes the training and the "
    "noise of the evaluation; the training data and the test images stay the same. Where two "
    "models are compared, the interval is that of the differences between models of the same "
    "seed. A claim of several parts holds if all of its parts hold, and fails if one of them "
    "fails. The intervals are those of single parts, so that a claim of many parts is more likely "
    "to fail by chance. A verdict is "
    f"“{escape(claims_lib.UNDECIDED)}” where the interval contains 0, or where there are fewer "
    "than three seeds."
  )
  return (
    f"<table><thead><tr>{head}</tr></thead>\n<tbody>{''.join(rows)}</tbody>"
    f"<caption>{caption}</caption></table>"
  )


def _part(part: claims_lib.Part) -> str:
  """Returns the table row of one part of a claim."""
  noun = "value" if len(part.values) == 1 else "values"
  values = f"; {len(part.values)} {noun}: {', '.join(map(_number, part.values))}"
  return (
    f'<tr><td></td><td>{escape(part.statement)}<div class="how">{escape(part.how)}'
    f"{values if part.values else ''}</div></td>"
    f'<td class="number">{_number(part.estimate)}</td><td class="number">{_interval(part)}</td>'
    f"<td>{verdict(part.verdict)}</td></tr>"
  )


def _interval(part: claims_lib.Part) -> str:
  if part.low is None:
    return "–"
  return "exact" if part.is_exact else f"{_number(part.low)} to {_number(part.high)}"


def verdict(text: str) -> str:
  """Returns a verdict as a coloured mark."""
  return f'<span class="verdict {escape(text)}">{escape(text)}</span>'


def _number(value: float | None) -> str:
  """Returns a number with four digits, or without decimals if it is large; a dash for None."""
  return "–" if value is None else _decimal(value, ".4g")


def _decimal(value: float, small: str) -> str:
  """Returns a number in the format `small`, or without decimals from 1,000 on."""
  return format(value, ",.0f" if abs(value) >= 1000 else small)


def commands(lines: Sequence[str], time: records.Time) -> str:
  """Returns command lines in an element that the reader unfolds; nothing where there are none.

  Args:
    lines: the command lines.
    time: how long they took.
  """
  if not lines:
    return ""
  text = "\n".join(map(escape, lines))
  noun = "command" if len(lines) == 1 else "commands"
  took = f"{time.seconds / 60:.1f} minutes" + ("" if time.is_whole else " or more")
  summary = f"{len(lines)} {noun}, which took {took} one after the other"
  return f"<details><summary>{summary}</summary><pre>{text}</pre></details>"
