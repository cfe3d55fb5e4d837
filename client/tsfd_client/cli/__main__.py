"""Run ``tsfd`` as ``python -m tsfd_client.cli``."""

import sys

from tsfd_client.cli import main

sys.exit(main())
