"""Whole networks against trajectories computed with the original library.

Every `FullProjAlignPostMg` run of the fixtures whose delays follow the latency law is repeated: no delay, one step, 1.5 ms
(from the library's concatenating delay, which has the right latency), another synapse and another neuron model.
"""
import json
from contextlib import nullcontext

import jax
import numpy as np
import pytest
from snnlit.layers import EventCSRLinear
from snnlit.network import Network, simulate
from snnlit.neurons import LifRef, LifRefLTC
from snnlit.projections import FullProjAlignPostMg
from snnlit.synapses import COBA, DualExponV2, Expon

RUNS = {  # tag of the fixture: what it differs in
    't00': dict(delay=None), 't00, one step': dict(delay=.1), 't05': dict(delay=1.5),
    't10': dict(delay=None, syn='DualExponV2'), 't14': dict(delay=None, neu='LifRefLTC')}
E, I = slice(0, 40), slice(40, 50)


def network(z, delay=None, syn='Expon', neu='LifRef'):
    "Forty excitatory and ten inhibitory neurons with the fixture's weights"
    cell = {'LifRef': LifRef, 'LifRefLTC': LifRefLTC}[neu]
    synapse = {'Expon': lambda tau: Expon(tau=tau), 'DualExponV2': lambda tau: DualExponV2(tau_decay=tau, tau_rise=1.)}[syn]
    def population(part):
        return cell(part.stop - part.start, V_rest=-60., V_reset=-60., V_th=-50., tau=20., tau_ref=4.95,
                    V_initializer=z['V0'][part])
    def projection(pre, post, rows, columns, tau, reversal):
        comm = EventCSRLinear.from_dense(z['W'][rows, columns])
        return FullProjAlignPostMg(pre, delay, comm, synapse(tau), COBA(E=reversal), post)
    return Network({'E': population(E), 'I': population(I)}, dt=.1, projections=[
        projection('E', 'E', E, E, 5., 0.), projection('E', 'I', E, I, 5., 0.),
        projection('I', 'E', I, E, 10., -80.), projection('I', 'I', I, I, 10., -80.)])


def fixture_runs(z):
    "The runs of a fixture file that must be reproduced, as `(manifest entry, tag)`"
    runs = [m for m in json.loads(str(z['manifest'])) if m['proj'] == 'FullProjAlignPostMg']
    return {(m['tag'], m['delay']) for m in runs if m['delay'] in (None, .1) or m.get('method') == 'concat'}


def test_no_run_is_left_out(oracles):
    ours = {(name[:3], what['delay']) for name, what in RUNS.items()}
    for precision in ('f64', 'f32'):
        assert fixture_runs(np.load(oracles/'brainpy'/f'traj_{precision}.npz')) == ours


@pytest.mark.parametrize('form', ['auto', 'portable'])
@pytest.mark.parametrize('precision', ['f64', 'f32'])
@pytest.mark.parametrize('name', RUNS)
def test_trajectory(oracles, name, precision, form):
    "float64: every recorded number to 1e-9. float32: every spike, and numbers to the rounding of 400 steps"
    z, tag = np.load(oracles/'brainpy'/f'traj_{precision}.npz'), name[:3]
    with jax.enable_x64(True) if precision == 'f64' else nullcontext():
        net = network(z, **RUNS[name]).using(form)
        steps = len(z[f'{tag}_spk'])
        r = simulate(net, steps*.1, input={'E': z['I'][E], 'I': z['I'][I]}, progress=False,
                     record=['spikes', 'E.V', 'I.V', *conductances(net)])
        spikes = np.concatenate([r.raster('E'), r.raster('I')], 1)
        assert (spikes == np.unpackbits(z[f'{tag}_spk'], axis=1)[:, :50]).all()
        atol = 1e-9 if precision == 'f64' else 2e-2  # f32: mV after 400 steps of up to 73 mV, resets included
        assert np.allclose(np.concatenate([r['E.V'], r['I.V']], 1)[:, z['mon']], z[f'{tag}_V'], rtol=0, atol=atol)
        for key, values in observed(net, r).items():
            assert np.allclose(values[:, z['mon']], z[f'{tag}_{key}'], rtol=0, atol=atol)


def conductances(net):
    "Names of the synaptic states, excitatory and inhibitory, of both populations"
    fields = ('g',) if isinstance(net.synapses[0].syn, Expon) else ('rise', 'fall')
    return [f'{p.name}.{f}' for p in net.pathways for f in fields]


def observed(net, r):
    "What each neuron sees: `{'gE': [steps, 50], 'gI': [steps, 50]}`"
    def seen(pre, post):
        p = net[f'{pre}->{post}']
        syn = net.synapses[p.synapse].syn
        if isinstance(syn, Expon): return r[f'{p.name}.g']
        return np.asarray(syn.scale())*(r[f'{p.name}.fall'] - r[f'{p.name}.rise'])
    return {f'g{pre}': np.concatenate([seen(pre, 'E'), seen(pre, 'I')], 1) for pre in 'EI'}
