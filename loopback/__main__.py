"""`python -m loopback FOLDER [SECONDS]`: serve a session until SIGTERM, the trades of its last so many as they came."""

import sys
from pathlib import Path

from loopback.serving import serve_until_terminated

serve_until_terminated(Path(sys.argv[1]), *map(float, sys.argv[2:]))
