"""The local AWS that Vitro is developed and tested on.

One ministack process and one development ledger on loopback, with their state in a directory of their own, so
that several stacks run side by side. `python -m stack --help` tells the commands; the names below are the
same for Python callers (the demo and the tests).
"""

from stack.deploy import Deployment
from stack.installation import Installation
from stack.lifecycle import Stack
from stack.model import StackConfig, StackError, StackInfo

__all__ = ["Deployment", "Installation", "Stack", "StackConfig", "StackError", "StackInfo"]
