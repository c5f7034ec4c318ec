"What several test files share."
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT/'tools'))  # the tools are scripts, and tested as modules


def pytest_addoption(parser):
    parser.addoption('--all-widgets', action='store_true', help='try every notebook with a widget in the browser, for some minutes')


@pytest.fixture(scope='session')
def oracles() -> Path:
    "Results computed with other simulators, kept beside the repository because they are not ours to publish"
    folder = ROOT.parent/'shared'/'oracles'
    if not folder.is_dir():
        pytest.skip('no ../shared/oracles: results of other simulators are not part of this repository')
    return folder
