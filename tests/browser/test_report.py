"""The report of `trainers.reproduce`, as a reader sees it."""

import io
import json
import pathlib

import numpy as np
from PIL import Image
import pytest

from tests.trainers.reproduction import synthetic_results
from trainers.reproduction import executors
from trainers.reproduction import experiments
from trainers.reproduction import report
from trainers.reproduction import run

BACKGROUND = (246, 246, 243)


@pytest.fixture(name="folder", scope="session")
def fixture_folder(request, tmp_path_factory):
  """The output folder of `--reproduced`, or one with synthetic results."""
  if given := request.config.getoption("--reproduced"):
    return pathlib.Path(given)
  output = tmp_path_factory.mktemp("reproduced")
  status = run.run(
    experiments.names(),
    synthetic_results.SMALL,
    output,
    make_executor=lambda tasks: executors.InProcess(synthetic_results.run_command),
  )
  assert status == 0
  return output


@pytest.fixture(autouse=True)
def fixture_opened(page, folder):
  """Opens the report without a network."""
  page.context.set_offline(True)
  page.goto((folder / report.HTML).absolute().as_uri())
  yield
  assert not page.complaints


def test_all_pictures_are_shown_and_nothing_is_wider_than_the_window(page, folder, screenshots):
  pictures = page.evaluate(
    "[...document.images].map(i => [i.complete, i.naturalWidth, i.clientWidth, i.alt])"
  )
  assert len(pictures) > 5
  assert all(
    complete and natural > 0 and shown > 0 and alt for complete, natural, shown, alt in pictures
  )
  assert page.evaluate(
    "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
  )
  path = pathlib.Path(screenshots) / f"report_{page.viewport_size['width']}.png"
  page.screenshot(path=path, full_page=True)
  image = np.asarray(Image.open(path).convert("RGB"))
  # The page is drawn from top to bottom: each tenth of it is partly not background.
  drawn = np.any(image != BACKGROUND, axis=-1)
  assert image.shape[1] == page.viewport_size["width"] and len(image) > 5000
  assert all(part.mean() > 0.2 for part in np.array_split(drawn, 10))


def test_all_claims_come_first_with_their_verdicts(page, folder):
  """The page shows the claims of the JSON file, those that fail included, in their colours."""
  content = json.loads((folder / report.JSON).read_text())["experiments"]
  verdicts = {
    claim["number"]: claim["verdict"] for section in content.values() for claim in section["claims"]
  }
  rows = page.locator("section").first.locator("tr", has=page.locator("th .verdict")).all()
  shown = {
    int(row.locator("th").first.inner_text()): row.locator(".verdict").inner_text() for row in rows
  }
  assert shown == verdicts
  for verdict, colour in (("holds", "rgb(220, 239, 220)"), ("fails", "rgb(248, 220, 214)")):
    for mark in page.locator(f".verdict.{verdict}").all():
      assert mark.is_visible() and mark.inner_text() == verdict
      assert mark.evaluate("mark => getComputedStyle(mark).backgroundColor") == colour


def test_links_lead_to_sections_and_commands_unfold(page, folder):
  for name in json.loads((folder / report.JSON).read_text())["experiments"]:
    page.locator(f'nav a[href="#{name}"]').click()
    section = page.locator(f"section#{name}")
    top = section.evaluate("section => section.getBoundingClientRect().top")
    assert top < page.viewport_size["height"]
    for details in section.locator("details").all():
      assert not details.locator("pre").is_visible()
      details.locator("summary").click()
      assert "python -m trainers." in details.locator("pre").inner_text()


def test_small_images_are_enlarged_without_blur(page):
  grids = page.locator("img.pixelated")
  assert grids.count() > 0
  grid = grids.first
  assert grid.evaluate("image => getComputedStyle(image).imageRendering") == "pixelated"
  grid.scroll_into_view_if_needed()
  shown = np.asarray(Image.open(io.BytesIO(grid.screenshot())))
  assert shown.shape[1] >= 300
