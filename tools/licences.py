"""Check the licences of everything that comes with `pip install singleshot`: its users must be able to ship it.

pip-licenses reads the licence of each distribution in the closure of the core's requirements from its metadata. A
licence passes only if it is in one of the two lists below, exactly as written there: a new spelling, an empty one, GPL
or AGPL stops `make check` until a person has read it. Extras and the tools of `dev` are the choice of users and
developers, and are not checked.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping

from tools.closure import closure, normalised

PERMISSIVE = {
    "Apache Software License",
    "Apache-2.0",
    "Apache-2.0 AND Apache-2.0 WITH LLVM-exception AND BSD-2-Clause AND BSD-3-Clause AND BSL-1.0 AND MIT",
    "Apache-2.0 AND MIT",
    "Apache-2.0 OR BSD-2-Clause",
    "BSD License",
    "BSD-2-Clause",
    "BSD-2-Clause AND Apache-2.0 WITH LLVM-exception",
    "BSD-3-Clause",
    "BSD-3-Clause AND 0BSD AND MIT AND Zlib AND CC0-1.0",
    "ISC License (ISCL)",
    "MIT",
    "MIT License",
    "MIT-CMU",
    "PSF-2.0",
    "Python Software Foundation License",
}
LISTED = {"MPL-2.0 AND MIT", "MPL-2.0", "Mozilla Public License 2.0 (MPL 2.0)", "LGPL-2.1-or-later", "LGPL-2.1-only"}
"""Weaker copyleft: allowed, and listed in the README."""
CARRIED = {
    "numpy": "its wheel has libgfortran (GPL-3.0 with GCC's runtime exception) and libquadmath (LGPL-2.1)",
    "opencv-python-headless": "its wheel has FFmpeg (LGPL-2.1), libgfortran and libquadmath",
}
"""Metadata states the licence of a distribution's own code. These wheels carry more, by their licence files."""


def read_licences() -> dict[str, str]:
    """Return the licence of each distribution of the core, by normalised name; "UNKNOWN" where none is stated."""
    command = [sys.executable, "-m", "piplicenses", "--format=json", "--from=mixed", "--with-system", "--packages"]
    done = subprocess.run([*command, *closure()], capture_output=True, text=True, check=True)
    return {normalised(row["Name"]): row["License"] for row in json.loads(done.stdout)}


def unaccepted(licences: Mapping[str, str]) -> list[str]:
    """Return the distributions whose licence is in neither list."""
    return [name for name, licence in licences.items() if licence not in PERMISSIVE | LISTED]


def main() -> int:
    """Print the table; 1 where a licence is not accepted, or a distribution is missing from it."""
    licences = read_licences()
    for name, licence in licences.items():
        note = f"   ({CARRIED[name]})" if name in CARRIED else ""
        print(f"{'listed' if licence in LISTED else '':8}{name:24} {licence}{note}")
    wrong = [*unaccepted(licences), *(closure().keys() - licences.keys())]
    print(f"not accepted: {', '.join(wrong)}" if wrong else "no GPL, no AGPL, none unknown")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
