"""The chaincode's packages: what a peer finds in them, and that the same input gives the same bytes."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import tarfile
from pathlib import Path

import pytest

import chaincode_package

PROGRAM = b"\x7fELF and so on"
SERVICE = {"address": "vitro-chaincode:7052", "dial_timeout": "10s", "tls_required": False}


def unpacked(archive: bytes) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        return {entry.name: (entry, tar.extractfile(entry).read()) for entry in tar.getmembers()}


def code(package: bytes) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    return unpacked(unpacked(package)["code.tar.gz"][1])


def test_every_package_has_its_type_label_and_code() -> None:
    made = chaincode_package.packages(PROGRAM, "1.2.3", SERVICE)
    assert set(made) == {"ccaas", "binary", "node"}
    for kind, package in made.items():
        files = unpacked(package)
        assert set(files) == {"metadata.json", "code.tar.gz"}
        assert json.loads(files["metadata.json"][1]) == {"type": kind, "label": "vitro_1.2.3", "path": ""}
    assert json.loads(code(made["ccaas"])["connection.json"][1]) == SERVICE
    assert code(made["binary"])["chaincode"][1] == PROGRAM
    node = code(made["node"])
    # A peer of 2.2 takes nothing from outside src/, and no executable.
    assert set(node) == {"src/package.json", "src/start.sh", "src/vitro-chaincode"}
    manifest = json.loads(node["src/package.json"][1])
    assert manifest["scripts"] == {"start": "sh ./start.sh"}
    assert "dependencies" not in manifest  # a peer may have no way to npm


def test_nothing_tells_when_where_or_by_whom_it_was_packaged() -> None:
    for package in chaincode_package.packages(PROGRAM, "1.2.3", SERVICE).values():
        for archive in (package, unpacked(package)["code.tar.gz"][1]):
            assert archive[4:8] == b"\0\0\0\0"  # gzip's time
            assert archive[3] == 0  # no file name in it
            names = [entry.name for entry, _ in unpacked(archive).values()]
            assert names == sorted(names)
            for entry, _ in unpacked(archive).values():
                owner = (entry.uid, entry.gid, entry.uname, entry.gname)
                assert (entry.mode, entry.mtime, owner) == (0o644, 0, (0, 0, "", ""))


def test_the_bytes_are_those_of_yesterday() -> None:
    made = chaincode_package.packages(PROGRAM, "1.2.3", SERVICE)
    assert (
        hashlib.sha256(made["ccaas"]).hexdigest() == "017ab35261670c4419f578c8004c0ca5b64b48e51e18381c2a3783759cfd302f"
    )
    assert made == chaincode_package.packages(PROGRAM, "1.2.3", dict(reversed(SERVICE.items())))
    # Stored, not compressed: a gzip header, then blocks of type 0 only.
    assert len(made["binary"]) > len(gzip.decompress(made["binary"]))


@pytest.mark.parametrize("address", ["nonsense", "host:", ":7052", "a b:1"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        chaincode_package.connection(address, None, None, None)


def test_tls_is_whole_or_not_at_all() -> None:
    told = chaincode_package.connection("h:1", "root", "cert", "key")
    assert (told["tls_required"], told["client_auth_required"], told["client_key"]) == (True, True, "key")
    assert chaincode_package.connection("h:1", "root", None, None)["client_auth_required"] is False
    for half in [(None, "cert", "key"), ("root", "cert", None), ("root", None, "key")]:
        with pytest.raises(ValueError, match="needs its key"):
            chaincode_package.connection("h:1", *half)


def test_the_command_prints_the_package_ids(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = tmp_path / "program"
    program.write_bytes(PROGRAM)
    arguments = ["--program", str(program), "--version", "1.2.3", "--address", "h:1", "--out", str(tmp_path)]
    assert chaincode_package.main(arguments) == 0
    printed = re.findall(r"(\S+)\n  package id (\S+)", capsys.readouterr().out)
    assert len(printed) == 3
    for path, package_id in printed:
        assert package_id == f"vitro_1.2.3:{hashlib.sha256(Path(path).read_bytes()).hexdigest()}"


def start(folder: Path, path: str = os.environ["PATH"]) -> subprocess.CompletedProcess[str]:
    command = ["sh", "./start.sh", "--peer.address", "peer:7052"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env={"PATH": path}, check=False)


def test_a_node_package_starts_its_program_with_the_peers_arguments(tmp_path: Path) -> None:
    program = b'#!/bin/sh\necho "$0" "$@"\n'
    for name, (entry, content) in code(chaincode_package.packages(program, "1", SERVICE)["node"]).items():
        path = tmp_path / Path(name).name
        path.write_bytes(content)
        path.chmod(entry.mode)
    started = start(tmp_path)
    assert (started.stdout, started.returncode) == ("./vitro-chaincode --peer.address peer:7052\n", 0), started.stderr
    # Where the folder cannot be written to, a copy runs. (As root every chmod works, so this one does not.)
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "chmod").write_text('#!/bin/sh\n[ "$2" != ./vitro-chaincode ] && exec /bin/chmod "$@"\n')
    (tools / "chmod").chmod(0o755)
    (tmp_path / "vitro-chaincode").chmod(0o644)
    started = start(tmp_path, f"{tools}:{os.environ['PATH']}")
    assert started.stdout.endswith("/vitro-chaincode --peer.address peer:7052\n"), started.stderr
    assert not started.stdout.startswith("./")
