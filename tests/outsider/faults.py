"""How this implementation says no."""

from __future__ import annotations


class Refused(Exception):
    """Something is refused; `code` is the reason's code of `docs/reasons.md`."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code
