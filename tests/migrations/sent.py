"""What the kept states hold beside the demo's rows: sent by fill_state.py, looked for by the tests."""

import json
from datetime import UTC, datetime

AT = datetime(2024, 8, 9, 12, tzinfo=UTC)  # a day that is not yet due in the demo's replay
TICK = {"source_system": "simulated", "symbol": "BTC/USDT", "timestamp": AT.isoformat(), "price": 1.5, "size": 2.0}
NOT_ROWS: dict[str, list[bytes]] = {
    "market_tick": [b"{", b"[]", json.dumps(TICK | {"price": None}).encode()],
    "economic_event_text": [b"not JSON"],
}
WAITING = 5  # ticks that lie in Kafka behind the processor's position
