"""Everything else is in pyproject.toml; here is only that no wheel is built of this project."""

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel


class Refused(bdist_wheel):  # type: ignore[misc]
    """An editable install asks this command for its tags alone."""

    def run(self) -> None:
        """One sentence."""
        raise SystemExit(
            "expected an editable install from a checkout (`make setup`), received the wish for a wheel: "
            "Tidemark's top-level packages have names too general to share an environment with others"
        )


setup(cmdclass={"bdist_wheel": Refused})
