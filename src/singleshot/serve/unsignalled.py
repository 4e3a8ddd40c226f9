"""Imported by the process that forks the network's processes, for its effect: signals that end a group leave it alone.

systemd and launchers send SIGTERM to every process of a service at once. The server drains on it, for which it needs
the network; and were the process between the two to end, the network's would be taken for dead.
"""

from __future__ import annotations

import signal

for _name in ("SIGTERM", "SIGHUP"):
    if hasattr(signal, _name):
        signal.signal(getattr(signal, _name), signal.SIG_IGN)
