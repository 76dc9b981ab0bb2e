"""The image of `Dockerfile`, or without a container engine its steps in a fresh folder.

    python -m tests.container --build-arg TORCH_INDEX=<index of CPU wheels>

Looks for docker, podman and buildah that work. Where none does, the folder stands for the root of
the image and this machine for its base: what a base image lacks is not seen, and packages of the
system are not installed.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from string import Template

ROOT = Path(__file__).parent.parent
ENGINES = {"docker": ["build"], "podman": ["build"], "buildah": ["bud"]}
OF_IMAGE = re.compile(r"(?<![\w.}/])/(?=(?:opt|src|home|work)\b)")
NOT_FRESH = ("PYTHONPATH", "VIRTUAL_ENV")


def instructions(text: str) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile and what stands behind them."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    whole = "\n".join(lines).replace("\\\n", " ")
    return [(word, rest) for word, _, rest in (one.partition(" ") for one in whole.splitlines())]


def run(
    context: Path, folder: Path, arguments: Mapping[str, str], environment: Mapping[str, str]
) -> dict[str, str]:
    """Take the steps of `context/Dockerfile` in a folder; return the environment of the image.

    Raises
    ------
    CalledProcessError
        If a command fails.
    """
    environment, first, own = dict(environment), True, {}
    for word, rest in instructions((context / "Dockerfile").read_text(encoding="utf-8")):
        placed = OF_IMAGE.sub(f"{folder}/", rest)
        if word == "FROM":
            first = False
        elif word == "ARG" and not first:  # those before are for FROM alone
            name, _, value = placed.partition("=")
            own[name] = arguments.get(name, value)
        elif word == "ENV":
            environment |= _values(placed, environment | own)
        elif word == "COPY":
            _copy(context, *placed.split())
        elif word == "RUN" and not rest.startswith("apt-get"):
            subprocess.run(placed, shell=True, check=True, env=environment | own, cwd=folder)
    return environment


def _values(text: str, environment: Mapping[str, str]) -> dict[str, str]:
    pairs = (one.split("=", 1) for one in shlex.split(text))
    return {name: Template(value).safe_substitute(environment) for name, value in pairs}


def _copy(context: Path, source: str, target: str) -> None:
    """Copy what `.dockerignore`, a list of what is not ignored, lets through."""
    ignore = (context / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = [line[1:] for line in ignore if line.startswith("!")]
    assert ignore.count("*") == 1 and (source == "." or source in kept), source
    left_out = shutil.ignore_patterns(*(line[3:] for line in ignore if line.startswith("**/")))
    for name in kept if source == "." else [source]:
        end = Path(target) / name if source == "." else Path(target)
        end.parent.mkdir(parents=True, exist_ok=True)
        if (context / name).is_dir():
            shutil.copytree(context / name, end, ignore=left_out, dirs_exist_ok=True)
        else:
            shutil.copy(context / name, end)


def engine() -> list[str]:
    """Return the command that builds an image here; empty if there is none."""
    for name, words in ENGINES.items():
        if (
            shutil.which(name)
            and not subprocess.run([name, "info"], capture_output=True).returncode
        ):
            return [name, *words]
    return []


def main(words: list[str]) -> int:
    """Build, or take the steps, and ask the result for its version and what it finds."""
    if command := engine():
        return subprocess.run([*command, *words, "-t", "tubepet", str(ROOT)]).returncode
    folder = Path(tempfile.mkdtemp(prefix="tubepet-container-"))
    given = dict(word.split("=", 1) for word in words if "=" in word)
    fresh = {name: value for name, value in os.environ.items() if name not in NOT_FRESH}
    environment = run(ROOT, folder, given, fresh)
    print(f"no engine: steps taken in {folder}")
    for asked in ("--version", "doctor"):
        subprocess.run(["tubepet", asked], check=True, env=environment, cwd=folder / "work")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
