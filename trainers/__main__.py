"""Lists the commands."""

import sys

from trainers.cli import listing

if __name__ == "__main__":
  sys.exit(listing.run(sys.argv[1:]))
