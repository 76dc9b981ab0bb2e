"""The toy models and data of the generators' tests."""

from tests.unit.generate.conftest import config, data, volumes

__all__ = ["config", "data", "volumes"]
