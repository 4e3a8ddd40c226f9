"""The modules that the fork server imports once, so that a new worker starts without seconds of imports.

Imported for its effects. It also ignores the signals that end a process group: systemd and launchers send SIGTERM to
every process of a service at once. The server drains on SIGTERM, which requires the worker; and if the fork server
ended, the worker would be taken for dead.
"""

from __future__ import annotations

import signal

for _name in ("SIGTERM", "SIGHUP"):
    if hasattr(signal, _name):
        signal.signal(getattr(signal, _name), signal.SIG_IGN)

import numba.np.arraymath  # noqa: E402, F401 # opening a model imports it and the next one: two seconds
import torch._dynamo  # noqa: E402, F401

import singleshot.serve.upload_model  # noqa: E402, F401
