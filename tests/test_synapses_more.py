"""Synapses step as brainpy's do, or differ from them by a factor that is known in closed form.

In float64 the two differ by rounding alone (3e-14), so 1e-9 is ample. In float32 they differ by up to 5e-6, partly
since brainpy evaluates (exp(u) - 1)/u without expm1; four times that is allowed. Of the pulsed models only the
fixtures with names in `safe` are read, whose pulse is no multiple of dt: the others depend on the host in float64.
"""
import jax, jax.numpy as jnp, numpy as np
import pytest

from snnlit.kinetic import AMPA, NMDA, Alpha, BioNMDA, DualExpon, GABAa
from snnlit.short_term import STD, STP, STPState
from snnlit.synapses import Delta, MgBlock

DT = .1
PRECISIONS = pytest.mark.parametrize('bits', [64, 32])


def record(cell, spikes, state=None, look=None):
    "What `look` sees of the state after each step; `conductance` by default"
    look = look or cell.conductance
    def body(s, x):
        s = cell.step(s, x, dt=DT)
        return s, look(s)
    return jax.lax.scan(body, state or cell.init_state(), jnp.asarray(spikes))[1]


def assert_near(ours, fixture, key, bits, scale=1.):
    "The recording of `key`, times `scale`"
    theirs = fixture[key]
    assert ours.dtype == theirs.dtype and theirs.max() > .1
    np.testing.assert_allclose(scale*np.asarray(ours, float), theirs, rtol=0, atol=1e-9 if bits == 64 else 2e-5)


def euler_excess(fall, rise):
    "By how much exponential Euler with the old supply exceeds the exact second-order response"
    if fall == rise: return fall*-np.expm1(-DT/fall)/(DT*np.exp(-DT/fall))
    return -fall*np.expm1(-DT/fall)*(1/rise - 1/fall)/(np.exp(-DT/fall) - np.exp(-DT/rise))


@PRECISIONS
@pytest.mark.parametrize('make, key, taus', [
    (lambda: DualExpon(4, tau_decay=10., tau_rise=1.), 'DualExpon', (10., 1.)),
    (lambda: DualExpon(4, tau_decay=5., tau_rise=5.), 'DualExpon_equal', (5., 5.)),
    (lambda: DualExpon(4, tau_decay=10., tau_rise=1., A=1.), 'DualExpon_A1', (10., 1.)),
    (lambda: Alpha(4, tau_decay=3.), 'Alpha', (3., 3.))])
def test_second_order(fixture, bits, make, key, taus):
    "Ours are exact; brainpy's are larger by one constant"
    g = record(make(), fixture['spikes'])
    assert_near(g, fixture, f'syn_{key}', bits, scale=euler_excess(*taus))
    assert abs(np.asarray(g) - fixture[f'syn_{key}']).max() > .01  # and the constant is not 1


@PRECISIONS
def test_nmda(fixture, bits): assert_near(record(NMDA(4), fixture['spikes']), fixture, 'syn_NMDA', bits)


@PRECISIONS
@pytest.mark.parametrize('make, key, safe', [(AMPA, 'AMPA', .45), (GABAa, 'GABAa', .95), (BioNMDA, 'BioNMDA', .45)])
def test_pulses(fixture, bits, make, key, safe):
    "A pulse covers the steps that begin within it, so 0.45 ms and 0.5 ms are the same five steps"
    for syn in (make(4), make(4, T_dur=safe)): assert_near(record(syn, fixture['spikes']), fixture, f'syn_{key}_safe', bits)


@PRECISIONS
def test_a_pulse_of_one_step_more_is_noticed(fixture, bits):
    g = record(AMPA(4, T_dur=.6), fixture['spikes'])
    assert abs(g - fixture['syn_AMPA_safe']).max() > .01


@PRECISIONS
def test_depression(fixture, bits):
    syn = STD(4)
    assert_near(record(syn, fixture['spikes'], look=syn.efficacy), fixture, 'syn_STD', bits)


@PRECISIONS
def test_short_term(fixture, bits):
    "brainpy starts at u = U, which is not the rest of its equations"
    syn = STP(4)
    rest = syn.init_state()
    start = STPState(jnp.full_like(rest.u, syn.U), rest.x, rest.release)
    assert_near(record(syn, fixture['spikes'], start, syn.efficacy), fixture, 'syn_STP', bits)
    from_rest = record(syn, fixture['spikes'], look=syn.efficacy)
    assert abs(from_rest - fixture['syn_STP']).max() > .05


@PRECISIONS
@pytest.mark.parametrize('make, key', [(MgBlock, 'MgBlock'), (lambda: MgBlock(0., 1., .05, 3., 2.), 'MgBlock_par')])
def test_magnesium(fixture, bits, make, key):
    I = make()(jnp.asarray(fixture['out_g']), jnp.asarray(fixture['out_V']))
    np.testing.assert_allclose(I, fixture[f'out_{key}'], rtol=0, atol=1e-9 if bits == 64 else 1e-5)


@PRECISIONS
def test_spikes_may_be_numbers(fixture, bits):
    for make in (DualExpon, Alpha, NMDA, BioNMDA, AMPA, GABAa, STD, STP):
        syn, spikes = make(4), fixture['spikes'][:100]
        np.testing.assert_array_equal(record(syn, spikes), record(syn, spikes.astype(float)))


def test_delta_keeps_nothing():
    "Both orders of a projection show the drive of a step, in that step alone, batched or not"
    syn, drives = Delta(3), jnp.asarray(np.random.default_rng(0).normal(size=(20, 2, 3)), jnp.float32)
    for merged in (False, True):
        s = syn.init_state(batch=(2,))
        for x in drives:
            def add(g): return g + x
            s = syn.decay(syn.receive(s, add), DT) if merged else syn.receive(syn.decay(s, DT), add)
            np.testing.assert_array_equal(syn.conductance(s), x)
