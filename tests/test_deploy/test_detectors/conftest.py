"""What the tests of several families of detectors share."""

import pytest
from helpers.tiny_detectors import ExportedDetectors


@pytest.fixture(scope='module')
def files(tmp_path_factory) -> ExportedDetectors:
    """Detectors as files, each written once per file of tests."""
    return ExportedDetectors(tmp_path_factory.mktemp('files'))
