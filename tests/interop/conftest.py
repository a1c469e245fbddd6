"""The real packages, offline."""

import os

import pytest

# litellm, which three of the packages bring, else asks the network for a price list when it is imported: seconds of
# retries.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Warnings of the packages are theirs; ours are errors here too."""
    for item in items:
        item.add_marker(pytest.mark.filterwarnings("default", "error:::streamgauge"))
