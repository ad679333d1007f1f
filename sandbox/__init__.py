"""A GitHub on loopback, for demo, tests and authors.

Real bare git repositories served over HTTP, the REST operations that the App uses with GitHub's limits, signed webhook
deliveries with a log. It knows nothing of the App that talks to it.
"""

from __future__ import annotations

from .core import new_private_key
from .deliveries import Attempt, Delivery
from .errors import SandboxError
from .exchanges import Exchange
from .faults import Armed, Fault, FaultPlan, Fired
from .server import Sandbox
from .state import Account, CheckRun, Installation, Repository, Status

__all__ = [
    "Account", "Armed", "Attempt", "CheckRun", "Delivery", "Exchange", "Fault", "FaultPlan", "Fired", "Installation",
    "Repository", "Sandbox", "SandboxError", "Status", "new_private_key",
]  # fmt: skip
