"""Loopback servers that speak the sources' own protocols and refuse what the sources refuse.

Each serves one folder of recordings (or a generated session of the same formats) on 127.0.0.1 and a free port. What a
vendor does not have, its replay's control, lies under `/_replay/` alone: `GET /_replay/status`, `POST /_replay/next`,
`POST /_replay/fault?kind=..`.
"""
