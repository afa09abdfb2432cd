"""The Hub on loopback, for what is pushed there."""

from sl_assets_tests.hub.conftest import hub, token

__all__ = ["hub", "token"]
