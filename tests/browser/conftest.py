"""Pages in a real browser: Chromium, headless and without a network."""

import os
import shutil

from playwright import sync_api
import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def pytest_addoption(parser):
  parser.addoption(
    "--reproduced", help="folder of a report of trainers.reproduce; unset: a made-up one"
  )
  parser.addoption("--screenshots", help="folder for pictures of the pages; unset: pytest's own")


@pytest.fixture(name="browser", scope="session")
def fixture_browser():
  """Debian's and Ubuntu's `chromium`, or the one that `playwright install chromium` fetched."""
  path = next(filter(None, map(shutil.which, _NAMES)), None)
  with sync_api.sync_playwright() as playwright:
    # Chromium has no sandbox for root.
    browser = playwright.chromium.launch(executable_path=path, chromium_sandbox=os.geteuid() != 0)
    yield browser
    browser.close()


@pytest.fixture(name="page", params=[(1280, 900), (390, 844)], ids=["desk", "phone"])
def fixture_page(browser, request):
  """A page of a size; what it logs as errors, and what it asks a network for, are `page.complaints`."""
  width, height = request.param
  page = browser.new_page(viewport={"width": width, "height": height})
  page.complaints = []
  page.on(
    "console",
    lambda message: page.complaints.append(message.text) if message.type == "error" else None,
  )
  page.on("pageerror", lambda error: page.complaints.append(str(error)))
  page.on(
    "request",
    lambda asked: (
      page.complaints.append(asked.url)
      if not asked.url.startswith(("file:", "data:", "http://127.0.0.1"))
      else None
    ),
  )
  yield page
  page.close()


@pytest.fixture(name="screenshots")
def fixture_screenshots(request, tmp_path):
  """A folder."""
  folder = request.config.getoption("--screenshots") or tmp_path
  os.makedirs(folder, exist_ok=True)
  return folder
