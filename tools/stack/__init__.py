"""The local AWS that Vitro is developed and tested on.

One ministack process (and, once it is built, one development ledger) on loopback, with its state
in a directory of its own, so that several stacks run side by side. `python -m stack --help` tells the
commands; `stack.Stack` is the same for Python callers (the demo and the tests).
"""

from stack.model import StackConfig, StackInfo
from stack.lifecycle import Stack

__all__ = ["Stack", "StackConfig", "StackInfo"]
