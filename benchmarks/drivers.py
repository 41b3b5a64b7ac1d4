"""What the drivers cost and how well they do it, section by section.

``python -m benchmarks.drivers [SECTION...] [--json FILE]``
"""

import sys

from benchmarks.runner import main
from benchmarks.sections import drivers

if __name__ == "__main__":
    sys.exit(main(drivers, __doc__))
