"""A server that speaks S3, on loopback, as somebody's own would: what it holds is gone with it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

KEY, SECRET = "AKIALOOPBACKONLY0000", "a+secret/of the lake"

logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line a request


@dataclass
class S3:
    """The server, its URL, and a client of it."""

    server: ThreadedMotoServer
    url: str
    client: Any

    @contextmanager
    def back_afterwards(self) -> Iterator[None]:
        """Start it anew on its port, with what it held, after a block that ends it by `server.stop()`."""
        try:
            yield
        finally:
            self.server = ThreadedMotoServer("127.0.0.1", int(self.url.rpartition(":")[2]), verbose=False)
            self.server.start()

    @property
    def environ(self) -> dict[str, str]:
        """What a person sets to use it."""
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def names(self, bucket: str) -> list[str]:
        """The keys of all objects of a bucket."""
        return [found["Key"] for found in self.client.list_objects_v2(Bucket=bucket).get("Contents", [])]

    def read(self, bucket: str, key: str) -> bytes:
        """An object's bytes."""
        return bytes(self.client.get_object(Bucket=bucket, Key=key)["Body"].read())


@contextmanager
def s3_server() -> Iterator[S3]:
    """A running one, on a free port."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    s3 = S3(server, url, None)
    try:
        s3.client = boto3.client(
            "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id=KEY, aws_secret_access_key=SECRET
        )
        yield s3
    finally:
        s3.server.stop()
