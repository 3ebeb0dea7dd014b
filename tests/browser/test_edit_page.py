"""The page of the development server: a mask is painted, and a picture is drawn anew below it."""

import pathlib
import shutil

import numpy as np
from PIL import Image
import pytest

import iddpm_tf as iddpm
from tests import small_model
from tests.browser import test_draw_page
from tests.serving import conftest

fixture_model_dir, fixture_models_dir = conftest.fixture_model_dir, conftest.fixture_models_dir
fixture_server, fixture_samplers = conftest.fixture_server, conftest.fixture_samplers
PICTURE = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4


@pytest.fixture(name="model", scope="module")
def fixture_model(models_dir, tmp_path_factory):
  """A guided model that was exported for editing, beside the other one."""
  config = small_model.make_config(label_dropout=0.1, guidance_scale=1.5)
  model = iddpm.load(small_model.write(tmp_path_factory.mktemp("runs") / "guided", config))
  servable = iddpm.ServableConfig(edit=True)
  model.export(models_dir / "guided", samplers="ddim:5", config=servable, progress=False)
  yield model
  shutil.rmtree(models_dir / "guided")


@pytest.fixture(name="opened", autouse=True)
def fixture_opened(page, server, model):
  page.goto(server.url)
  for _ in range(60):  # The server looks for new models.
    page.locator("#model option").first.wait_for(state="attached")
    if page.locator("#model option[value=guided]").count():
      break
    page.wait_for_timeout(1000)
    page.reload()
  page.get_by_label("model").select_option("guided")
  page.get_by_label("class").select_option("4")
  page.get_by_label("images").fill("3")
  yield
  assert page.complaints == []


def choose_picture(page, tmp_path):
  Image.fromarray(PICTURE).save(tmp_path / "picture.png")
  page.locator("#edited").set_input_files(tmp_path / "picture.png")
  page.locator("#editor").wait_for(state="visible")


def paint_lower_half(page):
  """Strokes from left to right with the brush of the page."""
  page.locator("#brush").fill("2")
  page.locator("#editor").scroll_into_view_if_needed()
  box = page.locator("#editor").bounding_box()
  for row in (4.5, 5.5, 6.5, 7.5):
    y = box["y"] + row / 8 * box["height"]
    page.mouse.move(box["x"] + 2, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 2, y, steps=20)
    page.mouse.up()


def draw(page):
  page.get_by_role("button", name="Draw").click()
  page.get_by_text("drawn in").wait_for()
  page.locator("#images img").nth(2).wait_for()
  return test_draw_page.pixels(page, "#images img")


def test_a_mask_is_painted_and_its_pixels_are_drawn(page, model, tmp_path, screenshots):
  choose_picture(page, tmp_path)
  paint_lower_half(page)
  page.locator("#guidance_scale").fill("3")
  page.locator("#strength").fill("0.8")
  path = pathlib.Path(screenshots) / f"edit_{page.viewport_size['width']}.png"
  drawn = draw(page)
  page.screenshot(path=path, full_page=True)
  painted = np.array(page.evaluate("mask")) > 0
  # The brush is round: it also touches the pixels beside the stroke.
  assert np.all(painted[4:]) and not np.any(painted[:3])
  for image in drawn:
    np.testing.assert_array_equal(image[~painted], PICTURE[~painted])
  expected = model.edit(
    PICTURE[..., None],
    masks=painted,
    strength=0.8,
    count=3,
    labels=[4],
    guidance_scale=3.0,
    sampler="ddim:5",
    progress=False,
  )
  assert np.abs(drawn - expected[..., 0].astype(int)).max() <= 1
  assert page.locator("#images figure").first.inner_text() == "before"
  edges = (
    "[...document.querySelectorAll('form, fieldset')].map(x => x.getBoundingClientRect().right)"
  )
  card, field = page.evaluate(edges)
  assert field <= card
  names = []
  page.on("download", lambda download: names.append(download.suggested_filename))
  page.get_by_role("button", name="Download all").click()
  page.wait_for_timeout(1000)
  assert sorted(names) == [f"guided_seed_{i}.png" for i in range(3)]


def test_a_drawn_image_is_edited(page, model):
  first = draw(page)
  sample = model.sample(3, labels=[4], sampler="ddim:5", progress=False)  # With a scale of 1.5.
  assert np.abs(first - sample[..., 0].astype(int)).max() <= 1
  page.get_by_role("button", name="edit").first.click()
  page.locator("#strength").fill("0.4")
  varied = draw(page)
  expected = model.edit(
    first[0][..., None].astype(np.uint8),
    strength=0.4,
    count=3,
    labels=[4],
    sampler="ddim:5",
    progress=False,
  )
  assert np.abs(varied - expected[..., 0].astype(int)).max() <= 1
  page.get_by_role("button", name="Stop editing").click()
  np.testing.assert_array_equal(draw(page), first)


def test_the_images_between_two_pictures_are_drawn(page, model, tmp_path, screenshots):
  choose_picture(page, tmp_path)
  other = np.ascontiguousarray(PICTURE[::-1].T)
  Image.fromarray(other).save(tmp_path / "other.png")
  page.locator("#other").set_input_files(tmp_path / "other.png")
  drawn = draw(page)
  page.screenshot(
    path=pathlib.Path(screenshots) / f"between_{page.viewport_size['width']}.png", full_page=True
  )
  pair = [each[None, ..., None] for each in (PICTURE, other)]
  expected = model.interpolate(*pair, count=3, labels=np.array([4]), steps=5, progress=False)
  assert np.abs(drawn - expected[0, ..., 0].astype(int)).max() <= 1
  captions = page.locator("#images figcaption").all_inner_texts()
  assert [text.removesuffix("edit").strip() for text in captions[1:]] == [
    f"weight {weight}, class 4" for weight in ("0.00", "0.50", "1.00")
  ]


def test_without_a_mask_and_with_full_strength_there_is_nothing_to_edit(page, tmp_path):
  choose_picture(page, tmp_path)
  page.get_by_role("button", name="Draw").click()
  page.get_by_text("Paint the pixels to draw, or choose a strength below 1.").wait_for()
  page.get_by_label("model").select_option("small")
  assert page.locator("#edit_field").is_hidden() and page.locator("#guidance_scale").is_hidden()
