"What several test files share."
import ctypes
import gc
import signal
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT/'tools'))  # the tools are scripts, and tested as modules


def pytest_addoption(parser):
    parser.addoption('--all-widgets', action='store_true', help='try every notebook with a widget in the browser, for some minutes')


@pytest.fixture(scope='session', autouse=True)
def ctrl_c():
    "A process started in the background by a shell, as CI may be, ignores Ctrl-C, and so do its children; tests press it"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def resident() -> int:
    "Bytes of memory that this process has, on Linux; elsewhere 0"
    pages = Path('/proc/self/statm')
    return int(pages.read_text().split()[1])*4096 if pages.exists() else 0


@pytest.fixture(autouse=True)
def forget_compiled_code():
    "JAX keeps every program that it compiled, about 2 MB each; thousands of small ones need more memory than there is"
    yield
    if resident() > 2**32 and 'jax' in sys.modules:
        sys.modules['jax'].clear_caches()
        gc.collect()
        if trim := getattr(ctypes.CDLL(None), 'malloc_trim', None): trim(0)  # without it the memory stays with the process


@pytest.fixture(scope='session')
def oracles() -> Path:
    "Results computed with other simulators, kept beside the repository because they are not ours to publish"
    folder = ROOT.parent/'shared'/'oracles'
    if not folder.is_dir():
        pytest.skip('no ../shared/oracles: results of other simulators are not part of this repository')
    return folder


@pytest.fixture
def fixture(oracles, bits):
    "brainpy's dynamics in one precision, with JAX in the same"
    import jax  # here: other tests should not wait for it
    import numpy as np
    with jax.enable_x64(bits == 64), np.load(oracles/'brainpy'/f'dyn_f{bits}.npz') as file:
        yield file
