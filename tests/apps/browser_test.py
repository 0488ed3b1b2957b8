"""The pages in a real browser: no console errors, all images load."""

import shutil

import pytest
import serve_test

from dsh_jax import report

webdriver = pytest.importorskip(
  "selenium.webdriver", reason="selenium is not installed"
)
ui = pytest.importorskip("selenium.webdriver.support.ui")
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
  not (BROWSER and DRIVER),
  reason="no Chromium with chromedriver is installed",
)


@pytest.fixture(scope="module")
def browser():
  """A headless browser."""
  options = webdriver.ChromeOptions()
  options.binary_location = BROWSER
  for flag in ("--headless", "--no-sandbox", "--disable-gpu"):
    options.add_argument(flag)
  options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
  service = webdriver.ChromeService(executable_path=DRIVER)
  driver = webdriver.Chrome(options=options, service=service)
  yield driver
  driver.quit()


def check(browser, width, scheme):
  """Check for console errors, missing images and horizontal overflow."""
  browser.execute_cdp_cmd(
    "Emulation.setDeviceMetricsOverride",
    {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": True},
  )
  browser.execute_cdp_cmd(
    "Emulation.setEmulatedMedia",
    {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
  )
  browser.refresh()
  images = browser.execute_async_script("""
    const done = arguments[0], images = [...document.images];
    images.forEach(image => { image.loading = "eager"; });
    Promise.allSettled(images.map(image => image.decode())).then(
      all => done(all.map(one => one.status)));""")
  assert images and set(images) == {"fulfilled"}
  assert browser.get_log("browser") == []
  wide = browser.execute_script("return document.documentElement.scrollWidth")
  assert wide <= width
  colours = browser.execute_script("""
    const style = getComputedStyle(document.body);
    return [style.color, style.backgroundColor].map(
      colour => colour.match(/\\d+/g).slice(0, 3).map(Number)
        .reduce((a, b) => a + b) / 3);""")
  ink, back = colours
  assert abs(ink - back) > 150
  assert (ink > back) == (scheme == "dark")


def drop(browser, field, path):
  """Drop a file onto a field as from a file manager."""
  place = browser.execute_script(
    """const box = document.querySelector(arguments[0]).getBoundingClientRect();
    return [box.x + box.width / 2, box.y + box.height / 2];""",
    field,
  )
  for kind in ("dragEnter", "dragOver", "drop"):
    browser.execute_cdp_cmd(
      "Input.dispatchDragEvent",
      {
        "type": kind,
        "x": place[0],
        "y": place[1],
        "data": {"items": [], "files": [str(path)], "dragOperationsMask": 1},
      },
    )


@pytest.mark.parametrize(
  "width, scheme", [(360, "light"), (1300, "light"), (360, "dark")]
)
def test_the_report(browser, command, tmp_path_factory, width, scheme):
  path = tmp_path_factory.getbasetemp() / "browser.html"
  if not path.exists():
    with pytest.MonkeyPatch.context() as patch:
      patch.setenv("XDG_CACHE_HOME", command.environment["XDG_CACHE_HOME"])
      report.write([str(command.finished[0])], str(path))
  browser.get(path.as_uri())
  check(browser, width, scheme)
  figures = browser.execute_script("""
    return [...document.querySelectorAll("figure > svg")].map(
      svg => svg.getBoundingClientRect()).map(box => [box.width, box.height]);
  """)
  assert len(figures) == 11
  assert all(w > 250 and 150 < h < 700 for w, h in figures)
  picture = browser.find_element("css selector", ".tile img")
  small = picture.size["width"]
  picture.click()
  assert picture.size["width"] > 2 * small
  assert picture.size["width"] <= width
  picture.click()
  assert picture.size["width"] == small


def test_the_search_page(browser, command, tmp_path):
  index = command.finished[0] / "codes.npz"
  wait = ui.WebDriverWait(browser, 30)
  with serve_test.started(command, index) as address:
    picture = tmp_path / "query.png"
    picture.write_bytes(serve_test.ask(address, "/picture/7")[2])
    browser.get(address)
    check(browser, 360, "dark")
    field = browser.find_element("css selector", "input[type=file]")
    field.send_keys(str(picture))
    browser.find_element("css selector", "button").click()
    wait.until(lambda page: "query.png" in page.title)
    found = browser.find_elements("css selector", "a.hit")
    assert len(found) == 24 and "distance 0" in found[0].text
    found[2].click()
    wait.until(lambda page: "/similar/" in page.current_url)
    check(browser, 1300, "light")
    drop(browser, "input[type=file]", picture)
    browser.find_element("css selector", "button").click()
    wait.until(lambda page: "query.png" in page.title)
    browser.find_element("link text", "Next").click()
    wait.until(lambda page: "/code/" in page.current_url)
    check(browser, 360, "light")
    browser.find_element("name", "label").send_keys("3\n")
    wait.until(lambda page: "/find?" in page.current_url)
    check(browser, 1300, "dark")
