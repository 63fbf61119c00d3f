"""`python -m demo.servers FOLDER`: serve one session until SIGTERM."""

import sys
from pathlib import Path

from demo.servers.running import serve_until_terminated

serve_until_terminated(Path(sys.argv[1]))
