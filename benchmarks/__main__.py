"""python -m benchmarks [CASE ...] --json FILE: measure; --list names the cases."""

import sys

from mjx_s2r.runtime import devices

if __name__ == "__main__":
    devices.configure()
    from benchmarks.cli import main

    sys.exit(main(sys.argv[1:]))
