"Laws of whole networks, at the size of the benchmark: no spike depends on how a run is organised."
import os
import signal
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from snnlit.core import same
from snnlit.models import coba
from snnlit.network import Sample, simulate

RECORD = ['spikes', Sample('E.V', stride=2, neurons=range(20)), Sample('I->E.g', stride=3, neurons=[0])]  # a chunk may begin in 6 phases: 6 programs


@pytest.fixture(scope='module')
def net(): return coba(delay=1.5, seed=1)


def run(net, ms=100., **kw):
    "One stretch of the driven network; from a fixed key unless a state is given"
    start = {} if 'state' in kw else {'key': jax.random.key(3)}
    return simulate(net, ms, **{**start, 'input': 20., 'record': RECORD, 'progress': False, **kw})


@pytest.fixture(scope='module')
def whole(net): return run(net)


def assert_equal(a, b):
    "Every recorded bit, and the state"
    assert same(a.state, b.state)
    assert same((a.bits, a.fields), (b.bits, b.fields))


@pytest.mark.parametrize('chunk', [1, 7, 1000])
def test_chunks(net, whole, chunk): assert_equal(run(net, chunk=chunk), whole)


def test_two_halves(net, whole):
    "500 + 500 steps are 1000"
    first = run(net, 50.)
    second = run(net, 50., state=first.state)
    assert same(second.state, whole.state)
    joined = jax.tree.map(lambda *x: np.concatenate(x), (first.bits, first.fields), (second.bits, second.fields))
    assert same(joined, (whole.bits, whole.fields))


def test_batch_is_its_members(net):
    "Member `b` is the network that runs alone with the key of `b`"
    together, keys = run(net, batch=3), jax.random.split(jax.random.key(3), 3)
    for b in range(3):
        alone = run(net, key=keys[b])
        assert same(together.member(b).bits, alone.bits)
        assert same(together.member(b).fields, alone.fields)
        assert same(together.member(b).state.cells, alone.state.cells)


def test_vmap_is_batch(net):
    "`vmap` over keys and `batch` are one thing, apart from the place of the axis"
    keys = jax.random.split(jax.random.key(3), 3)
    mapped = jax.vmap(lambda key: run(net, 20., key=key).bits)(keys)
    together = run(net, 20., batch=3).bits
    assert same(jax.tree.map(lambda x: np.moveaxis(np.asarray(x), 0, 1), mapped), together)


def test_interrupt(net):
    "A real Ctrl-C, a second and a half into ten minutes of network time, leaves a result to go on from"
    over = threading.Event()
    def press():  # again, as Python drops an interrupt that comes while it collects garbage
        wait = 1.5
        while not over.wait(wait):
            os.kill(os.getpid(), signal.SIGINT)
            wait = 5.
    simulate(net, 1., key=jax.random.key(3), input=20., chunk=10, progress=False)  # compiled before the clock runs
    threading.Thread(target=press).start()
    part = simulate(net, 600_000., key=jax.random.key(3), input=20., chunk=10, progress=False)
    over.set()
    assert part.interrupted and 0 < part.steps < 6_000_000 and part.steps % 10 == 0
    done = part.steps*.1
    rest = run(net, 20., state=part.state, record='spikes')
    straight = simulate(net, done + 20., key=jax.random.key(3), input=20., progress=False)
    assert (np.concatenate([part.raster('E'), rest.raster('E')]) == straight.raster('E')).all()


def test_forms_agree_statistically(net, whole):
    "Without native kernels the spikes differ once a rounding does; the rates do not"
    other = run(net.using('portable'))
    assert (other.raster('E')[:50] == whole.raster('E')[:50]).all()
    assert np.isclose(other.rate('E'), whole.rate('E'), rtol=.1)


def test_native_kernels_run(net):
    "On a CPU with Numba, events, updates and packing are native: a fallback would go unnoticed in the numbers"
    from snnlit import network
    inputs = {name: jnp.float32(20.) for name in net.names}
    program = network._chunk.lower(net, net.init_state(jax.random.key(0)), inputs, {}, steps=2, first=0,
                                   sources=(), rasters=('E',), samples=()).compile().as_text()
    assert all(target in program for target in ('snnlit_event_bool_float32', 'fused_', 'snnlit_pack'))


def test_no_numba(monkeypatch):
    "Where Numba is missing, the portable form runs, with one warning"
    from snnlit import event
    monkeypatch.setattr(event, 'find_spec', lambda name: None)
    small = coba(150, fan_out=20)
    with pytest.warns(UserWarning, match='pip install numba'):
        slow = simulate(small, 5., key=jax.random.key(0), input=20., progress=False)
    monkeypatch.undo()
    jax.clear_caches()
    fast = simulate(small, 5., key=jax.random.key(0), input=20., progress=False)
    assert (slow.raster('E') == fast.raster('E')).all()


def test_strict_dtypes():
    "Nothing is promoted in silence: a step passes JAX's strict mode, in float32 and in float64"
    for x64 in (False, True):
        with jax.enable_x64(x64), jax.numpy_dtype_promotion('strict'):
            net = coba(50, fan_out=10, delay=.5)
            r = simulate(net, 2., key=jax.random.key(0), input=20., record=['E.V'], progress=False)
            assert r['E.V'].dtype == (np.float64 if x64 else np.float32)
            assert {x.dtype for x in jax.tree.leaves(r.state.cells)} == {
                jnp.dtype(bool), jnp.dtype('int16'), jnp.dtype(r['E.V'].dtype)}
