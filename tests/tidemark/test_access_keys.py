"""Keys of the API: what opens, what does not and why, and what is kept of them."""

import json
import multiprocessing
import time
from pathlib import Path

import pytest
from pydantic import SecretStr

from tidemark.access import key_file
from tidemark.access.apply import apply_access
from tidemark.access.keys import KeyRefused, Keys, last_uses
from tidemark.errors import ConfigurationError, StackError
from tidemark.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of a state folder with nothing in it, and no server."""
    return Settings(home=tmp_path / "home")


def refusal(keys: Keys, presented: str) -> str:
    """Why a key opens nothing; nothing of the key is said."""
    with pytest.raises(KeyRefused) as refused:
        keys.check(presented)
    assert presented[-43:] == "" or presented[-43:] not in str(refused.value)
    return refused.value.reason


def test_a_key_opens_for_its_name_with_its_scope_and_rate_and_is_kept_as_a_digest_alone(settings: Settings) -> None:
    key_id, key = key_file.make(settings, "analyst1", 60, ["marts", "live"], 10)
    caller = Keys(settings).check(key)
    assert (caller.name, caller.key_id, caller.scope, caller.requests_per_second) == (
        "analyst1", key_id, ("live", "marts"), 10,
    )  # fmt: skip
    assert key.startswith(f"tidemark_{key_id}_") and len(key) == len(f"tidemark_{key_id}_") + 43
    path = key_file.path_of(settings)
    assert key[-43:] not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_opens_nothing_says_why(settings: Settings, tmp_path: Path) -> None:
    keys = Keys(settings)
    foreign = key_file.make(Settings(home=tmp_path / "another"), "analyst1", 60)[1]
    assert refusal(keys, foreign) == "unknown"  # with no key made here at all
    key_id, key = key_file.make(settings, "analyst1", 60)
    keys.check(key)
    of_another = f"tidemark_{key_id}_{foreign[-43:]}"
    for presented in (
        foreign,
        of_another,
        "",
        "tidemark__",
        key[:-1],
        f"{key} ",
        f"{key}é",
        key.upper(),
        "\x00",
        "é" * 99,
    ):
        assert refusal(keys, presented) == "unknown"
    key_file.revoke(settings, key_id)
    assert refusal(keys, key) == "revoked"
    assert refusal(keys, key_file.make(settings, "analyst1", 1e-9)[1]) == "expired"


def test_a_new_key_takes_the_place_of_an_old_one_which_opens_until_its_grace_is_over(settings: Settings) -> None:
    key_id, key = key_file.make(settings, "analyst1", 600, ["live"], 10)
    keys = Keys(settings)
    new_id, new = key_file.rotate(settings, key_id, 60)
    assert keys.check(new).scope == keys.check(key).scope == ("live",)
    records = key_file.read(settings)
    assert records[key_id]["expires_at"] < time.time() + 61
    assert records[new_id]["expires_at"] > time.time() + 590
    key_file.rotate(settings, new_id, 1e-9)
    assert refusal(keys, new) == "expired"
    with pytest.raises(ConfigurationError, match="does not any more: make a new one"):
        key_file.rotate(settings, new_id)
    with pytest.raises(ConfigurationError, match="received 'none'"):
        key_file.revoke(settings, "none")


def make_keys(home: Path, name: str, count: int) -> None:
    """In a process of its own."""
    for _ in range(count):
        key_file.make(Settings(home=home), name, 60)


def test_of_two_processes_that_make_keys_at_once_nothing_is_lost(settings: Settings) -> None:
    context = multiprocessing.get_context("fork")
    makers = [context.Process(target=make_keys, args=(settings.home, name, 25)) for name in ("one", "two")]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    names = [record["name"] for record in key_file.read(settings).values()]
    assert (names.count("one"), names.count("two")) == (25, 25)


def test_a_file_of_keys_that_others_may_read_is_closed_and_one_that_they_may_write_is_refused(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    key = key_file.make(settings, "analyst1", 60)[1]
    path, keys = key_file.path_of(settings), Keys(settings)
    path.chmod(0o644)
    keys.check(key)
    assert path.stat().st_mode & 0o777 == 0o600
    assert f"expected {path} of mode 0600, received 0644: closed it" in caplog.text
    path.chmod(0o666)
    with pytest.raises(StackError, match="received 0666: others may have written keys of their own"):
        keys.check(key)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"keys": {"1": {}}}', '{"keys": {"1": {"sha256": 1}}}', "\x00"])
def test_a_file_of_keys_that_is_none_opens_nothing_and_is_not_written_over(settings: Settings, text: str) -> None:
    key = key_file.make(settings, "analyst1", 60)[1]
    path, keys = key_file.path_of(settings), Keys(settings)
    path.write_text(text)
    for use in (lambda: keys.check(key), lambda: key_file.make(settings, "analyst1", 60)):
        with pytest.raises(StackError, match=r"put .*api_keys.json back from a backup, or remove it"):
            use()
    assert path.read_text() == text


def test_the_last_use_of_each_key_is_kept_every_few_seconds_and_by_its_end(settings: Settings) -> None:
    keys = Keys(settings)
    keys.note_use("11111111")
    first = last_uses(settings)["11111111"]
    assert abs(first - time.time()) < 10
    for _ in range(100):
        keys.note_use("22222222")
    assert last_uses(settings) == {"11111111": first}
    keys.close()
    assert last_uses(Settings(home=settings.home)).keys() == {"11111111", "22222222"}
    Keys(settings).close()
    assert last_uses(settings)["11111111"] == first  # another process goes on with them
    (settings.home / "run" / "api_key_use.json").write_text("{")
    assert last_uses(settings) == {}


def test_a_key_that_ended_long_ago_is_forgotten_with_the_next(settings: Settings) -> None:
    old, _ = key_file.make(settings, "analyst1", 60)
    path = key_file.path_of(settings)
    body = json.loads(path.read_text())
    body["keys"][old] |= {"made_at": 0.0, "expires_at": 1.0}
    path.write_text(json.dumps(body))
    new, _ = key_file.make(settings, "analyst1", 60)
    assert list(key_file.read(settings)) == [new]
    assert list(path.parent.iterdir()) == [path]


def test_a_key_of_who_left_the_file_ends_though_no_database_answers(settings: Settings) -> None:
    nobody = SecretStr("postgresql://administrator:password@127.0.0.1:9")
    key = key_file.make(settings, "left1", 60)[1]
    with pytest.raises(StackError):
        apply_access(settings.model_copy(update={"realtime_url": nobody, "warehouse_url": nobody}))
    assert refusal(Keys(settings), key) == "revoked"
