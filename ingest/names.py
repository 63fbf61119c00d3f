"""Names as the source has them, for dlt, whose own conventions clean and shorten some until two are one."""

from dlt.common.normalizers.naming.direct import NamingConvention as Direct


class NamingConvention(Direct):  # type: ignore[misc]
    """No name is changed. What no table can be called is set aside when it is loaded, and said."""

    def normalize_identifier(self, identifier: str) -> str:
        """The name as it is; dlt calls a blank one _empty before it asks."""
        return identifier
