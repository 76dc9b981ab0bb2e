"""Fetch the official Geant4 tables (`tubepet tables fetch DIR`).

Only the data sets that the config's physics lists read (`em_tables.NEEDED_SETS`, 0.35 GB packed).
Set ``simulate.g4_data_dir`` to DIR afterwards. A cut download goes on where it stopped; an archive
is unpacked only if its SHA-256 is the known one, and a folder appears only when it is whole.
"""

import http.client
import ipaddress
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import IO

from tqdm import tqdm

from tubepet import checksums
from tubepet.errors import InputError
from tubepet.simulate.geant4.em_tables import DATA_SETS

BASE_URL = "https://cern.ch/geant4-data/datasets"  # as in opengate_core 10.1.1
# Archive and SHA-256 of each set. MD5 of the same files, in Geant4's own G4DatasetDefinitions.cmake
# (11.4): 328330009df633f7e9b3a9f445745298 and c500728534ce3e9fb2fefa0112eb3a74.
ARCHIVES = {
    "G4LEDATA": (
        "G4EMLOW.8.8.tar.gz",
        "b60cfd63176f5d16107e2a25b35b235155032d1735d749670ca50fede12624cf",
    ),
    "G4ENSDFSTATEDATA": (
        "G4ENSDFSTATE.3.0.tar.gz",
        "4bdc3bd40b31d43485bf4f87f055705e540a6557d64ed85c689c59c9a4eba7d6",
    ),
}
NUM_TRIES = 5  # of one archive, each going on where the last was cut
TIMEOUT_S = 60
CHUNK_BYTES = 1 << 20


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    """Follow redirects, but never to an unprotected address."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Check the new address first."""
        _check_url(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def fetch(folder: Path, base_url: str, archives: dict[str, tuple[str, str]]) -> list[Path]:
    """Fetch and unpack data sets that are not there yet.

    Parameters
    ----------
    folder : Path
        Made if missing.
    base_url : str
        Address of the folder with the archives; https (http only on this machine itself).
    archives : dict
        Environment variable of each set to (archive name, SHA-256 in hexadecimal).

    Returns
    -------
    list of Path
        The folders of the sets.

    Raises
    ------
    InputError
        If an archive cannot be fetched, has another checksum, or holds anything but its folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sets = []
    for key, (name, sha256) in archives.items():
        target = folder / DATA_SETS[key]
        sets.append(target)
        if target.is_dir():
            continue
        part = folder / f".{name}.part"
        url = f"{base_url.rstrip('/')}/{name}"
        download(url, part)
        found = checksums.of_file(part)
        if found != sha256:
            part.unlink()
            raise InputError(f"{url}: got SHA-256 {found}, expected {sha256}; it was thrown away")
        unpack(part, target)
        part.unlink()
    return sets


def download(url: str, part: Path) -> None:
    """Fetch `url` into `part`, which may hold its beginning.

    Raises
    ------
    InputError
        If it is still incomplete after `NUM_TRIES` tries; what is there stays for the next run.
    """
    _check_url(url)
    reason = ""
    for _ in range(NUM_TRIES):
        try:
            if _continue_download(url, part):
                return
            reason = f"cut after {part.stat().st_size} bytes"
        except urllib.error.HTTPError as error:
            error.close()  # it is the answer, too
            if error.code < 500:
                raise InputError(
                    f"{url}: got HTTP status {error.code}, expected the file"
                ) from error
            reason = f"HTTP status {error.code}"
        except (OSError, http.client.HTTPException) as error:
            reason = f"{type(error).__name__}: {error}"
    raise InputError(f"{url}: got {reason} after {NUM_TRIES} tries, expected the whole file")


def _continue_download(url: str, part: Path) -> bool:
    """Append what is missing; return whether the server's length is reached."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url)  # noqa: S310 (https, see _check_url)
    if have:
        request.add_header("Range", f"bytes={have}-")
    opener = urllib.request.build_opener(_HttpsOnly)  # verifies certificates by default
    try:
        answer = opener.open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        error.close()
        whole = error.headers.get("Content-Range", "").rpartition("/")[2]
        if whole == str(have):
            return True
        part.unlink()  # longer than the file on the server: start again
        return False
    with answer:
        goes_on = answer.status == 206
        if goes_on and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            part.unlink()
            return False
        start = have if goes_on else 0
        total = start + int(answer.headers["Content-Length"])
        with (
            open(part, "ab" if goes_on else "wb") as file,
            tqdm(
                total=total, initial=start, unit="B", unit_scale=True, desc=part.name.strip("."),
                disable=None, mininterval=1,
            ) as bar,
        ):  # fmt: skip
            while chunk := answer.read(CHUNK_BYTES):
                file.write(chunk)
                bar.update(len(chunk))
    return part.stat().st_size == total


def _check_url(url: str) -> None:
    address = urllib.parse.urlsplit(url)
    if address.scheme == "https" or (address.scheme == "http" and _is_local(address.hostname)):
        return
    raise InputError(f"{url}: expected an https address")


def _is_local(host: str | None) -> bool:
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def unpack(archive: Path, target: Path) -> None:
    """Unpack the folder ``target.name`` of an archive; `target` appears only when it is whole.

    Raises
    ------
    InputError
        If the archive is damaged or holds anything outside that folder, or a link out of it.
    """
    with tempfile.TemporaryDirectory(prefix=".part-", dir=target.parent) as scratch:
        try:
            with tarfile.open(archive) as tar:
                for member in tar:
                    if Path(member.name).parts[:1] != (target.name,):
                        raise InputError(
                            f"{archive.name}: got the member {member.name!r}, expected only the "
                            f"folder {target.name}"
                        )
                    tar.extract(member, scratch, filter="data")  # refuses '..', links, devices
        except (tarfile.TarError, EOFError, OSError) as error:
            raise InputError(
                f"{archive.name}: got {type(error).__name__} ({error}), expected a whole and "
                "harmless archive"
            ) from error
        made = Path(scratch) / target.name
        if not made.is_dir():
            raise InputError(f"{archive.name}: got no folder {target.name}, expected one")
        shutil.move(made, target)  # the same file system: a rename
