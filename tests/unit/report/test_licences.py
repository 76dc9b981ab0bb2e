import re
from email.message import Message

import pytest
from packaging.licenses import canonicalize_license_expression
from tests import licences

BSD = "Redistribution and use in source and binary forms are permitted."


def test_every_locked_package_has_its_row_and_its_licence():
    text = licences.PAGE.read_text(encoding="utf-8")
    rows = {
        row[0]: row[1:] for row in re.findall(r"^\| (\S+) \| (\S+) \| (.*) \| .+ \|$", text, re.M)
    }
    del rows["package"]
    assert {name: version for name, (version, _) in rows.items()} == licences.locked()
    for name, (_, expression) in rows.items():
        assert canonicalize_license_expression(expression), name
    assert len(rows) >= 200 and licences.BY_HAND.keys() <= rows.keys()


def test_the_page_is_what_the_installed_packages_say():
    assert licences.PAGE.read_text(encoding="utf-8") == licences.page()  # `make reference`


def package(**fields: str) -> Message:
    """Return metadata of a package, with words, one classifier or an expression."""
    found = Message()
    for name, value in fields.items():
        found[name.replace("_", "-")] = value
    return found


@pytest.mark.parametrize(
    ("fields", "files", "expected"),
    [
        ({"License_Expression": "MIT", "License": "BSD-3-Clause"}, [], ("MIT", "expression")),
        ({"License": "apache-2.0"}, [], ("Apache-2.0", "words")),
        ({"Classifier": "License :: OSI Approved :: MIT License"}, [BSD], ("MIT", "classifier")),
        ({"License": "BSD"}, [BSD], ("BSD-2-Clause", "text")),
        ({}, [BSD + " The name is not used to\nendorse or promote."], ("BSD-3-Clause", "text")),
        ({}, ["Permission is hereby granted, free of charge. " + BSD], ("MIT", "text")),
        ({"License": "whatever"}, ["Ask me."], ("", "")),
    ],
)
def test_what_a_package_says(fields, files, expected):
    assert licences.said(package(**fields), files) == expected
