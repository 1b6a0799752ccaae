"""Packages the chaincode for `peer lifecycle chaincode install`, three ways: the same input gives the same bytes.

`python3 tools/chaincode_package.py --program FILE --version 0.1.0 --address HOST:PORT --out DIR` writes

- `vitro_<version>.ccaas.tar.gz`: chaincode as a service; holds the address (`connection.json`), not the program;
- `vitro_<version>.binary.tar.gz`: the program, for an external builder of type `binary`;
- `vitro_<version>.node.tar.gz`: the program in a Node package, for a peer that builds only Go, Java and Node;

and prints the package id of each, `label:sha256`. A service's TLS: `--tls-root FILE` (the CA of its certificate), and where it asks
for a certificate of its peers `--tls-client-cert FILE --tls-client-key FILE`.

Nothing is compressed: what a compressor writes depends on its version, and the package id with it.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import re
import sys
import tarfile
from pathlib import Path

# What the peer takes for a label, and a file's name, too.
LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
NODE = Path(__file__).resolve().parent.parent / "chaincode" / "node"


def as_json(value: object) -> bytes:
    """JSON in one form."""
    return json.dumps(value, indent=2, sort_keys=True).encode() + b"\n"


def archive(files: dict[str, bytes]) -> bytes:
    """A gzipped tar of these files, in the order of their names, without a trace of when and by whom it was made."""
    tar_bytes = io.BytesIO()
    with tarfile.open(fileobj=tar_bytes, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(files[name]), 0o644, 0
            tar.addfile(entry, io.BytesIO(files[name]))
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=packed, mode="wb", compresslevel=0, mtime=0) as out:
        out.write(tar_bytes.getvalue())
    return packed.getvalue()


def package(kind: str, label: str, code: dict[str, bytes]) -> bytes:
    """A chaincode package of Fabric 2.x and 3.x: metadata, and the code in an archive of its own."""
    metadata = as_json({"type": kind, "label": label, "path": ""})
    return archive({"metadata.json": metadata, "code.tar.gz": archive(code)})


def connection(
    address: str, tls_root: str | None, client_cert: str | None, client_key: str | None
) -> dict[str, object]:
    """What tells a peer how to reach the service."""
    if not re.fullmatch(r"[^:\s]+:\d+|\[[0-9a-fA-F:]+\]:\d+", address):
        raise ValueError(f"{address!r} is no host:port")
    if (client_cert is None) != (client_key is None) or (client_cert and not tls_root):
        raise ValueError("a client certificate needs its key, and the root of the service's certificate")
    told: dict[str, object] = {"address": address, "dial_timeout": "10s", "tls_required": tls_root is not None}
    if tls_root is not None:
        told |= {"root_cert": tls_root, "client_auth_required": client_cert is not None}
    if client_cert is not None:
        told |= {"client_cert": client_cert, "client_key": client_key}
    return told


def packages(program: bytes, version: str, service: dict[str, object]) -> dict[str, bytes]:
    """All packages by kind."""
    label = f"vitro_{version}"
    if not LABEL.fullmatch(label):
        raise ValueError(f"{version!r} is no version")
    manifest = {"name": "vitro", "version": version, "private": True, "scripts": {"start": "sh ./start.sh"}}
    node = {
        "src/package.json": as_json(manifest),
        "src/start.sh": (NODE / "start.sh").read_bytes(),
        "src/vitro-chaincode": program,
    }
    return {
        "ccaas": package("ccaas", label, {"connection.json": as_json(service)}),
        "binary": package("binary", label, {"chaincode": program}),
        "node": package("node", label, node),
    }


def main(arguments: list[str]) -> int:
    """Writes the packages and prints their ids."""
    parser = argparse.ArgumentParser(description="Packages the chaincode for Fabric's peers.")
    parser.add_argument("--program", type=Path, required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--address", required=True)
    parser.add_argument("--out", type=Path, required=True)
    for name in ("--tls-root", "--tls-client-cert", "--tls-client-key"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args(arguments)
    pems = [options.tls_root, options.tls_client_cert, options.tls_client_key]
    try:
        service = connection(options.address, *(path and path.read_text() for path in pems))
        made = packages(options.program.read_bytes(), options.version, service)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    options.out.mkdir(parents=True, exist_ok=True)
    for kind, content in made.items():
        path = options.out / f"vitro_{options.version}.{kind}.tar.gz"
        path.write_bytes(content)
        print(f"{path}\n  package id vitro_{options.version}:{hashlib.sha256(content).hexdigest()}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
