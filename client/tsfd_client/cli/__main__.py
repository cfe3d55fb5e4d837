"""``python -m tsfd_client.cli`` is ``tsfd``."""

import sys

from tsfd_client.cli import main

sys.exit(main())
