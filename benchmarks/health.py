"""How well health is estimated and what it costs, section by section.

``python -m benchmarks.health [SECTION...] [--json FILE]``
"""

import sys

from benchmarks.runner import main
from benchmarks.sections import health

if __name__ == "__main__":
    sys.exit(main(health, __doc__))
