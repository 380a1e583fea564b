"""What the tests of serving share."""

import pytest
from web_server import MAX_UPLOAD_BYTES, served


@pytest.fixture(scope="session")
def page_server(tmp_path_factory):
    """The web page, started as its container starts it."""
    folder = tmp_path_factory.mktemp("web")
    with served(folder, "--host", "0.0.0.0", "--memory", "1G", "--max-upload", str(MAX_UPLOAD_BYTES)) as one:
        yield one
