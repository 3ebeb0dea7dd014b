"""Runs the Python blocks of a page, and writes what they print below them.

  python -m tests.docs.refresh_outputs docs/tour.md runs/digits

The second argument is a trained model of configs/digits.flags. It is copied to runs/digits of a
temporary folder, in which the blocks run. PNG files that they write go to docs/images/PAGE/.
"""

import contextlib
import io
import os
import pathlib
import shutil
import sys
import tempfile
from typing import Any

from tests.docs import code_blocks


def main(page: pathlib.Path, model_dir: pathlib.Path) -> None:
  """Replaces the output blocks of a page."""
  text, origin = page.read_text(), pathlib.Path.cwd()
  namespace: dict[str, Any] = {}
  parts, end = [], 0
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    shutil.copytree(model_dir, folder / "runs" / "digits")
    os.chdir(folder)
    blocks = code_blocks.blocks(text)
    for block, following in zip(blocks, [*blocks[1:], None]):
      if block.language != "python":
        continue
      output = io.StringIO()
      with contextlib.redirect_stdout(output):
        code_blocks.run_python(block, f"line_{block.line}", namespace, folder)
      parts.append(text[end : block.end])
      end = block.end
      if following and following.language == "text" and not text[end : following.start].strip():
        end = following.end
      if output.getvalue():
        parts.append(f"\n\n```text\n{output.getvalue().rstrip()}\n```")
    os.chdir(origin)
    pictures = origin / "docs" / "images" / page.stem
    for picture in folder.glob("*.png"):
      pictures.mkdir(exist_ok=True)
      shutil.copy(picture, pictures)
  page.write_text("".join([*parts, text[end:]]))


if __name__ == "__main__":
  main(pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve())
