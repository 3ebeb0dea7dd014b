"""Fixtures for tests of pages in a real browser: Chromium, headless, without a network."""

import os
import shutil

from playwright import sync_api
import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def pytest_addoption(parser):
  parser.addoption(
    "--reproduced",
    help="output folder of trainers.reproduce; unset: a report of synthetic results",
  )
  parser.addoption("--screenshots", help="folder for screenshots; unset: a temporary one")


@pytest.fixture(name="browser", scope="session")
def fixture_browser():
  """Starts the system's Chromium, or the one that `playwright install chromium` fetched."""
  path = next(filter(None, map(shutil.which, _NAMES)), None)
  with sync_api.sync_playwright() as playwright:
    # Chromium cannot use its sandbox as root.
    browser = playwright.chromium.launch(executable_path=path, chromium_sandbox=os.geteuid() != 0)
    yield browser
    browser.close()


@pytest.fixture(name="page", params=[(1280, 900), (390, 844)], ids=["desk", "phone"])
def fixture_page(browser, request):
  """Opens a page of a desk's or a phone's size.

  `page.complaints` lists the errors that it logs and the requests that it sends to a network.
  """
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
  """Returns the folder for screenshots."""
  folder = request.config.getoption("--screenshots") or tmp_path
  os.makedirs(folder, exist_ok=True)
  return folder
