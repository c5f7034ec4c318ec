"Training that is interrupted by a signal, at any moment, and files that are half written."
import signal, sys
from functools import partial

import jax, numpy as np
import pytest

from snnlit.core import same
from snnlit.rate import rate_network
from snnlit.tasks import PerceptualDecision
from snnlit.train import adam, train

EASY = PerceptualDecision(coherences=(16.,), stimulus=(100., 100.), decision=100.)
net = rate_network(20, 3, 2, key=jax.random.key(0))
run = partial(train, net, EASY, key=jax.random.key(1), batch=10, every=500, validation=50, limit=2000, progress=False)


@pytest.fixture(scope='module')
def unbroken():
    return run()


@pytest.fixture
def alarm():
    "Ctrl-C after so many seconds, wherever the program is then"
    def pressed(*_): raise KeyboardInterrupt
    old = signal.signal(signal.SIGALRM, pressed)
    yield partial(signal.setitimer, signal.ITIMER_REAL)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, old)


@pytest.mark.parametrize('seconds', [1e-4, 1e-3, 3e-3, .01, .02])
def test_a_training_interrupted_anywhere_and_resumed_is_the_unbroken_one(tmp_path, unbroken, alarm, seconds):
    "The clock starts after the second validation; what it hits differs from run to run, and must not matter"
    def start(history):
        if len(history.trials) == 2: alarm(seconds)
    file = tmp_path/'training.npz'
    part = run(checkpoint=file, show=start)
    alarm(0)
    done = len(part.history.loss)
    assert np.array_equal(part.history.loss, unbroken.history.loss[:done]) and done % 25 == 0
    whole = run(checkpoint=file)
    assert same((whole.state, whole.history, whole.net), (unbroken.state, unbroken.history, unbroken.net))


def test_a_file_that_could_not_be_written_leaves_the_old_one(tmp_path, monkeypatch, unbroken):
    file = tmp_path/'training.npz'
    run(checkpoint=file, limit=500)
    before = file.read_bytes()
    def full(*_, **__): raise OSError('no space left on device')
    with monkeypatch.context() as patch:
        patch.setattr(np, 'savez', full)
        with pytest.raises(OSError, match='no space'): run(checkpoint=file)
    assert file.read_bytes() == before
    assert same(run(checkpoint=file).state, unbroken.state)


def test_without_optax_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'optax', None)
    with pytest.raises(ImportError, match=r"pip install 'snnlit\[train\]'"): adam(.0123)
