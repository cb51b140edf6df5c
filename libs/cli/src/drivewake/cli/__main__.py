"""`python -m drivewake.cli` is `drivewake`."""

import sys

from drivewake.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
