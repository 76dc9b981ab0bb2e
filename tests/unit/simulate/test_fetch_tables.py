"""Fetching Geant4's tables, from a server on this machine: cuts, wrong bytes, hostile archives."""

import hashlib
import http.server
import io
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tubepet.cli import main
from tubepet.errors import InputError
from tubepet.simulate.geant4 import em_tables
from tubepet.simulate.geant4.fetch_tables import ARCHIVES, download, fetch, unpack

KEY = "G4ENSDFSTATEDATA"
FOLDER = em_tables.DATA_SETS[KEY]
NAME = "set.tar.gz"


class Server(http.server.ThreadingHTTPServer):
    """One file; each answer is cut after `cut_bytes`, of the answers that are left to cut."""

    body = b""
    cut_bytes = 0
    cuts_left = 0
    can_resume = True
    ranges: list[str | None]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", "http://example.org/set.tar.gz")
            self.end_headers()
            return
        if self.path != f"/{NAME}":
            self.send_error(404)
            return
        body = self.server.body
        start = int(wanted[len("bytes=") : -1]) if wanted and self.server.can_resume else 0
        if start >= len(body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(body)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.end_headers()
        end = len(body)
        if self.server.cuts_left:
            self.server.cuts_left -= 1
            end = start + self.server.cut_bytes
        self.wfile.write(body[start:end])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), Handler)
    made.ranges = []
    made.body = archive({f"{FOLDER}/ENSDFSTATE.dat": b"levels" * 1000, f"{FOLDER}/README": b"hi"})
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def archive(members: dict[str, bytes | str]) -> bytes:
    """Return a tar.gz of files; a text is the target of a link."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}"


def known(body: bytes) -> dict[str, tuple[str, str]]:
    return {KEY: (NAME, hashlib.sha256(body).hexdigest())}


def test_fetches_unpacks_and_leaves_nothing_else(tmp_path: Path, server: Server) -> None:
    made = fetch(tmp_path / "new" / "g4", url(server), known(server.body))
    assert made == [tmp_path / "new" / "g4" / FOLDER]
    assert (made[0] / "ENSDFSTATE.dat").read_bytes() == b"levels" * 1000
    assert [p.name for p in made[0].parent.iterdir()] == [FOLDER]
    fetch(tmp_path / "new" / "g4", url(server), known(server.body))
    assert len(server.ranges) == 1  # nothing fetched twice


def test_goes_on_where_it_was_cut(tmp_path: Path, server: Server) -> None:
    server.cut_bytes, server.cuts_left = 50, 2
    fetch(tmp_path, url(server), known(server.body))
    assert server.ranges == [None, "bytes=50-", "bytes=100-"]
    assert (tmp_path / FOLDER / "README").read_bytes() == b"hi"


def test_goes_on_in_the_next_run(tmp_path: Path, server: Server) -> None:
    server.cut_bytes, server.cuts_left = 10, 5
    with pytest.raises(InputError, match="cut after 50 bytes after 5 tries"):
        fetch(tmp_path, url(server), known(server.body))
    assert not (tmp_path / FOLDER).exists()
    fetch(tmp_path, url(server), known(server.body))
    assert server.ranges[-1] == "bytes=50-" and (tmp_path / FOLDER).is_dir()


def test_server_that_cannot_resume(tmp_path: Path, server: Server) -> None:
    server.cut_bytes, server.cuts_left, server.can_resume = 50, 1, False
    fetch(tmp_path, url(server), known(server.body))
    assert (tmp_path / FOLDER).is_dir()


def test_whole_part_needs_no_byte(tmp_path: Path, server: Server) -> None:
    part = tmp_path / "part"
    part.write_bytes(server.body)
    download(f"{url(server)}/{NAME}", part)
    assert part.read_bytes() == server.body
    part.write_bytes(server.body + b"more")  # of an older, longer file
    download(f"{url(server)}/{NAME}", part)
    assert part.read_bytes() == server.body


def test_wrong_checksum_is_thrown_away(tmp_path: Path, server: Server) -> None:
    with pytest.raises(InputError, match=r"set\.tar\.gz: got SHA-256 [0-9a-f]{64}, expected 00"):
        fetch(tmp_path, url(server), {KEY: (NAME, "00" * 32)})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "members",
    [
        {f"{FOLDER}/a": b"a", "../escaped": b"x"},
        {f"{FOLDER}/../../escaped": b"x"},
        {"/tmp/escaped": b"x"},
        {f"{FOLDER}/link": "/etc"},
        {f"{FOLDER}/link": "../../..", f"{FOLDER}/link/escaped": b"x"},
        {"other/a": b"a"},
        {},
    ],
)
def test_hostile_archives_are_refused(tmp_path: Path, server: Server, members: dict) -> None:
    server.body = archive(members)
    target = tmp_path / "deep" / "g4"
    with pytest.raises(InputError, match=r"set\.tar\.gz.part: got"):
        fetch(target, url(server), known(server.body))
    assert not (target / FOLDER).exists()
    assert [p.name for p in tmp_path.rglob("*escaped*")] == []
    assert not list(target.glob(".part-*"))


def test_damaged_archive_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "cut.tar.gz"
    path.write_bytes(archive({f"{FOLDER}/a": b"abc" * 9999})[:60])
    with pytest.raises(InputError, match=r"cut\.tar\.gz: got .* expected a whole"):
        unpack(path, tmp_path / FOLDER)
    assert not (tmp_path / FOLDER).exists()


def test_only_protected_addresses(tmp_path: Path, server: Server) -> None:
    for address in ("http://example.org/x", "ftp://example.org/x", "file:///etc/passwd"):
        with pytest.raises(InputError, match="expected an https address"):
            download(address, tmp_path / "x")
    with pytest.raises(InputError, match=r"http://example\.org.*https"):
        download(f"{url(server)}/away", tmp_path / "x")


def test_missing_file_is_a_sentence(tmp_path: Path, server: Server) -> None:
    with pytest.raises(InputError, match=r"nothing: got HTTP status 404"):
        download(f"{url(server)}/nothing", tmp_path / "x")
    assert len(server.ranges) == 1  # no second try


def test_every_needed_set_has_an_archive_of_its_version() -> None:
    assert set(ARCHIVES) == set(em_tables.NEEDED_SETS)
    for key, (name, sha256) in ARCHIVES.items():
        plain = name.removesuffix(".tar.gz")
        assert plain.replace(".", "", 1) == em_tables.DATA_SETS[key]
        assert len(bytes.fromhex(sha256)) == 32


def test_command_lines(tmp_path: Path, server: Server) -> None:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["tables", *arguments])

    answer = run("fetch", str(tmp_path / "g4"), "--base-url", url(server))
    assert answer.exit_code == 2 and "HTTP status 404" in answer.stderr
    assert answer.stderr.count("\n") == 1
    assert "DIR" in run("fetch", "--help").stdout
    answer = run("check", str(tmp_path))
    assert answer.exit_code == 2 and "without G4EMLOW8.8" in answer.stderr
    for key in em_tables.NEEDED_SETS:
        (tmp_path / em_tables.DATA_SETS[key]).mkdir()
    assert run("check", str(tmp_path)).stdout.startswith(
        "Geant4 runs on the official data tables in"
    )
