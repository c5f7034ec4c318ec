"""The microcircuit against a loop in NumPy that shares nothing with it but the list of synapses, and the tool that records it."""
import sys

import jax
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from snnlit.core import put
from snnlit.microcircuit import (POPULATIONS, START, activity, constant_input, microcircuit, populations)
from snnlit.network import fired, simulate

SCALE = .02


def by_hand(net, V, drive, steps: int):
    "Steps and neurons of all spikes, in double precision: the update of NEST's iaf_psc_exp, spelled out, with a ring of 64 steps"
    comm, n, spikes = net['cortex->cortex'].comm, len(V), []
    conn, w, delay = comm.layer.conn, np.asarray(comm.layer.weight, float), np.asarray(comm.delay).astype(int)
    targets, rows = np.asarray(conn.indices), np.asarray(conn.indptr)
    I, wait, ring = np.zeros(n), np.zeros(n, int), np.zeros((64, n))
    P22, P11 = np.exp(-.1/10), np.exp(-.1/.5)
    P21, P20 = 10*.5/(250*(.5 - 10))*(P11 - P22), 10/250*(1 - P22)
    for t in range(steps):
        V = np.where(wait == 0, -65 + (V + 65)*P22 + I*P21 + drive*P20, V)
        wait = np.maximum(wait - 1, 0)
        I = I*P11 + ring[t % 64]
        ring[t % 64] = 0
        for k in np.flatnonzero(V >= -50):
            V[k], wait[k] = -65, 20
            row = slice(rows[k], rows[k + 1])
            np.add.at(ring, ((t + delay[row]) % 64, targets[row]), w[row])
            spikes.append((t, k))
    return np.array(spikes).T


@pytest.fixture(scope='module')
def net(): return microcircuit(SCALE, input='dc')


def test_the_first_spikes_are_those_of_a_plain_loop(net):
    "Rounding is amplified by the network, so that trajectories part after some tens of ms; until then they are the same, spike by spike"
    start = net.init_state(jax.random.key(0))
    start = put(start, lambda s: s.cells['cortex'].V, start.cells['cortex'].V + 8)  # closer to the threshold: more to compare
    drive = np.repeat(constant_input(SCALE, input='dc'), [s.stop - s.start for s in populations(SCALE).values()])
    theirs = by_hand(net, np.asarray(start.cells['cortex'].V, float), drive, 200)
    ours = np.stack(fired(simulate(net, 20., state=start, progress=False).bits['cortex']))
    assert theirs.shape[1] > 150
    np.testing.assert_array_equal(ours, theirs)


def test_potentials_start_as_prescribed(net):
    "Means and deviations of a normal law: within 4.5 standard errors, 16 comparisons, one false alarm in 9,000 keys"
    V = np.asarray(net.init_state(jax.random.key(3), (100,)).cells['cortex'].V, float)
    for s, mean, std in zip(populations(SCALE).values(), *START):
        n = 100*(s.stop - s.start)
        assert abs(V[:, s].mean() - mean) < 4.5*std/n**.5
        assert abs(V[:, s].std(ddof=1)/std - 1) < 4.5/(2*n)**.5


def test_seconds_can_be_recorded_one_by_one():
    net = microcircuit(SCALE)
    whole = simulate(net, 60., key=jax.random.key(1), progress=False)
    first = simulate(net, 20., key=jax.random.key(1), progress=False)
    rest = simulate(net, 40., state=first.state, progress=False)
    np.testing.assert_array_equal(np.concatenate([first.bits['cortex'], rest.bits['cortex']]), whole.bits['cortex'])


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(1, 60), st.floats(0, 1), st.integers(0, 2**31))
def test_fired_finds_what_is_there(steps, n, density, seed):
    raster = np.random.default_rng(seed).random((steps, n)) < density
    found = fired(np.packbits(raster, axis=1))
    np.testing.assert_array_equal(np.stack(found), np.stack(np.nonzero(raster)))


def test_activity_of_silence_and_of_clocks():
    quiet = activity([], np.array([], int), 100., SCALE)
    assert all(a.rates.max() == 0 and not len(a.cvs) and not len(a.correlations) for a in quiet.values())
    steps, neurons = np.repeat(np.arange(0, 1000, 100), 2), np.tile([0, 1], 10)  # two neurons of L23E, every 10 ms, together
    L23E = activity(steps, neurons, 100., SCALE)['L23E']
    assert L23E.rates[:2].tolist() == [100., 100.] and not L23E.rates[2:].any()
    np.testing.assert_allclose(L23E.cvs, 0, atol=1e-12)
    np.testing.assert_allclose(L23E.correlations, [1.])


def test_the_tool_stores_what_the_tutorial_reads(tmp_path, monkeypatch, capsys):
    import microcircuit as tool
    before = {name: getattr(jax.config, name) for name in ('jax_compilation_cache_dir', 'jax_persistent_cache_min_compile_time_secs')}
    try:
        for k in range(2):
            monkeypatch.setattr(sys, 'argv', f'microcircuit.py --seeds 2 --seconds 1 --scale .02 --out {tmp_path/str(k)}.npz'.split())
            assert tool.main() == 0
    finally:
        for name, value in before.items(): jax.config.update(name, value)
    a, b = (dict(np.load(tmp_path/f'{k}.npz')) for k in range(2))
    assert capsys.readouterr().out.count('\nseed ') == 4 and str(a['command']).startswith('python ')
    assert a['rates'].shape == a['cvs'].shape == a['correlations'].shape == (2, len(POPULATIONS), 201)
    assert a['ks'].shape == (3, 8, 2, 2) and a['rates_each_second'].shape == (2, 1, 8)
    np.testing.assert_allclose(a['rates_each_second'][:, 0], a['mean_rates'])
    assert a['sha256'][0] != a['sha256'][1]
    for name in set(a) - {'date', 'command', *(f'{k}_seconds' for k in ('build', 'compile', 'run'))}:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)  # two runs, the same numbers
