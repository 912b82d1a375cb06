"""`python -I -S GUEST_DIRECTORY`: the start of a guest, for whose interpreter the package is not installed."""

from __future__ import annotations

import os
import sys


def _start() -> None:
    """Import what the guest consists of, while its files may still be read, and leave no way to the rest."""
    package = os.path.abspath(os.path.join(sys.path.pop(0), "..", "..", ".."))
    sys.path.append(package)
    from prorl_mega.sandbox.guest.main import main

    sys.path.remove(package)
    for name in [name for name in sys.modules if name.partition(".")[0] == "prorl_mega"]:
        del sys.modules[name]  # programs find the standard library, as they would anywhere
    main()


if __name__ == "__main__":
    _start()
