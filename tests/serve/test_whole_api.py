"""schemathesis asks what the API's own description allows, and more: it answers each, and never with a fault."""

import subprocess
import sys
from pathlib import Path

from tests.serve.conftest import Served, environ_of
from tests.serve.market import Market

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def test_no_request_that_openapi_allows_meets_a_fault(served: Served, market: Market, tmp_path: Path) -> None:
    ran = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")), "run", f"{served.url}/openapi.json",
            "--header", f"X-API-Key: {served.keys['analyst1']}", "--checks", CHECKS, "--max-examples", "15",
            "--phases", "examples,coverage,fuzzing", "--seed", "1", "--suppress-health-check", "all", "--no-color",
            "--request-timeout", "30", "--workers", "1",
            "--exclude-path", "/v1/stream",  # which never ends: test_stream.py
        ],
        env=environ_of(served), cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-5000:] + ran.stderr[-2000:]
