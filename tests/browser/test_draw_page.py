"""The page of the development server: a person chooses, draws, and watches."""

import pathlib
import shutil

import numpy as np
from PIL import Image
import pytest

import iddpm_tf as iddpm
from tests import small_model
from tests.serving import conftest

fixture_model_dir, fixture_models_dir = conftest.fixture_model_dir, conftest.fixture_models_dir
fixture_server, fixture_drawn = conftest.fixture_server, conftest.fixture_drawn
fixture_samplers = conftest.fixture_samplers


@pytest.fixture(autouse=True)
def fixture_opened(page, server):
  page.goto(server.url)
  page.locator("#model option").first.wait_for(state="attached")
  yield
  assert page.complaints == []


def pixels(page, selector):
  """Grey values of the pictures shown: [N, H, W]."""
  return np.array(
    page.evaluate(
      """selector => [...document.querySelectorAll(selector)].map(image => {
    const canvas = document.createElement("canvas"), size = [image.naturalWidth || image.width,
    image.naturalHeight || image.height]; [canvas.width, canvas.height] = size;
    canvas.getContext("2d").drawImage(image, 0, 0); const data =
    canvas.getContext("2d").getImageData(0, 0, ...size).data; return Array.from({length: size[1]},
    (_, y) => Array.from({length: size[0]}, (_, x) => data[4 * (y * size[0] + x)]));
  })""",
      selector,
    )
  )


def test_a_class_is_chosen_and_ten_images_are_drawn(page, screenshots):
  page.get_by_label("class").select_option("3")
  page.get_by_label("first seed").fill("20")
  page.get_by_role("button", name="Draw").click()
  page.get_by_text("drawn in").wait_for()
  assert page.locator("#images img").count() == 10
  assert page.locator("#images figcaption").all_inner_texts() == [
    f"seed {20 + i}, class three" for i in range(10)
  ]
  assert page.evaluate(
    "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
  )
  assert len({image.tobytes() for image in pixels(page, "#images img")}) == 10
  if page.viewport_size["width"] > 1100:  # One row.
    tops = page.evaluate("[...document.querySelectorAll('figure')].map(x => x.offsetTop)")
    assert len(set(tops)) == 1
  path = pathlib.Path(screenshots) / f"draw_{page.viewport_size['width']}.png"
  page.screenshot(path=path, full_page=True)
  assert np.asarray(Image.open(path).convert("RGB")).std() > 10


def test_they_are_the_images_of_sample(page, drawn):
  page.get_by_label("sampler").select_option("ddim_5")
  page.get_by_label("images").fill("12")
  page.get_by_role("button", name="Draw").click()
  page.get_by_text("drawn in").wait_for()
  page.locator("#images img").nth(11).wait_for()
  assert np.abs(pixels(page, "#images img") - drawn["ddim_5"][..., 0].astype(int)).max() <= 1


def test_the_time_is_shown_beside_the_estimate(page, screenshots):
  """An export of an earlier version counts no steps. Its answer waits for the test."""
  held = []

  def hold(route):
    held.append(route)

  page.route("**/progress/*", lambda route: route.fulfill(json={"ahead": 0, "step": None}))
  page.route("**/estimate?*", lambda route: route.fulfill(json={"seconds": 600}))
  page.route("**/v1/models/small:predict", hold)
  page.get_by_role("button", name="Draw").click()
  page.get_by_text("s of about 600.0 s, estimated from an earlier request").wait_for()
  bar = page.get_by_label("progress")
  assert bar.is_visible() and 0 < page.locator("#progress").evaluate("bar => bar.value") < 0.1
  page.screenshot(path=pathlib.Path(screenshots) / f"wait_{page.viewport_size['width']}.png")
  held[0].continue_()
  page.get_by_text("drawn in").wait_for()
  assert bar.is_hidden()
  page.unroute("**/estimate?*")
  page.route("**/estimate?*", lambda route: route.fulfill(json={"seconds": None}))
  page.get_by_role("button", name="Draw").click()
  page.get_by_text("drawing … 0.").wait_for()
  assert bar.is_hidden() and "about" not in page.locator("#status").inner_text()
  held[1].continue_()
  page.get_by_text("drawn in").wait_for()


@pytest.fixture(name="slow", scope="module")
def fixture_slow(models_dir, tmp_path_factory):
  """A model of many steps, behind the other one in the list."""
  config = small_model.make_config(diffusion_steps=1000)
  model = iddpm.load(small_model.write(tmp_path_factory.mktemp("runs") / "steps", config))
  model.export(models_dir / "steps", samplers="ddim:1000", progress=False)
  yield
  shutil.rmtree(models_dir / "steps")


def choose_model(page, name):
  """Chooses a model that the server, which looks for new models, has not loaded yet."""
  for _ in range(60):
    page.reload()
    page.locator("#model option").first.wait_for(state="attached")
    if name in page.locator("#model option").all_inner_texts():
      break
    page.wait_for_timeout(1000)
  page.get_by_label("model").select_option(name)


def test_the_steps_are_shown_while_they_are_drawn(page, slow, screenshots):
  choose_model(page, "steps")
  page.get_by_role("button", name="Draw").click()
  seen = []
  for _ in range(2):
    page.get_by_text("of 1000, ").wait_for()
    text = page.locator("#status").inner_text()
    assert text.startswith("drawing … step ")
    seen.append(int(text.split()[3]))
    bar = page.get_by_label("progress").evaluate("bar => bar.value")
    assert page.get_by_label("progress").is_visible() and 0 <= bar < 1
    page.wait_for_timeout(500)
  page.screenshot(path=pathlib.Path(screenshots) / f"steps_{page.viewport_size['width']}.png")
  assert 0 < seen[0] < seen[1] <= 1000
  page.get_by_text("drawn in").wait_for()
  assert page.get_by_label("progress").is_hidden()
  assert page.locator("#images img").count() == 10


def test_a_request_that_waits_says_so(page):
  answer, held = {"ahead": 2}, []

  def hold(route):
    held.append(route)

  page.route("**/progress/*", lambda route: route.fulfill(json=answer))
  page.route("**/v1/models/small:predict", hold)
  page.get_by_role("button", name="Draw").click()
  page.get_by_text("waiting for 2 earlier requests … ").wait_for()
  assert page.get_by_label("progress").is_hidden()
  answer["ahead"] = 1
  page.get_by_text("waiting for 1 earlier request … ").wait_for()
  answer |= {"ahead": 0, "step": 2, "steps": 4}
  page.get_by_text("drawing … step 2 of 4, ").wait_for()
  assert page.locator("#progress").evaluate("bar => bar.value") == 0.25
  held[0].continue_()
  page.get_by_text("drawn in").wait_for()


def test_from_noise_to_the_image(page, drawn):
  page.get_by_label("sampler").select_option("ddim_5")
  page.get_by_role("button", name="From noise to image").click()
  page.locator("#images[data-frame='3']").wait_for()
  assert page.locator("#images canvas").count() == 10
  assert (
    np.abs(pixels(page, "#images canvas") - drawn["ddim_5"][:10, ..., 0].astype(int)).max() <= 1
  )


def test_what_is_refused_is_said(page):
  page.evaluate("document.getElementById('class').append(new Option('99', '99'))")
  page.get_by_label("class").select_option("99")
  page.get_by_role("button", name="Draw").click()
  page.get_by_text("label: expected 0 to 9").wait_for()
  (complaint,) = page.complaints  # Of Chromium itself.
  assert "400" in complaint
  page.complaints.clear()
  page.get_by_label("class").select_option("1")
  page.get_by_role("button", name="Draw").click()
  page.get_by_text("drawn in").wait_for()


def test_the_address_holds_the_settings(page, server):
  page.get_by_label("class").select_option("7")
  page.get_by_label("images").fill("2")
  page.get_by_role("button", name="Random seed").click()
  page.get_by_text("drawn in").wait_for()
  seed, address = page.get_by_label("first seed").input_value(), page.url
  assert int(seed) >= 0 and f"seed={seed}" in address and "class=7" in address
  first = pixels(page, "#images img")
  page.goto("about:blank")
  page.goto(address)
  page.locator("#class option").nth(7).wait_for(state="attached")
  assert page.get_by_label("first seed").input_value() == seed
  page.get_by_role("button", name="Draw").click()
  page.get_by_text("drawn in").wait_for()
  np.testing.assert_array_equal(pixels(page, "#images img"), first)


def test_all_images_are_downloaded(page):
  page.get_by_label("images").fill("2")
  page.get_by_role("button", name="Draw").click()
  page.get_by_text("drawn in").wait_for()
  names = []
  page.on("download", lambda download: names.append(download.suggested_filename))
  page.get_by_role("button", name="Download all").click()
  page.wait_for_timeout(1000)
  assert sorted(names) == ["small_seed_0.png", "small_seed_1.png"]


@pytest.fixture(name="upsampler", scope="module")
def fixture_upsampler(models_dir, tmp_path_factory):
  """A super-resolution model beside the other one."""
  config = small_model.make_config(low_res_size=4, class_conditional=False, num_classes=0)
  model = iddpm.load(small_model.write(tmp_path_factory.mktemp("runs") / "large", config))
  model.export(models_dir / "upsampler", samplers="ddim:2", progress=False)
  yield model
  shutil.rmtree(models_dir / "upsampler")


def test_a_picture_is_enlarged(page, upsampler, tmp_path, screenshots):
  choose_model(page, "upsampler")
  pixels_given = np.arange(16, dtype=np.uint8).reshape(4, 4) * 16
  Image.fromarray(pixels_given).save(tmp_path / "small.png")
  page.get_by_label("image to enlarge").set_input_files(tmp_path / "small.png")
  page.get_by_label("images").fill("2")
  page.get_by_role("button", name="Draw").click()
  page.get_by_text("drawn in").wait_for()
  low_res = np.stack([pixels_given[..., None]] * 2)
  expected = upsampler.sample(2, sampler="ddim:2", low_res=low_res, progress=False)
  assert np.abs(pixels(page, "#images img") - expected[..., 0].astype(int)).max() <= 1
  page.screenshot(path=pathlib.Path(screenshots) / f"enlarge_{page.viewport_size['width']}.png")
