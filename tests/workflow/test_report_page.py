"""The report of the smoke run, read in a real browser that is offline."""

import io as bytes_io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.browser.fixtures import url
from tubepet import io

pytestmark = pytest.mark.workflow


def download(tab, selector: str, folder) -> bytes:
    with tab.expect_download() as waiting:
        tab.click(selector)
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path.read_bytes()


def opened(smoke, tab):
    """Open the report; return its file. The viewer has painted when it is ready."""
    path = smoke / "results/report.html"
    tab.goto(url(path))
    tab.wait_for_selector("body[data-ready]")
    return path


def unfold(tab) -> None:
    """Open what is folded away, by keyboard."""
    for summary in tab.locator("summary").all():
        summary.focus()
        tab.keyboard.press("Enter")


def test_the_report_is_light_and_opens_in_three_seconds(smoke, tab):
    assert opened(smoke, tab).stat().st_size < 15e6
    assert tab.evaluate("performance.getEntriesByName('ready')[0].startTime") < 3000


def test_the_verdict_comes_first(smoke, tab):
    opened(smoke, tab)
    heads = tab.locator("h2").all_inner_texts()
    assert heads[0] == "Verdict" and heads[-1] == "Loss curves"
    found = tab.inner_text("#found")
    assert "false-call rate" in found and "set for 0.01" in found
    assert tab.locator("#plot-found").bounding_box()["y"] < 900  # on the first screen
    assert "reconstructed over true activity" in tab.inner_text("#short")
    caveats = tab.inner_text("#caveats + .caveats")
    assert "stand-in" in caveats and "GATE's Geant4 tables" in caveats
    # each stands in its chapter too, but for those of the verdict
    for link in tab.locator("#caveats + .caveats a").all():
        sentence = link.locator("..").inner_text().removesuffix(link.inner_text()).strip()
        chapter = tab.locator(f"{link.get_attribute('href')} ~ .caveats").all_inner_texts()
        assert any(sentence in text for text in chapter), sentence


def test_table_1_has_five_numbers_and_names(smoke, tab):
    opened(smoke, tab)
    heads = tab.locator("table.table1").first.locator("th").all_inner_texts()
    assert len(heads) == 6 and all(set("↑↓→") & set(head) for head in heads[1:])
    rows = tab.locator("table.table1").first.locator("td:first-child").all_inner_texts()
    assert "perfect copier" in rows and not any("real" in row for row in rows)
    assert not tab.locator("table.table1").nth(1).is_visible()
    assert not tab.locator("#plot-pretraining").is_visible()
    unfold(tab)
    assert tab.locator("table.table1").nth(1).is_visible()
    assert "Fréchet distance ↓" in tab.locator("dl").first.inner_text()
    assert "median of 20 draws" in tab.inner_text("#generators ~ figure:has(table) h3")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_is_accessible_and_fits_a_phone(smoke, tab, serious_findings, scheme):
    tab.emulate_media(color_scheme=scheme)
    tab.set_viewport_size({"width": 390, "height": 800})
    opened(smoke, tab)
    unfold(tab)
    assert serious_findings(tab) == []
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
    tab.set_viewport_size({"width": 1280, "height": 800})
    assert serious_findings(tab) == []


def test_the_contents_say_where_one_is(smoke, tab):
    opened(smoke, tab)
    assert tab.locator("nav a[aria-current]").all_inner_texts() == ["Verdict"]
    tab.click("nav a[href='#physics']")
    tab.wait_for_selector("nav a[href='#physics'][aria-current]")
    assert tab.locator("nav a[aria-current]").count() == 1
    targets = [link.get_attribute("href") for link in tab.locator("nav a").all()]
    assert [f"#{head.get_attribute('id')}" for head in tab.locator("h2").all()] == targets


def test_every_tube_can_be_looked_at_by_keyboard(smoke, tab, tmp_path):
    opened(smoke, tab)
    tubes = tab.locator("#tube option").all_inner_texts()
    assert tubes == ["tube_0000", "tube_0001"]
    tab.focus("#tube")
    tab.keyboard.press("End")
    tab.wait_for_selector("body[data-ready=tube_0001]")
    assert "elliptical, pit of 4.1 mm; verdict: " in tab.inner_text("#about")
    assert tab.inner_text("#ticks-short").split()[-1] == "Bq/mm³"
    picture = "document.querySelector('#view-short').toDataURL()"
    before = tab.inner_text("#place-out"), tab.evaluate(picture)
    tab.focus("#place")
    tab.keyboard.press("ArrowRight")
    after = tab.inner_text("#place-out"), tab.evaluate(picture)
    assert before[0] != after[0] and before[1] != after[1]
    image = io.read_volume(smoke / "results/reconstruct/tube_0001/image.nii.gz")
    for cut, axis in (("xy", 0), ("xz", 1)):
        tab.select_option("#cut", cut)
        shown = pd.read_csv(bytes_io.BytesIO(download(tab, "[data-view=csv]", tmp_path)))
        place_mm = float(tab.inner_text("#place-out").split()[2])
        axes = dict(zip("zyx", image.grid.axes_mm(), strict=True))
        index = {"zy"[axis]: np.full(len(shown), np.abs(axes["zy"[axis]] - place_mm).argmin())}
        for name in (cut[0], cut[1]):
            index[name] = np.searchsorted(axes[name], shown[f"{name}_mm"] - 1e-6)
        expected = image.array[tuple(index[name].astype(int) for name in "zyx")]
        top = max(image.array.max(), reference(smoke).max())
        np.testing.assert_allclose(shown["short_bq_mm3"], expected, atol=top / 500)
        assert set(shown["material"]) <= {0, 1, 2}
    with Image.open(bytes_io.BytesIO(download(tab, "[data-view=png]", tmp_path))) as picture:
        assert np.asarray(picture.convert("L")).std() > 1


def reference(smoke):
    return io.read_volume(smoke / "results/reconstruct/tube_0001/reference.nii.gz").array


def test_figures_come_with_pictures_and_numbers(smoke, tab, tmp_path):
    opened(smoke, tab)
    unfold(tab)
    # every chart is drawn when its turn comes
    charts = tab.locator(".plot")
    for i in range(charts.count()):
        charts.nth(i).scroll_into_view_if_needed()
        charts.nth(i).locator(".main-svg").first.wait_for()
    assert charts.count() >= 10

    table = pd.read_csv(bytes_io.BytesIO(download(tab, "[data-csv=recovery]", tmp_path)))
    truth = io.read_json(smoke / "results/phantom/tube_0000/truth.json")
    assert table["true_bq"][0] == pytest.approx(truth["activity_total_bq"])
    with Image.open(bytes_io.BytesIO(download(tab, "[data-png=recovery]", tmp_path))) as picture:
        assert picture.format == "PNG" and np.asarray(picture.convert("L")).std() > 1

    # every figure can be saved as a picture and as numbers, pictures from the PNG itself
    figures = tab.locator("figure:has(.plot), figure:has(img)")
    for i in range(figures.count()):
        buttons = " ".join(figures.nth(i).locator("button").all_inner_texts())
        assert buttons == "PNG CSV", figures.nth(i).inner_text()
    pixels = pd.read_csv(
        bytes_io.BytesIO(download(tab, "[data-numbers=evaluate_figure2\\.png]", tmp_path))
    )
    first = pixels[pixels["panel"].str.contains("vae 1")]
    sample = io.read_array(smoke / "results/generate/vae/samples.npy")[0]
    # three digits: half of the last one
    np.testing.assert_allclose(first["value"], sample.ravel(), rtol=0.0051, atol=1e-9)


def test_the_report_prints_in_dark_ink_with_all_that_is_folded(smoke, tab):
    tab.emulate_media(color_scheme="dark")
    opened(smoke, tab)
    assert tab.pdf(format="A4").startswith(b"%PDF")
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.locator("details:not([open])").count() == 0
    tab.locator("#plot-found text").first.wait_for()
    ink = "getComputedStyle(document.querySelector('#plot-found .xtitle')).fill"
    assert tab.evaluate(ink) == "rgb(26, 26, 26)"
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    assert tab.evaluate(ink) == tab.evaluate("getComputedStyle(document.body).color")
