"""`python -m loopback FOLDER`: serve one session until SIGTERM."""

import sys
from pathlib import Path

from loopback.serving import serve_until_terminated

serve_until_terminated(Path(sys.argv[1]))
