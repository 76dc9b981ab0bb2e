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


def test_the_report_reads_well_offline(smoke, tab, serious_findings, tmp_path):
    path = smoke / "results/report.html"
    assert path.stat().st_size < 15e6
    tab.goto(url(path))
    tab.wait_for_selector("body[data-ready]")
    first = tab.inner_text("#first")
    assert "stand-in" in first and "GATE's Geant4 tables" in first
    assert serious_findings(tab) == []

    # every chart is drawn when its turn comes, and none says that it has no unit
    charts = tab.locator(".plot")
    for i in range(charts.count()):
        charts.nth(i).scroll_into_view_if_needed()
        charts.nth(i).locator(".main-svg").first.wait_for()
    assert charts.count() >= 10

    # the slice viewer, by keyboard alone
    tab.focus("#z")
    before = (
        tab.inner_text("#z-out"),
        tab.evaluate("document.querySelector('#view-image').toDataURL()"),
    )
    tab.keyboard.press("ArrowRight")
    after = (
        tab.inner_text("#z-out"),
        tab.evaluate("document.querySelector('#view-image').toDataURL()"),
    )
    assert before[0] != after[0] and before[1] != after[1]
    shown = pd.read_csv(bytes_io.BytesIO(download(tab, "#view-csv", tmp_path)))
    image = io.read_volume(smoke / "results/reconstruct/tube_0000/image.nii.gz")
    i_z = int(tab.input_value("#z"))
    np.testing.assert_allclose(
        shown["mlem_bq_mm3"].to_numpy().reshape(image.array.shape[1:]),
        image.array[i_z],
        atol=image.array.max() / 20000,  # 16 bits of the brightest of three volumes, two decimals
    )
    assert set(shown["material"]) <= {0, 1, 2}

    # the numbers and the picture of a chart
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

    # what is folded away opens by keyboard, and for printing
    tab.focus("summary")
    tab.keyboard.press("Enter")
    assert tab.locator("details dl").is_visible()
    assert "Each is the median of 20 draws" in tab.inner_text("details p")
    assert "reconstructed over true activity" in tab.inner_text("#short + ul")

    assert tab.pdf(format="A4").startswith(b"%PDF")
