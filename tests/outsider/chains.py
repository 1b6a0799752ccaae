"""Makes `tests/vectors/chains.json` with `cryptography`: chains and revocation lists, good and broken, for the product to judge.

Everything is deterministic: keys from seeds, signatures by RFC 6979, times fixed.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

FOLDER = Path(__file__).parents[1] / "vectors"
NOW = 1_800_000_000
DAY = 86_400


def at(seconds: int) -> datetime.datetime:
    """An instant as `cryptography` takes it."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def key(name: str, curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    """The private key that belongs to a name."""
    scalar = int.from_bytes(hashlib.sha256(f"vitro test key {name}".encode()).digest(), "big")
    return ec.derive_private_key(scalar, curve or ec.SECP256R1())


def named(name: str) -> x509.Name:
    """A subject with this common name."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "PL"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Vitro tests"),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )


def usage(**allowed: bool) -> x509.KeyUsage:
    """A key usage; what is not named is not allowed."""
    names = (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign crl_sign"
        " encipher_only decipher_only"
    )
    return x509.KeyUsage(**{name: allowed.get(name, False) for name in names.split()})


CA_USAGE = {"key_cert_sign": True, "crl_sign": True}


@dataclass
class Authority:
    """A certificate and the key that signs below it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def der(self) -> bytes:
        """The certificate's bytes."""
        return self.certificate.public_bytes(serialization.Encoding.DER)


@dataclass
class Wish:
    """What a certificate shall say."""

    name: str
    serial: int
    ca: bool = False
    path_length: int | None = None
    usage: dict[str, bool] | None = None
    purposes: list[x509.ObjectIdentifier] = field(default_factory=list)
    not_before: int = NOW - DAY
    not_after: int = NOW + DAY
    curve: ec.EllipticCurve | None = None
    extra: list[tuple[x509.ExtensionType, bool]] = field(default_factory=list)


def issue(wish: Wish, issuer: Authority | None, algorithm: hashes.HashAlgorithm | None = None) -> Authority:
    """Signs a certificate; without an issuer, by its own key."""
    own = key(wish.name, wish.curve)
    subject = named(wish.name)
    signer, issuer_name = (own, subject) if issuer is None else (issuer.key, issuer.certificate.subject)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer_name)
        .public_key(own.public_key())
        .serial_number(wish.serial)
        .not_valid_before(at(wish.not_before))
        .not_valid_after(at(wish.not_after))
        .add_extension(x509.BasicConstraints(wish.ca, wish.path_length), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(own.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if wish.usage is not None:
        builder = builder.add_extension(usage(**wish.usage), critical=True)
    if wish.purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(wish.purposes), critical=False)
    for extension, critical in wish.extra:
        builder = builder.add_extension(extension, critical=critical)
    return Authority(builder.sign(signer, algorithm or hashes.SHA256(), ecdsa_deterministic=True), own)


def ca(name: str, serial: int, issuer: Authority | None = None, **wishes: Any) -> Authority:
    """An authority."""
    return issue(Wish(name, serial, **({"ca": True, "usage": CA_USAGE} | wishes)), issuer)


def device(serial: int, issuer: Authority, **wishes: Any) -> Authority:
    """A device's certificate."""
    defaults: dict[str, Any] = {"usage": {"digital_signature": True}, "purposes": [ExtendedKeyUsageOID.CLIENT_AUTH]}
    return issue(Wish("dev-1", serial, **(defaults | wishes)), issuer)


def crl(
    issuer: Authority,
    number: int | None,
    revoked: dict[int, x509.ReasonFlags | None] | None = None,
    *,
    this_update: int = NOW - 3600,
    next_update: int = NOW + 3600,
    extra: list[tuple[x509.ExtensionType, bool]] | None = None,
    entry_extra: list[tuple[x509.ExtensionType, bool]] | None = None,
) -> bytes:
    """A signed revocation list."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(at(this_update))
        .next_update(at(next_update))
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), critical=False)
    )
    if number is not None:
        builder = builder.add_extension(x509.CRLNumber(number), critical=False)
    for serial, reason in (revoked or {}).items():
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(at(NOW - 60))
        if reason is not None:
            entry = entry.add_extension(x509.CRLReason(reason), critical=False)
        for extension, critical in entry_extra or []:
            entry = entry.add_extension(extension, critical=critical)
        builder = builder.add_revoked_certificate(entry.build())
    for extension, critical in extra or []:
        builder = builder.add_extension(extension, critical=critical)
    made = builder.sign(issuer.key, hashes.SHA256(), ecdsa_deterministic=True)
    return made.public_bytes(serialization.Encoding.DER)


def _place(url: str, **scope: Any) -> x509.IssuingDistributionPoint:
    wanted = {
        "full_name": [x509.UniformResourceIdentifier(url)] if url else None,
        "relative_name": None,
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }
    return x509.IssuingDistributionPoint(**(wanted | scope))


def _points(url: str) -> x509.CRLDistributionPoints:
    return x509.CRLDistributionPoints([x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None)])


UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
URL = "http://crl.example/between.crl"


@dataclass
class World:
    """A root, an authority between, a device, and lists."""

    root: Authority
    between: list[Authority]
    leaf: Authority
    lists: list[tuple[bytes, Authority]]

    def vector(self, name: str, verdict: str, now: int = NOW) -> dict[str, Any]:
        """What the product shall say of this world."""
        return {
            "name": name,
            "leaf": self.leaf.der.hex(),
            "issuers": [one.der.hex() for one in self.between],
            "roots": [self.root.der.hex()],
            "lists": [{"list": made.hex(), "issuer": issuer.der.hex()} for made, issuer in self.lists],
            "now": now,
            "verdict": verdict,
        }


def world(
    root: dict[str, Any] | None = None, between: dict[str, Any] | None = None, leaf: dict[str, Any] | None = None
) -> World:
    """A chain of three with what is asked for changed."""
    top = ca("Root", 1, **(root or {}))
    middle = ca("Between", 2, top, **(between or {}))
    end = device(3, middle, **(leaf or {}))
    return World(top, [middle], end, [(crl(top, 1), top), (crl(middle, 1), middle)])


def _chains() -> list[dict[str, Any]]:
    made = [world().vector("good", "good")]

    def case(name: str, verdict: str, now: int = NOW, **changes: Any) -> None:
        made.append(world(**changes).vector(name, verdict, now))

    case("good with its path lengths", "good", root={"path_length": 1}, between={"path_length": 0})
    case("good without purposes", "good", leaf={"purposes": []})
    case(
        "good with more purposes",
        "good",
        leaf={"purposes": [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]},
    )
    case("good with an unknown extension", "good", leaf={"extra": [(UNKNOWN, False)]})
    case("unknown critical extension", "bad_chain", leaf={"extra": [(UNKNOWN, True)]})
    case("path length of the root", "bad_chain", root={"path_length": 0})
    case("between is no authority", "bad_chain", between={"ca": False})
    case(
        "between may not sign certificates",
        "bad_chain",
        between={"usage": {"crl_sign": True, "digital_signature": True}},
    )
    case("a server", "not_a_device_certificate", leaf={"purposes": [ExtendedKeyUsageOID.SERVER_AUTH]})
    case("for key agreement", "not_a_device_certificate", leaf={"usage": {"key_agreement": True}})
    case("no key usage", "not_a_device_certificate", leaf={"usage": None})
    case("an authority", "not_a_device_certificate", leaf={"ca": True, "usage": CA_USAGE | {"digital_signature": True}})
    case("device on P-384", "wrong_curve", leaf={"curve": ec.SECP384R1()})
    case("expired", "certificate_expired", leaf={"not_after": NOW - 1})
    case("in its last second", "good", leaf={"not_after": NOW})
    case("not yet valid", "certificate_not_yet_valid", leaf={"not_before": NOW + 1})
    case("in its first second", "good", leaf={"not_before": NOW})
    case("between expired", "issuer_expired", between={"not_after": NOW - 1})
    case("between not yet valid", "issuer_not_yet_valid", between={"not_before": NOW + 1})
    case("root expired", "issuer_expired", root={"not_after": NOW - 1})
    case("beyond 2049", "good", now=NOW, root={"not_after": 4_000_000_000})
    constraint = x509.NameConstraints([x509.DNSName("acme.example")], None)
    for name, verdict in [("dev-1.acme.example", "good"), ("dev-1.other.example", "bad_chain")]:
        names = [(x509.SubjectAlternativeName([x509.DNSName(name)]), False)]
        case(f"constrained, {name}", verdict, between={"extra": [(constraint, True)]}, leaf={"extra": names})

    one = world()
    one.leaf = device(3, Authority(one.between[0].certificate, key("somebody else")))
    one.leaf = issue_with_names(one.between[0], one.leaf)
    made.append(one.vector("signed by another key", "bad_chain"))
    one = world()
    one.root = ca("Root of others", 1)
    made.append(one.vector("unknown root", "unknown_ca"))
    one = world()
    one.between = []
    made.append(one.vector("between is missing", "unknown_ca"))
    one = world()
    one.leaf = Authority(
        issue(
            Wish("dev-1", 3, usage={"digital_signature": True}, purposes=[ExtendedKeyUsageOID.CLIENT_AUTH]),
            one.between[0],
            hashes.SHA384(),
        ).certificate,
        one.leaf.key,
    )
    made.append(one.vector("signed with SHA-384", "bad_chain"))

    one = world()
    one.lists = one.lists[:1]
    made.append(one.vector("no list of between", "crl_missing"))
    one.lists = [(crl(one.between[0], 1), one.between[0])]
    made.append(one.vector("no list of the root", "crl_missing"))
    one.lists = []
    made.append(one.vector("no list", "crl_missing"))

    def lists(name: str, verdict: str, root_list: bytes | None, between_list: bytes | None, **changes: Any) -> None:
        one = world(**changes)
        if root_list is not None:
            one.lists[0] = (root_list, one.root)
        if between_list is not None:
            one.lists[1] = (between_list, one.between[0])
        made.append(one.vector(name, verdict))

    base = world()
    top, middle = base.root, base.between[0]
    lists("list of between out of date", "crl_expired", None, crl(middle, 1, next_update=NOW))
    lists("list of the root out of date", "crl_expired", crl(top, 1, next_update=NOW - 1), None)
    lists("list of the future", "crl_missing", None, crl(middle, 1, this_update=NOW + 1))
    lists("revoked", "certificate_revoked", None, crl(middle, 1, {9: None, 3: x509.ReasonFlags.key_compromise}))
    lists("held", "certificate_revoked", None, crl(middle, 1, {3: x509.ReasonFlags.certificate_hold}))
    lists("others are revoked", "good", crl(top, 1, {3: None}), crl(middle, 1, {2: None}))
    lists("between revoked", "issuer_revoked", crl(top, 1, {2: x509.ReasonFlags.ca_compromise}), None)
    part = [(_place(URL), True)]
    lists("a part without a place in the certificate", "crl_missing", None, crl(middle, 1, extra=part))
    lists("its part", "good", None, crl(middle, 1, extra=part), leaf={"extra": [(_points(URL), False)]})
    lists(
        "another part", "crl_missing", None, crl(middle, 1, extra=part), leaf={"extra": [(_points(URL + "2"), False)]}
    )
    users, authorities = (
        (_place(URL, only_contains_user_certs=True), True),
        (_place(URL, only_contains_ca_certs=True), True),
    )
    place = {"extra": [(_points(URL), False)]}
    lists("a list of users' certificates", "good", None, crl(middle, 1, extra=[users]), leaf=place)
    lists("a list of authorities for a device", "crl_missing", None, crl(middle, 1, extra=[authorities]), leaf=place)
    # The place of `between` changes its certificate, not its key: its own list is still its own.
    lists("a list of authorities", "good", crl(top, 1, extra=[authorities]), None, between=place)
    lists("a list of users for an authority", "crl_missing", crl(top, 1, extra=[users]), None, between=place)
    return made


def issue_with_names(issuer: Authority, leaf: Authority) -> Authority:
    """The same certificate once more, with the key identifier of the issuer whose key did not sign it."""
    forger = key("somebody else")
    old = leaf.certificate
    builder = (
        x509.CertificateBuilder()
        .subject_name(old.subject)
        .issuer_name(issuer.certificate.subject)
        .public_key(leaf.key.public_key())
        .serial_number(old.serial_number)
        .not_valid_before(old.not_valid_before_utc)
        .not_valid_after(old.not_valid_after_utc)
    )
    for extension in old.extensions:
        value: x509.ExtensionType = extension.value
        if isinstance(value, x509.AuthorityKeyIdentifier):
            value = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
        builder = builder.add_extension(value, critical=extension.critical)
    return Authority(builder.sign(forger, hashes.SHA256(), ecdsa_deterministic=True), leaf.key)


def _lists() -> list[dict[str, Any]]:
    top = ca("Root", 1)
    made: list[dict[str, Any]] = []

    def case(name: str, verdict: str, data: bytes, issuer: Authority = top, now: int = NOW) -> None:
        made.append({"name": name, "list": data.hex(), "issuer": issuer.der.hex(), "now": now, "verdict": verdict})

    case("empty", "good", crl(top, 7))
    made[-1] |= {"number": "7", "revoked": {}}
    reasons = {2**64 + 5: x509.ReasonFlags.key_compromise, 3: None, 4: x509.ReasonFlags.certificate_hold}
    case("three entries", "good", crl(top, 2**130 + 1, reasons))
    made[-1] |= {
        "number": f"{2**130 + 1:x}",
        "revoked": {"010000000000000005": "keyCompromise", "03": "unspecified", "04": "certificateHold"},
    }
    invalid = [(x509.InvalidityDate(at(NOW - 100)), False)]
    case("an entry with its invalidity date", "good", crl(top, 1, {3: None}, entry_extra=invalid))
    case("number at its limit", "good", crl(top, 2**159 - 1))
    case("no number", "crl_unreadable", crl(top, None))
    case("delta list", "crl_unsupported", crl(top, 2, extra=[(x509.DeltaCRLIndicator(1), True)]))
    case(
        "delta list that does not say so critically",
        "crl_unsupported",
        crl(top, 2, extra=[(x509.DeltaCRLIndicator(1), False)]),
    )
    case("indirect list", "crl_unsupported", crl(top, 1, extra=[(_place("", indirect_crl=True), True)]))
    attributes = _place("", only_contains_attribute_certs=True)
    case("attribute certificates", "crl_unsupported", crl(top, 1, extra=[(attributes, True)]))
    some = _place(URL, only_some_reasons=frozenset([x509.ReasonFlags.key_compromise]))
    case("some reasons", "crl_unsupported", crl(top, 1, extra=[(some, True)]))
    scope = _place("", only_contains_user_certs=True)
    case("a scope without a place", "crl_unsupported", crl(top, 1, extra=[(scope, True)]))
    case("unknown critical extension", "crl_unsupported", crl(top, 1, extra=[(UNKNOWN, True)]))
    case("unknown extension", "good", crl(top, 1, extra=[(UNKNOWN, False)]))
    case("taken from the list", "crl_unsupported", crl(top, 1, {3: x509.ReasonFlags.remove_from_crl}))
    issuer = x509.CertificateIssuer([x509.DirectoryName(named("Other"))])
    case("an entry of another issuer", "crl_unsupported", crl(top, 1, {3: None}, entry_extra=[(issuer, True)]))
    case("out of date", "crl_stale", crl(top, 1, next_update=NOW))
    case("of the future", "crl_not_yet_valid", crl(top, 1, this_update=NOW + 1))
    case("of another name", "crl_other_issuer", crl(ca("Other", 1), 1))
    case("of another key", "crl_bad_signature", crl(Authority(top.certificate, key("Other")), 1))
    silent = ca("Root", 1, usage={"key_cert_sign": True})
    case("of an authority that may not", "crl_other_issuer", crl(silent, 1), silent)
    case("bytes follow", "crl_unreadable", crl(top, 1) + b"\0")
    case("cut", "crl_unreadable", crl(top, 1)[:-1])
    return made


def make() -> dict[str, Any]:
    """The file's content."""
    return {
        "about": "Made by tests/outsider with cryptography: 'python -m outsider vectors'.",
        "chains": _chains(),
        "lists": _lists(),
    }


def write() -> None:
    """Writes the file."""
    (FOLDER / "chains.json").write_text(json.dumps(make(), indent=1) + "\n", encoding="utf-8")
