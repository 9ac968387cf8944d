"""`python -m shared_tmu.page`."""

import sys

from shared_tmu.page.program import main

if __name__ == "__main__":
    sys.exit(main())
