"""Cells step as brainpy's do: same inputs, same spikes, same potentials and conductances.

In float64 the two differ by rounding alone (2e-14 mV), so 1e-9 is ample. In float32 the spikes must be identical, and
the potentials differ by up to 4e-5 mV, partly since brainpy evaluates (exp(u) - 1)/u without expm1; five times that is
allowed. The refractory time of the fixtures is 4.95 ms at dt = 0.1 ms: at 5 ms brainpy's own count depends on the
rounding of the time.
"""
import jax, jax.numpy as jnp, numpy as np
import pytest

from snnlit.neurons import LifRef, LifRefLTC
from snnlit.synapses import COBA, CUBA, DualExponV2, Expon

DT = .1
NEURON = dict(V_rest=-60., V_reset=-60., V_th=-50., tau=20.)
PRECISIONS = pytest.mark.parametrize('bits', [64, 32])


def record(cell, state, inputs, look):
    "`look(state)` after each step, one row of `inputs` per step"
    def body(s, x):
        s = cell.step(s, x, dt=DT)
        return s, look(s)
    return jax.lax.scan(body, state, jnp.asarray(inputs))[1]


@PRECISIONS
@pytest.mark.parametrize('kind, key, tau_ref', [
    (LifRef, 'LifRef_ref4.95', 4.95), (LifRef, 'LifRef_ref0', 0.), (LifRefLTC, 'LifRefLTC_ref4.95', 4.95)])
def test_neurons(fixture, bits, kind, key, tau_ref):
    cell = kind(4, tau_ref=tau_ref, V_initializer=fixture['neu_V0'], **NEURON)
    V, spikes = record(cell, cell.init_state(), fixture['neu_I'], lambda s: (s.V, s.spike))
    assert V.dtype == fixture['neu_V0'].dtype and spikes.any(0).all()
    np.testing.assert_array_equal(spikes, fixture[f'neu_{key}_spk'])
    np.testing.assert_allclose(V, fixture[f'neu_{key}_V'], rtol=0, atol=1e-9 if bits == 64 else 2e-4)


@PRECISIONS
@pytest.mark.parametrize('syn, key', [(lambda: Expon(4, tau=5.), 'Expon'),
                                      (lambda: DualExponV2(4, tau_decay=10., tau_rise=1.), 'DualExponV2')])
def test_synapses(fixture, bits, syn, key):
    cell = syn()
    g = record(cell, cell.init_state(), fixture['spikes'].astype(float), cell.conductance)
    assert g.dtype == fixture[f'syn_{key}'].dtype and g.max() > .9
    np.testing.assert_allclose(g, fixture[f'syn_{key}'], rtol=0, atol=1e-9 if bits == 64 else 5e-6)


@PRECISIONS
@pytest.mark.parametrize('out, key', [(lambda: COBA(0.), 'COBA_E0'), (lambda: COBA(-80.), 'COBA_E-80'), (CUBA, 'CUBA')])
def test_outs(fixture, bits, out, key):
    I = out()(jnp.asarray(fixture['out_g']), jnp.asarray(fixture['out_V']))
    np.testing.assert_allclose(I, fixture[f'out_{key}'], rtol=0, atol=1e-9 if bits == 64 else 1e-5)


@PRECISIONS
def test_a_wrong_time_constant_is_noticed(fixture, bits):
    "The comparison has teeth: a thousandth of a time constant breaks it"
    cell = Expon(4, tau=5.005)
    g = record(cell, cell.init_state(), fixture['spikes'].astype(float), cell.conductance)
    assert abs(g - fixture['syn_Expon']).max() > 2e-4
