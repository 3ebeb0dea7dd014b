"""HTML of the parts of a report; everything that comes from elsewhere is escaped."""

import html

from trainers.reproduction import claims as claims_lib

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; color: #1d2327; background: #f6f6f3;
  margin: 0; }
main { max-width: 1040px; margin: 0 auto; padding: 32px 24px 80px; }
h1 { font-size: 1.9rem; margin: 0 0 4px; } h2 { font-size: 1.3rem; margin: 0 0 8px; }
section { background: #fff; border: 1px solid #e3e3dd; border-radius: 10px; padding: 22px 26px; margin: 22px 0;
  overflow-x: auto; }
figure { margin: 16px 0; } img { max-width: 100%; height: auto; }
.about, figcaption, caption, .how { color: #5c666e; } figcaption, caption, .how { font-size: 0.86rem; }
nav a { margin-right: 12px; } a { color: #2f6f9f; }
table { border-collapse: collapse; margin: 14px 0; font-size: 0.92rem; font-variant-numeric: tabular-nums; }
caption { caption-side: bottom; text-align: left; padding-top: 6px; }
th, td { padding: 5px 14px 5px 0; text-align: left; border-bottom: 1px solid #ecece6; vertical-align: top; }
th { border-bottom: 2px solid #cfcfc7; font-weight: 600; } td.number, th.number { text-align: right; }
img.pixelated { image-rendering: pixelated; min-width: 360px; }
.verdict { display: inline-block; border-radius: 99px; padding: 0 10px; font-size: 0.85rem; font-weight: 600; }
.holds { background: #dcefdc; color: #1e5a2a; } .fails { background: #f8dcd6; color: #8b2a17; }
.undecided { background: #ecebe4; color: #57544a; }
details { margin: 10px 0 0; } summary { cursor: pointer; color: #5c666e; }
pre { background: #f6f6f3; padding: 12px; overflow-x: auto; font-size: 0.8rem; border-radius: 6px; }
"""


def escape(value):
  return html.escape(str(value))


def document(title, body):
  """A whole page."""
  return (
    f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    f'<meta name="viewport" content="width=device-width">\n<title>{escape(title)}</title>\n'
    f"<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
  )


def figure(shown):
  """Of a `sections.Figure`."""
  kind = ' class="pixelated"' if shown.pixelated else ""
  return (
    f'<figure><img{kind} src="{escape(shown.data_uri)}" alt="{escape(shown.caption)}">'
    f"<figcaption>{escape(shown.caption)}</figcaption></figure>"
  )


def table(shown):
  """Of a `sections.Table`."""
  numeric = [
    any(isinstance(row[i], (int, float)) for row in shown.rows) for i in range(len(shown.columns))
  ]
  kinds = [' class="number"' if number else "" for number in numeric]
  head = "".join(f"<th{kind}>{escape(name)}</th>" for kind, name in zip(kinds, shown.columns))
  rows = "".join(
    "<tr>"
    + "".join(f"<td{kind}>{cell(value, shown.digits)}</td>" for kind, value in zip(kinds, row))
    + "</tr>\n"
    for row in shown.rows
  )
  return (
    f"<table><caption>{escape(shown.caption)}</caption><thead><tr>{head}</tr></thead>\n"
    f"<tbody>{rows}</tbody></table>"
  )


def cell(value, digits):
  """A string as it is, a number to so many digits, nothing as a dash."""
  if value is None:
    return "–"
  return f"{value:.{digits}f}" if isinstance(value, float) else escape(value)


def claims_table(claims):
  """Of `claims.Claim`s, each part a row."""
  rows = []
  for claim in sorted(claims, key=lambda claim: claim.number):
    rows.append(
      f"<tr><th>{claim.number}</th><th>{escape(claim.statement)}</th><th></th><th></th>"
      f"<th>{verdict(claim.verdict)}</th></tr>"
    )
    for part in claim.parts:
      interval = _interval(part)
      rows.append(
        f'<tr><td></td><td>{escape(part.statement)}<div class="how">{escape(part.how)}; '
        f"{len(part.values)} value{'s' * (len(part.values) != 1)}: {', '.join(map(number, part.values))}</div></td>"
        f'<td class="number">{number(part.estimate)}</td><td class="number">{interval}</td>'
        f"<td>{verdict(part.verdict)}</td></tr>"
      )
  head = "<th>claim</th><th>what is positive if it holds</th><th>estimate</th><th>95% interval</th><th>verdict</th>"
  return (
    f"<table><thead><tr>{head}</tr></thead>\n<tbody>{''.join(rows)}</tbody><caption>Intervals are Student's t "
    "over seeds (of training and of the noise of measurements; the data and the test images are the same), of the "
    "differences within each seed where two models are compared; a claim of several parts holds if all of them do. "
    f"{escape(claims_lib.UNDECIDED)}: the interval contains 0, or there are fewer than "
    "three seeds.</caption></table>"
  )


def _interval(part):
  if part.low is None:
    return "–"
  return "exact" if part.is_exact else f"{number(part.low)} to {number(part.high)}"


def verdict(text):
  return f'<span class="verdict {escape(text)}">{escape(text)}</span>'


def number(value):
  """To four significant digits, of a large number the whole part; None as a dash."""
  return "–" if value is None else f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"


def commands(lines):
  """Exact commands, folded."""
  text = "\n".join(map(escape, lines))
  return (
    f"<details><summary>{len(lines)} commands</summary><pre>{text}</pre></details>" if lines else ""
  )
