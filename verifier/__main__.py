"""Starts `crownest-verify`, once it is seen that what it needs is here."""

import sys
from importlib.util import find_spec

if sys.version_info < (3, 11):  # noqa: UP036  # who packed it has that; who runs it may not
    sys.exit("crownest-verify needs Python 3.11 or newer; this is " + sys.version.split()[0])

if __name__ == "__main__":
    if find_spec("cryptography") is None:
        sys.stderr.write(
            "crownest-verify needs the package cryptography: python3 -m pip install cryptography\n"
        )
        sys.exit(2)
    from verifier.command import main

    sys.exit(main())
