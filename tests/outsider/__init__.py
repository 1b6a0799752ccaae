"""Vitro's wire formats once more, written from `docs/formats.md` alone, on pycose, cbor2 and cryptography.

Nothing here is used by the product. It makes and reads what devices send, so that the tests can tell whether the page
says enough and whether the product keeps to it; it plays the attacker (`outsider.attack`) and the stranger's MQTT
client (`outsider.publish`).
"""

from outsider.envelope import Envelope, Header, parse, seal
from outsider.faults import Refused
from outsider.keys import Key

__all__ = ["Envelope", "Header", "Key", "Refused", "parse", "seal"]
