"""Table 1: generated slices, and real training slices, compared with slices of held-out tubes."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from tubepet import io
from tubepet.dataset.slices import Slices
from tubepet.dataset.stack import Stack, by_pieces, whole
from tubepet.errors import InputError
from tubepet.evaluate import distances, imagenet, inception, metrics, similarity, statistics
from tubepet.evaluate.gate import Gate, Set, gate_of
from tubepet.evaluate.imagenet import IMAGENET
from tubepet.evaluate.metrics import InSpace
from tubepet.evaluate.row_names import COPY, FLOOR
from tubepet.evaluate.window import DARK, window_of
from tubepet.logs import Bar, log
from tubepet.rng import stream

# the paper's Table 1; it does not say which images its MS-SSIM compares (docs/model.md A15)
PAPER_MS_SSIM = {"vae": 0.0485, "dcgan": 0.0522, "wgan": 0.0567, "paper": 0.0694}
PAPER_FID = {"dcgan": 15.2, "wgan": 27.5, "paper": 52.8}
MIN_IMAGES = 2
MOST_TEST = 2000  # slices, evenly taken from more, as the work grows with the square
MOST_FLOOR = 5000  # training slices in the row `FLOOR`, likewise
MOST_IMAGENET = 200  # of each set in ImageNet features, likewise: the network takes 3 ms an image
NUM_CLOSEST = 8  # samples nearest to a training slice, by index


def evaluate(
    samples: Mapping[str, NDArray[np.float32]],
    real: Slices,
    num_bootstrap: int,
    inception_path: str,
    seed: int,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Compare every set of samples, and the real training slices, with the test slices.

    Images are cut to the window where tubes are, and their darkness counts as 0 (`window`). Each
    number is the median over `num_bootstrap` draws of n images from half of the tubes. Its interval
    runs from the 2.5 to the 97.5 percentile. Draws are without replacement (m-out-of-n bootstrap),
    since repeated images would bias distances between sets. n is the same in all rows. Test slices
    are fixed, so the interval does not cover the choice of test tubes. At most `MOST_TEST` test
    slices and `MOST_FLOOR` training slices (row `FLOOR`) are compared, evenly taken. Copies are
    searched among all training slices. In ImageNet features at most `MOST_IMAGENET` images of each
    set are compared, without classifiers.

    Parameters
    ----------
    samples : mapping of float32 array, shape (N, H, W)
        Generated images in Bq/mm3, by name of the model.
    real : Slices
    num_bootstrap : int
        Draws per row.
    inception_path : str
        File of the published network; "" for no FID.
    seed : int
        The run's seed.

    Returns
    -------
    table : DataFrame
        One row per set: value, `_low` and `_high` of each metric, sizes, the paper's figures.
    facts : dict
        The same as JSON, with descriptions, and statements on numbers that are undefined.

    Raises
    ------
    InputError
        If there are fewer than two test or training slices, or the Inception file is a wrong one.
    """
    torch.set_num_threads(1)  # the same sums in the same order on every machine
    train, test = real.of("train"), real.of("test").evenly(MOST_TEST)
    for name, images in (("train", train), ("test", test)):
        if len(images) < MIN_IMAGES:
            raise InputError(
                f"slices.parquet: got {len(images)} slices of split {name}, expected at least "
                f"{MIN_IMAGES}; see reconstruct.split"
            )
    network = inception.load_inception(inception_path) if inception_path else None
    rng = stream(seed, "evaluate", COPY)
    redrawn = rng.integers(len(train), size=max(len(images) for images in samples.values()))
    sets = {name: whole(images, real.scale_bq_mm3) for name, images in samples.items()}
    floor = io.evenly(np.arange(len(train)), MOST_FLOOR)
    sets |= {FLOOR: train.of(floor), COPY: train.of(redrawn)}
    tubes = real.tube[train.rows]
    tubes_of = {FLOOR: tubes[floor], COPY: tubes[redrawn]}
    test_tubes = real.tube[test.rows]
    window = window_of(train, tubes)
    train, test = train.within(window, DARK), test.within(window, DARK)
    sets = {name: images.within(window, DARK) for name, images in sets.items()}
    # at most half of the smallest set, so that draws from it differ
    n = max(MIN_IMAGES, min(len(test), min(len(images) for images in sets.values()) // 2))

    train_statistics = statistics.image_statistics(train)
    space = statistics.fit_space(train_statistics, min(n, len(test)))
    spaces = {metrics.STATISTICS: space.features}
    size, k = test.shape[-1], len(space.components)
    originals = distances.seen(train)
    nearest, _ = distances.nearest_training(test, originals)
    random = stream(seed, "evaluate", "test")
    real_side = metrics.describe(test, nearest, spaces, random, test_tubes)
    gate = gate_of(space.features, (train, tubes), (test, test_tubes))
    if network is not None:
        features = partial(inception.inception_features, network)
        (test_features,) = by_pieces([features], test)
    few = {name: _few(images, tubes_of.get(name)) for name, images in sets.items()}
    in_imagenet, few_gate, few_sizes = _in_imagenet(
        few, _few(test, test_tubes), num_bootstrap, seed
    )
    gates = {metrics.STATISTICS: gate, IMAGENET: few_gate}
    statements = [said for name, one in gates.items() for said in one.sentences(name)]
    rows, closest = [], {}
    for name, images in sets.items():
        log.info("%s: %d images against %d test slices", name, len(images), len(test))
        pairs = stream(seed, "evaluate", name, "pairs")
        # its own tube does not count
        apart = (tubes_of[FLOOR], tubes) if name == FLOOR else None
        nearest, _ = distances.nearest_training(images, originals, apart)
        described = metrics.describe(images, nearest, spaces, pairs, tubes_of.get(name))
        if name in samples:
            closest[name] = np.argsort(nearest, kind="stable")[:NUM_CLOSEST].tolist()
        chosen = stream(seed, "evaluate", name)
        draws = [
            metrics.measure(described.subset(_draw(described.tube, n, chosen)), real_side)
            for _ in Bar(range(num_bootstrap), desc=name)
        ]
        intervals, missing = _intervals(pd.DataFrame(draws).astype(float))
        more, lost = in_imagenet[name]
        for names, sizes in ((missing, f"{n} images against {len(test)}"), (lost, few_sizes)):
            if names:
                statements.append(
                    f"{name}: {', '.join(names)} cannot be computed from {sizes} test slices "
                    "(too few images or tubes, or all equal)"
                )
        row = {"model": name, **intervals, **more}
        if network is not None:
            (image_features,) = by_pieces([features], images)
            row["fid"] = distances.frechet(image_features, test_features)
        row |= {"num_images": len(images), "n": n, "num_test": len(test)}
        row |= {"image_size_px": size, "feature_space": f"statistics-{k}"}
        row |= {"paper_ms_ssim": PAPER_MS_SSIM.get(name), "paper_fid": PAPER_FID.get(name)}
        rows.append(row)
    table = pd.DataFrame(rows)
    texts = metrics.descriptions([IMAGENET])
    columns = {
        key: f"{text} ({num_bootstrap} draws of {few_sizes} test slices)"
        for key, text in texts.items()
        if key in table
    }
    facts = {
        "rows": [{k: v for k, v in row.items() if v is not None} for row in rows],
        "columns": _descriptions(size, k, n, len(test), num_bootstrap) | columns,
        "statements": statements,
        "gates": {name: one.as_json() for name, one in gates.items()},
        "closest": closest,
        "num_train": len(train),
        "num_test_tubes": len(np.unique(real.tube[real.split == "test"])),
        "scale_bq_mm3": real.scale_bq_mm3,
    }
    return table, facts


def _few(images: Stack, tubes: NDArray[np.str_] | None) -> tuple[Stack, NDArray[np.str_]]:
    """Return at most `MOST_IMAGENET` images and their tubes; generated ones have one each."""
    rows = io.evenly(np.arange(len(images)), MOST_IMAGENET)
    return images.of(rows), (rows.astype(str) if tubes is None else tubes[rows])


def _in_imagenet(
    sets: Mapping[str, Set], test: Set, num_bootstrap: int, seed: int
) -> tuple[dict[str, tuple[dict[str, float | None], list[str]]], Gate, str]:
    """Compare few images of each set with few test slices in ImageNet features.

    Returns the numbers of each set and the undefined ones (`_intervals`), the gate of the space,
    and words on the sizes.
    """
    n = max(MIN_IMAGES, min(len(test[1]), *(len(tubes) // 2 for _, tubes in sets.values())))
    space = imagenet.fit_space(sets[FLOOR][0], n)
    real = InSpace(space.features(test[0]), metrics.tubes_of(test[1], len(test[1])))
    found = {}
    for name, (images, tubes) in sets.items():
        features, tube = space.features(images), metrics.tubes_of(tubes, len(tubes))
        chosen = stream(seed, "evaluate", name, IMAGENET)
        drawn = [_draw(tube, n, chosen) for _ in range(num_bootstrap)]
        fakes = [InSpace(features[rows], tube[rows]) for rows in drawn]
        draws = [metrics.measure_in(IMAGENET, fake, real) for fake in fakes]
        found[name] = _intervals(pd.DataFrame(draws).astype(float))
    sizes = f"{n} images against {len(test[1])}"
    return found, gate_of(space.features, sets[FLOOR], test), sizes


def _draw(tube: NDArray[np.int64], n: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return n rows of half of the tubes, or of as many as it takes."""
    numbers = np.bincount(tube)
    order = rng.permutation(len(numbers))
    enough = np.searchsorted(np.cumsum(numbers[order]), max(n, len(tube) / 2)) + 1
    rows = np.flatnonzero(np.isin(tube, order[:enough]))
    return rng.permutation(rows)[:n]


def _intervals(draws: pd.DataFrame) -> tuple[dict[str, float | None], list[str]]:
    """Return median and 95 % interval of each metric, and the names of undefined metrics."""
    row: dict[str, float | None] = {}
    missing = []
    for name in draws:
        finite = draws[name][np.isfinite(draws[name])]
        if len(finite) < len(draws):
            missing.append(str(name))
            row |= {f"{name}{end}": None for end in ("", "_low", "_high")}
            continue
        low, middle, high = np.quantile(finite, [0.025, 0.5, 0.975])
        row |= {f"{name}": float(middle), f"{name}_low": float(low), f"{name}_high": float(high)}
    return row, missing


def _descriptions(size: int, k: int, n: int, num_test: int, num_bootstrap: int) -> dict[str, str]:
    scales = similarity.num_scales(size)
    text = {
        key: f"{what}; median of {num_bootstrap} draws of {n} images against {num_test} test slices"
        for key, what in metrics.descriptions([metrics.STATISTICS]).items()
    }
    text["ms_ssim"] += (
        f"; {scales} scales (weights of Wang et al. renormalised), Gaussian kernel of "
        f"{similarity.KERNEL_PX} pixels, images of {size} pixels"
    )
    return text | {
        "*_low, *_high": "95 % interval of the draws; the test tubes are fixed",
        "model": f"'{FLOOR}' is the real-versus-real floor; '{COPY}' is what a generator that only "
        "copies the training set would score",
        "fid": f"FID (Inception-2015, 1 channel replicated) of all images against {num_test} test "
        "slices; only there if evaluate.inception_path is given",
        "feature_space": f"statistics features of each slice on {k} principal components of the "
        "training slices",
        "paper_ms_ssim": "the paper's Table 1; which images it compares is not stated",
        "paper_fid": "the paper's Table 1, other images and another N: not comparable",
    }
