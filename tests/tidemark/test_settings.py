"""Settings: read from the environment alone; a wrong one is named; the page lists them all."""

import pytest

from tests.conftest import Stack
from tidemark import configuration
from tidemark.errors import ConfigurationError
from tidemark.settings import load


def test_the_page_lists_every_setting_as_it_is() -> None:
    assert configuration.PAGE.read_text() == configuration.page(), "run `make docs`"


def test_a_wrong_value_is_said_with_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMARK_POSTGRES_PORT", "seventy")
    with pytest.raises(ConfigurationError, match=r"^TIDEMARK_POSTGRES_PORT: .*integer"):
        load()


def test_a_value_that_is_no_json_is_said_with_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMARK_RETRY_SECONDS", "abc")
    with pytest.raises(ConfigurationError, match=r"^TIDEMARK_RETRY_SECONDS: expected JSON"):
        load()


def test_an_empty_variable_is_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMARK_REALTIME_URL", "")
    assert load().realtime_url is None


def test_a_setting_that_holds_a_secret_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMARK_WAREHOUSE_URL", "postgresql://boss:hidden@db/")
    assert "hidden" not in repr(load())


def test_a_wrong_setting_ends_a_command_with_code_2(stack: Stack) -> None:
    done = stack.run("status", TIDEMARK_KEEP_DAYS="0")
    assert done.returncode == 2
    assert done.stderr.startswith("tidemark: TIDEMARK_KEEP_DAYS: ")


@pytest.mark.parametrize("url", ["hidden", "postgresql://boss:hid den@db:5432", "postgresql://boss:hid/den@db:5432"])
@pytest.mark.parametrize("command", ["status", "env"])
def test_a_malformed_url_is_said_with_its_variable_and_never_shown(new_stack: Stack, url: str, command: str) -> None:
    done = new_stack.run(command, "--json", TIDEMARK_REALTIME_URL=url, TIDEMARK_WAREHOUSE_URL=url)
    assert done.returncode == 2
    assert done.stderr.startswith("tidemark: TIDEMARK_REALTIME_URL: expected postgresql://")
    assert "hid" not in done.stdout + done.stderr
