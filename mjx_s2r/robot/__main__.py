"""python -m mjx_s2r.robot VERB: the same command as mjx-s2r-robot."""

import sys

from mjx_s2r.robot.cli.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
