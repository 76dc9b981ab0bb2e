"""The visual Turing test: a page on which readers tell generated from real images, and its score.

Half of the images are slices of held-out tubes. Half are samples, from all models as evenly as
possible. All are clipped to the scale of the training slices and are PNG of 8 bits. The page shows
answers only at the end. It must contain them in order to score itself, so they are disguised; that
does not stop a reader who wants to cheat.

A reader's file has a CRC-32. It detects damage and changes by hand, but a new one is easily
computed, and it does not prove that a person answered. `pool` compares the truth in the files with
each other and, if given, with the key that was written beside the page.
"""

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, StrictUndefined
from numpy.typing import NDArray
from PIL import Image

from tubepet import io
from tubepet.bounds import check_bytes
from tubepet.dataset.stack import Images
from tubepet.errors import InputError
from tubepet.rng import stream

FORMAT = "tubepet-turing-1"
NUM_TRIALS = 50
NUM_EXAMPLES = 6
NUM_BOOTSTRAP = 2000
REAL = "real"
Z95 = 1.959964  # as in the page
MAX_MS = 10**9  # of one answer: eleven days
MAX_BYTES = 1 << 20  # of a reader's file: a real one has 2 kB


def _png(image: NDArray[np.float32]) -> str:
    grey = np.rint(image * 255).astype(np.uint8)
    file = BytesIO()
    Image.fromarray(grey).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def choose_trials(
    num_real: int, num_samples: Mapping[str, int], rng: np.random.Generator
) -> pd.DataFrame:
    """Choose which images are shown, and in which order.

    Parameters
    ----------
    num_real : int
        Real slices to choose from.
    num_samples : mapping
        Samples to choose from, by model.
    rng : numpy Generator

    Returns
    -------
    DataFrame
        One row per trial, in the order shown: source (`real` or a model) and i_image, the index in
        its set. Half are real, no image comes twice, and models are as even as possible.
    """
    models = list(num_samples)
    num_each = min(NUM_TRIALS // 2, num_real, min(num_samples.values()) * len(models))
    turns = np.resize(rng.permutation(len(models)), num_each)
    sources = [REAL] * num_each + [models[turn] for turn in turns]
    table = pd.DataFrame({"source": sources})
    sizes = {REAL: num_real, **num_samples}
    table["i_image"] = -1
    for name, rows in table.groupby("source").groups.items():
        table.loc[rows, "i_image"] = rng.permutation(sizes[str(name)])[: len(rows)]
    return table.iloc[rng.permutation(len(table))].reset_index(drop=True)


def make_page(
    template: str,
    train: Images,
    test: Images,
    samples: Mapping[str, Images],
    seed: int,
) -> tuple[str, pd.DataFrame]:
    """Make the page and its key.

    Parameters
    ----------
    template : str
        `workflow/report/turing.html` (Jinja2).
    train, test : array or Stack, shape (N, H, W)
        Slices of training tubes (shown as examples) and of held-out tubes; 0 is black, 1 white.
    samples : mapping of array or Stack, shape (N, H, W)
        Likewise.
    seed : int

    Returns
    -------
    str
        HTML that needs no other file.
    DataFrame
        See `choose_trials`.
    """
    rng = stream(seed, "report", "turing")
    key = choose_trials(len(test), {name: len(s) for name, s in samples.items()}, rng)
    sets = {REAL: test, **samples}
    images = [
        _png(sets[source][i]) for source, i in key[["source", "i_image"]].itertuples(index=False)
    ]
    page = hashlib.sha256("".join(images).encode()).hexdigest()[:16]
    numbers = [list(sets).index(source) for source in key["source"]]
    disguised = bytes(
        number ^ (zlib.crc32(f"{page}:{i}".encode()) & 255) for i, number in enumerate(numbers)
    )
    chosen = rng.permutation(len(train))[:NUM_EXAMPLES]
    content = {
        "format": FORMAT,
        "page": page,
        "sources": list(sets),
        "images": images,
        "examples": [_png(train[i]) for i in chosen],
        "code": disguised.hex(),
    }
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    return environment.from_string(template).render(test=content), key


def wilson(hits: int, num: int) -> tuple[float, float]:
    """Return the 95 % interval of a share.

    References
    ----------
    Wilson, J. Am. Stat. Assoc. 22 (1927) 209, doi:10.1080/01621459.1927.10502953.
    """
    share, z = hits / num, Z95
    centre = share + z**2 / (2 * num)
    half = z * np.sqrt(share * (1 - share) / num + z**2 / (4 * num**2))
    return float((centre - half) / (1 + z**2 / num)), float((centre + half) / (1 + z**2 / num))


def read_answers(path: Path) -> dict[str, Any]:
    """Read one reader's file.

    Returns
    -------
    dict
        format, page, reader, session, started, sources, trials and checksum. Trials are rows of
        (number of the source, answer, milliseconds); the answer is 0 for real, 1 for generated.

    Raises
    ------
    InputError
        If the file is no result of the test, or was changed.
    """
    check_bytes(path, MAX_BYTES)
    result = io.read_json(path)
    fields = ["format", "page", "reader", "session", "started", "sources", "trials", "checksum"]
    if not isinstance(result, dict) or list(result) != fields or result["format"] != FORMAT:
        raise InputError(f"{path}: expected a result of the Turing test ({FORMAT})")
    signed = [result[name] for name in fields[:-1]]
    text = json.dumps(signed, separators=(",", ":"), ensure_ascii=False)
    if zlib.crc32(text.encode()) != result["checksum"]:
        raise InputError(f"{path}: the checksum is wrong, expected the file as it was downloaded")
    trials, sources = result["trials"], result["sources"]
    lists = isinstance(trials, list) and isinstance(sources, list)
    texts = [result["page"], result["reader"], result["session"], *(sources if lists else [])]
    if not lists or not all(isinstance(text, str) for text in texts):
        raise InputError(f"{path}: expected a result of the Turing test, with lists and names")
    is_sound = bool(trials) and all(
        isinstance(row, list)
        and len(row) == 3
        and all(type(number) is int for number in row)
        and 0 <= row[0] < len(sources)
        and row[1] in (0, 1)
        and 0 < row[2] < MAX_MS
        for row in trials
    )
    if not is_sound or 2 * sum(row[0] == 0 for row in trials) != len(trials):
        raise InputError(f"{path}: expected answers to as many real as generated images")
    return result


def pool(results: Mapping[Path, dict[str, Any]], key: pd.DataFrame | None) -> pd.DataFrame:
    """Join the answers of several readers to one page.

    Parameters
    ----------
    results : mapping
        `read_answers` by path.
    key : DataFrame or None
        `choose_trials` of the page.

    Returns
    -------
    DataFrame
        One row per answer: session, reader, trial, source, is_generated, said_generated, is_right,
        time_s.

    Raises
    ------
    InputError
        If files belong to different pages, contradict each other or the key, or if two have the
        same session.
    """
    first_path, first = next(iter(results.items()))
    truth = [first["sources"][row[0]] for row in first["trials"]]
    if key is not None and "source" not in key:
        raise InputError(f"--key: got the columns {', '.join(map(str, key))}, expected source")
    if key is not None and truth != list(key["source"]):
        raise InputError(f"{first_path}: expected the truth of --key, got another one")
    sessions: dict[str, Path] = {}
    tables = []
    for path, result in results.items():
        if result["page"] != first["page"]:
            raise InputError(f"{path}: got another page than {first_path}, expected the same")
        if [result["sources"][row[0]] for row in result["trials"]] != truth:
            raise InputError(f"{path}: expected the truth of {first_path}, got another one")
        if result["session"] in sessions:
            raise InputError(f"{path}: got the same session as {sessions[result['session']]}")
        sessions[result["session"]] = path
        _, said, ms = np.array(result["trials"]).T
        table = pd.DataFrame({"trial": np.arange(len(truth)), "source": truth})
        table["is_generated"] = table["source"] != REAL
        table["said_generated"] = said == 1
        table["is_right"] = table["is_generated"] == table["said_generated"]
        table["time_s"] = ms / 1000
        table.insert(0, "reader", result["reader"] or path.stem)
        table.insert(0, "session", result["session"])
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _share(name: str, rows: pd.DataFrame) -> dict[str, Any]:
    hits, num = int(rows["is_right"].sum()), len(rows)
    low, high = wilson(hits, num)
    return {
        "name": name,
        "answers": num,
        "called_real": int((~rows["said_generated"]).sum()),
        "called_generated": int(rows["said_generated"].sum()),
        "accuracy": hits / num,
        "low": low,
        "high": high,
        "median_s": float(rows["time_s"].median()),
    }


def score(answers: pd.DataFrame, seed: int) -> dict[str, Any]:
    """Score pooled answers.

    Parameters
    ----------
    answers : DataFrame
        See `pool`.
    seed : int
        Of the bootstrap.

    Returns
    -------
    dict
        `all`, and lists `readers` and `sources`, each with counts, accuracy, its Wilson interval
        and the median time. The Wilson interval takes answers as independent. With several readers,
        `all` also has `both_low` and `both_high`, the 95 % interval of a bootstrap over readers and
        images.

    References
    ----------
    Owen, Ann. Appl. Stat. 1 (2007) 386, doi:10.1214/07-AOAS122 (bootstrap over rows and columns).
    """
    total = _share("all", answers)
    sessions = answers.groupby("session", sort=False)
    if len(sessions) > 1:
        right = np.stack([rows["is_right"].to_numpy(float) for _, rows in sessions])
        rng = stream(seed, "report", "turing", "score")
        readers = rng.integers(len(right), size=(NUM_BOOTSTRAP, len(right)))
        trials = rng.integers(right.shape[1], size=(NUM_BOOTSTRAP, right.shape[1]))
        draws = [right[np.ix_(r, t)].mean() for r, t in zip(readers, trials, strict=True)]
        total["both_low"], total["both_high"] = map(float, np.quantile(draws, [0.025, 0.975]))
    by_source = answers.groupby("source", sort=False)
    return {
        "all": total,
        "readers": [_share(rows["reader"].iloc[0], rows) for _, rows in sessions],
        "sources": [_share(str(name), rows) for name, rows in by_source],
    }


def as_text(scores: Mapping[str, Any]) -> str:
    """Return the scores as a text table, with a conclusion."""
    total: Mapping[str, Any] = scores["all"]
    groups: Sequence[Mapping[str, Any]] = [*scores["readers"], *scores["sources"], total]
    lines = [
        f"{'':20} {'answers':>7} {'said real':>9} {'generated':>9}   "
        f"{'right, 95 % (Wilson)':24} {'median':>8}"
    ]
    for row in groups:
        right = f"{row['accuracy']:.0%} [{row['low']:.0%}, {row['high']:.0%}]"
        lines.append(
            f"{row['name']:20} {row['answers']:7} {row['called_real']:9} "
            f"{row['called_generated']:9}   {right:24} {row['median_s']:6.1f} s"
        )
    low, high = total.get("both_low", total["low"]), total.get("both_high", total["high"])
    if "both_low" in total:
        lines.append(f"Readers and images drawn anew together: [{low:.0%}, {high:.0%}]")
    if low > 0.5:
        lines.append("Readers tell generated images from real ones.")
    elif high < 0.5:
        lines.append("Readers take generated images for real ones more often than real ones.")
    else:
        lines.append(f"Not distinguishable from guessing with {total['answers']} answers.")
    return "\n".join(lines)
