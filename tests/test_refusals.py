"""Bad input for every public name of the models: an error that names the argument, the value and what is allowed.

`CALLS` has at least one call for each name, by hand; `test_every_argument` tries every argument of every model of a neuron,
a synapse or a surrogate. A new name that is in neither list fails `test_no_name_is_missing`.
"""
from dataclasses import fields
from importlib import import_module

import jax, jax.numpy as jnp, numpy as np
import pytest

from snnlit.delayed import Delayed
from snnlit.initialize import Normal
from snnlit.kinetic import *
from snnlit.layers import AllToAll, EventCSRLinear, OneToOne
from snnlit.network import *
from snnlit.neurons import *
from snnlit.projections import *
from snnlit.short_term import *
from snnlit.sources import *
from snnlit.spike_models import *
from snnlit.surrogate import *
from snnlit.synapses import *

MODULES = 'neurons', 'surrogate', 'spike_models', 'sources', 'synapses', 'kinetic', 'short_term', 'projections', 'network'
PUBLIC = {name: getattr(module, name) for module in (import_module(f'snnlit.{each}') for each in MODULES)
          for name in module.__all__ if callable(getattr(module, name))}

# Names with nothing to refuse: types, protocols and bases; what a step, a network or `simulate` makes and hands back; and
# the inner functions of a step, which are handed what has been checked before.
NOTHING = set("""
    Input Jump Neurons Spiking Surrogate AlignPost AlignPre Projection Plastic
    SpikeState LifState AdExState IzhikevichState HHState SourceState SpikeTimeState ReadoutState
    ExponState DualExponState DeltaState SecondOrderState NMDAState PulseState BioNMDAState STDState STPState
    Pathway PathwayState Synapse Summed NetworkState Timing
    CUBA rosenbrock hh_rates opened
    """.split())


def full(pre='A', delay=None, comm=AllToAll(3, 3, 1.), syn=Expon(tau=5.), out=COBA(0.), post='B', kind=FullProjAlignPostMg, **kw):
    return kind(pre, delay, comm, syn, out, post, **kw)

def half(kind=HalfProjAlignPostMg, comm=AllToAll(3, 3, 1.), syn=Expon(tau=5.), out=COBA(0.), post='B', **kw):
    return kind(comm, syn, out, post, **kw)

def ahead(pre='A', syn=NMDA(), delay=None, comm=AllToAll(3, 3, 1.), out=COBA(0.), post='B', **kw):
    return ProjAlignPre(pre, syn, delay, comm, out, post, **kw)

def net(*projections, A=LifRef(3), B=LifRef(3), dt=.1): return Network({'A': A, 'B': B}, projections or [full()], dt)

def step(cell, x=0., key=None, **kw): return cell.step(cell.init_state(), x, dt=.1, **kw, **({} if key is None else {'key': key}))

def run(duration=1., on=None, **kw):
    return simulate(on or net(), duration, **{**({} if 'state' in kw else {'key': jax.random.key(0)}), 'progress': False, **kw})

def recorded(batch=(), kind=Result):
    "What `simulate` hands back, without a simulation"
    on = net()
    state = on.init_state(jax.random.key(0), batch)
    more = dict(state=state) if kind is Result else {}
    return kind(bits={'A': np.zeros((10, *batch, 1), np.uint8)}, fields={'A.V': np.zeros((10, *batch, 3))}, dt=.1, first=0, steps=10,
                sizes=(('A', 3), ('B', 3)), samples=(Sample('A.V'),), **more)


line = DelayLine(3, 5)
ring = line.init_state()
listed = EventCSRLinear.from_dense(np.ones((3, 3)))
four, key = jnp.ones(4), jax.random.key(0)
batch_axis = 'x must broadcast to shape (3,), got (4,). Is a batch axis missing?'
rate = 'Did you pass a rate? tau = 1/rate.'

CALLS = {
    # neurons
    'time_constant': [(lambda: time_constant('X: tau (ms)', -1.), f'X: tau (ms) must be positive and finite, got -1.0. {rate}')],
    'moved': [(lambda: moved(jnp.zeros(3), jnp.ones((2, 3))), 'jump (mV) must broadcast to shape (3,), got (2, 3)')],
    'Membrane': [(lambda: Membrane(3, tau=0.), f'Membrane: tau (ms) must be positive and finite, got 0.0. {rate}')],
    'LifRef': [(lambda: LifRef(3, V_reset=20.), 'LifRef: V_reset (mV) must be below V_th, got 20 with V_th = 20'),
               (lambda: LifRef(3, V_th=[20., 20., -6.]), 'got -5 with V_th = -6'),
               (lambda: LifRef(3, tau_ref=-1.), 'LifRef: tau_ref (ms) must be one non-negative number, got -1.0'),
               (lambda: LifRef(3, spk_fun=InvSquareGrad([1., 2.])), 'numbers of spk_fun must broadcast to shape (3,), got (2,)'),
               (lambda: LifRef(3, V_initializer=Normal), 'V_initializer (mV) is the class Normal'),
               (lambda: LifRef(3, V_initializer=Normal(0., 1.)).init_state(), 'key must be a JAX random key, got None'),
               (lambda: step(LifRef(3), four), f'LifRef.step: {batch_axis}'),
               (lambda: step(LifRef(3), lambda V: four), f'LifRef.step: {batch_axis}'),
               (lambda: step(LifRef(3), jump=four), 'jump (mV) must broadcast to shape (3,), got (4,)')],
    'LifRefLTC': [(lambda: LifRefLTC(3, V_th=-5.), 'LifRefLTC: V_reset (mV) must be below V_th'),
                  (lambda: step(LifRefLTC(3), lambda V: four), f'LifRefLTC.step: {batch_axis}')],
    'Lif': [(lambda: Lif(3, tau_ref=5.), 'tau_ref'), (lambda: step(Lif(3), four), f'Lif.step: {batch_axis}')],

    # surrogates
    'InvSquareGrad': [(lambda: InvSquareGrad(0.), 'InvSquareGrad: alpha must be positive and finite, got 0.0')],
    'SigmoidGrad': [(lambda: SigmoidGrad(-4.), 'SigmoidGrad: alpha must be positive and finite, got -4.0')],
    'ArctanGrad': [(lambda: ArctanGrad(np.nan), 'ArctanGrad: alpha must be positive and finite, got nan')],
    'ReluGrad': [(lambda: ReluGrad(width='1'), 'ReluGrad: width must be positive and finite, got 1')],

    # spike models
    'QuaIF': [(lambda: QuaIF(3, c=-1.), 'QuaIF: c (1/mV) must be positive and finite, got -1.0'),
              (lambda: QuaIF(3, V_reset=-30.), 'QuaIF: V_reset (mV) must be below V_th'),
              (lambda: step(QuaIF(3), four), f'QuaIF.step: {batch_axis}')],
    'ExpIF': [(lambda: ExpIF(3, delta_T=0.), 'ExpIF: delta_T (mV) must be positive and finite, got 0.0'),
              (lambda: step(ExpIF(3), four), f'ExpIF.step: {batch_axis}')],
    'AdExIF': [(lambda: AdExIF(3, tau_w=-5.), f'AdExIF: tau_w (ms) must be positive and finite, got -5.0. {rate}'),
               (lambda: AdExIF(3, w_initializer=Normal(0., 1.)).init_state(), 'key must be a JAX random key, got None'),
               (lambda: step(AdExIF(3), four), f'AdExIF.step: {batch_axis}')],
    'Izhikevich': [(lambda: Izhikevich(3, c=40.), 'Izhikevich: c (mV) must be below V_th, got 40 with V_th = 30'),
                   (lambda: step(Izhikevich(3), four), f'Izhikevich.step: {batch_axis}')],
    'HH': [(lambda: HH(3, C=0.), 'HH: C (uF/cm2) must be positive and finite, got 0.0'), (lambda: step(HH(3), four), f'HH.step: {batch_axis}')],

    # sources and read-outs
    'PoissonGroup': [(lambda: PoissonGroup(3, -1.), 'PoissonGroup: freqs (Hz) must be non-negative and finite, got -1.0'),
                     (lambda: step(PoissonGroup(3, 5.)), 'PoissonGroup.step: key must be a JAX random key, got None'),
                     (lambda: step(PoissonGroup(3, 5e4), key=key), 'at most 10000 at dt = 0.1 ms, one spike per step, got 50000'),
                     (lambda: step(PoissonGroup(3, 5.), four, key=key), f'PoissonGroup.step: {batch_axis}')],
    'SpikeTimeGroup': [(lambda: SpikeTimeGroup(2, [0, 2], [1., 2.]), 'indices must lie in [0, 2), got 2'),
                       (lambda: SpikeTimeGroup(2, [0, .5], [1., 2.]), 'indices must be whole numbers, got float64'),
                       (lambda: SpikeTimeGroup(2, [0, 1], [0., 2.]), 'times (ms) must be finite and above 0, got 0.0'),
                       (lambda: SpikeTimeGroup(2, [0], [1., 2.]), 'two lists of one length, got shapes (1,) and (2,)'),
                       (lambda: SpikeTimeGroup(2, [0, 0], [1., 1.]), 'a spike must be listed once, got neuron 0 at 1 ms twice'),
                       (lambda: step(SpikeTimeGroup(2, [0, 0], [1.01, 1.02])), 'at most once per step of dt = 0.1 ms, got two spikes'),
                       (lambda: step(SpikeTimeGroup(1, [0], [1e9])), 'times (ms) must be at most 2.14748e+08 at dt = 0.1, got 1e+09')],
    'Leaky': [(lambda: Leaky(2, tau=0.), f'Leaky: tau (ms) must be positive and finite, got 0.0. {rate}'),
              (lambda: step(Leaky(3), four), f'Leaky.step: {batch_axis}')],
    'Integrator': [(lambda: Integrator(2, tau=-1.), 'Integrator: tau (ms) must be positive and finite, got -1.0'),
                   (lambda: step(Integrator(3), four), f'Integrator.step: {batch_axis}')],

    # synapses
    'Expon': [(lambda: Expon(3, tau=-8.), f'Expon: tau (ms) must be positive and finite, got -8.0. {rate}'),
              (lambda: Expon().init_state(), 'Expon: size (neurons) is not set. Give it, or let a Network fill it in.'),
              (lambda: step(Expon(3), four), f'Expon.step: {batch_axis}')],
    'DualExponV2': [(lambda: DualExponV2(3, 5., 5.), 'DualExponV2: tau_rise (ms) must differ from tau_decay, got 5 for both'),
                    (lambda: step(DualExponV2(3), four), f'DualExponV2.step: {batch_axis}')],
    'Delta': [(lambda: Delta(0), 'Delta: size (neurons) must be a whole number of at least 1, got 0'),
              (lambda: step(Delta(3), four), f'Delta.step: {batch_axis}')],
    'COBA': [(lambda: COBA(np.inf), 'COBA: E (mV) must be finite, got inf'),
             (lambda: net(full(out=COBA([0., 1.]))), 'E of the out of A->B must broadcast to shape (3,), got (2,)')],
    'MgBlock': [(lambda: MgBlock(cc_Mg=-1.), 'MgBlock: cc_Mg (mM) must be non-negative and finite, got -1.0'),
                (lambda: net(full(out=MgBlock(beta=[1., 2.]))), 'beta of the out of A->B must broadcast to shape (3,), got (2,)')],
    'DualExpon': [(lambda: DualExpon(3, 5., 5., A=1.), 'A scales a difference that vanishes for equal time constants, got 5 ms for both'),
                  (lambda: step(DualExpon(3), four), f'DualExpon.step: {batch_axis}')],
    'Alpha': [(lambda: Alpha(3, 0.), 'Alpha: tau_decay (ms) must be positive and finite, got 0.0'),
              (lambda: step(Alpha(3), four), f'Alpha.step: {batch_axis}')],
    'NMDA': [(lambda: NMDA(3, a=-1.), 'NMDA: a (1/ms) must be positive and finite, got -1.0'),
             (lambda: step(NMDA(3), four), 'NMDA.step: spikes must broadcast to shape (3,), got (4,)')],
    'pulse_steps': [(lambda: pulse_steps(-1., .1), 'pulse_steps: T_dur (ms) must be positive and finite, got -1.0'),
                    (lambda: pulse_steps(.5, 0.), 'pulse_steps: dt (ms) must be positive and finite, got 0.0')],
    'AMPA': [(lambda: AMPA(3, T_dur=[.5, 1.]), 'AMPA: T_dur (ms) must be one number, got an array'),
             (lambda: step(AMPA(3), four), 'AMPA.step: spikes must broadcast')],
    'GABAa': [(lambda: GABAa(3, T_dur=0.), 'GABAa: T_dur (ms) must be positive and finite, got 0.0'),
              (lambda: step(GABAa(3), four), 'GABAa.step: spikes must broadcast')],
    'BioNMDA': [(lambda: BioNMDA(3, beta1=0.), 'BioNMDA: beta1 (1/ms) must be positive and finite, got 0.0'),
                (lambda: step(BioNMDA(3), four), 'BioNMDA.step: spikes must broadcast')],
    'STD': [(lambda: STD(3, U=1.5), 'STD: U must be above 0 and at most 1, got 1.5'),
            (lambda: STD(3).steady(0.), 'STD.steady: rate (Hz) must be positive and finite, got 0.0'),
            (lambda: step(STD(3), four), 'STD.step: spikes must broadcast')],
    'STP': [(lambda: STP(3, U=0.), 'STP: U must be above 0 and at most 1, got 0.0'),
            (lambda: STP(3).steady(-1.), 'STP.steady: rate (Hz) must be positive and finite, got -1.0'),
            (lambda: STP(3).mean_field(np.nan), 'STP.mean_field: rate (Hz) must be positive and finite, got nan'),
            (lambda: step(STP(3), four), 'STP.step: spikes must broadcast')],

    # projections
    'check_part': [(lambda: check_part('X: syn', Expon, AlignPost, 'a synapse'), 'X: syn must be a synapse, got the class Expon. Make one'),
                   (lambda: check_part('X: syn', COBA(0.), AlignPost, 'a synapse'), 'X: syn must be a synapse, got COBA(E=0)')],
    'sized': [(lambda: sized(Expon(7), 3, 'X'), 'X: syn has size 7, but there are 3 neurons')],
    'DelayLine': [(lambda: DelayLine(0, 5), 'DelayLine: size (neurons) must be a whole number of at least 1, got 0'),
                  (lambda: DelayLine(3, 0), 'DelayLine: steps must be a whole number of at least 1, got 0'),
                  (lambda: DelayLine(3, 5, (('far', 9),)), "entry 'far' must be 1 to 5 steps, got 9"),
                  (lambda: DelayLine.named(3, {'far': .25}, .1), "entry 'far' (ms) must be a whole number of steps of dt = 0.1 ms, got 0.25"),
                  (lambda: DelayLine.named(3, {'far': -1.}, .1), "entry 'far' (ms) must be one non-negative number, got -1.0"),
                  (lambda: DelayLine.named(3, {'far': 1e12}, .1), "entry 'far' (ms) must be below 2^31 steps"),
                  (lambda: DelayLine.named(3, ['far'], .1), "entries must be a dict of delays (ms) by name, got ['far']"),
                  (lambda: DelayLine.named(3, {'far': 1.}, -.1), 'DelayLine.named: dt (ms) must be positive and finite, got -0.1'),
                  (lambda: line.push(ring, four, 1), 'spikes must be bool of shape (3,), as in the ring, got float32 of shape (4,)'),
                  (lambda: line.read(ring, 9, 6), 'DelayLine: delay must be 1 to 5 steps, got 6'),
                  (lambda: line.read(ring, 9, 2.), 'DelayLine: delay must be 1 to 5 steps, got 2.0'),
                  (lambda: line.read(ring, 9, True), 'DelayLine: delay must be 1 to 5 steps, got True'),
                  (lambda: line.read(ring, 9, 'far'), "DelayLine: delay must be among [], got 'far'"),
                  (lambda: line.read(ring, 9, np.ones(4, int)), 'one, or one for each of 3 neurons, got shape (4,)'),
                  (lambda: line.read(ring, 9, jnp.ones(3)), 'delay must be whole numbers of steps, got float32'),
                  (lambda: line.read(ring, 9, np.array([1, 2, 6])), 'delay must be 1 to 5 steps, got 6')],
    'Result': [(lambda: recorded()['B.V'], "'B.V' was not recorded; there is ['A.V']"),
               (lambda: recorded().spikes('B'), "spikes of 'B' were not recorded; there are ['A']"),
               (lambda: recorded().member(0), 'Result.member: this is one run and no batch'),
               (lambda: recorded((2,)).member(2), 'b must be one of the 2 members, from 0, got 2'),
               (lambda: recorded((2,)).spikes('A'), 'this is a batch. Take one: result.member(0).spikes(...)'),
               (lambda: jax.tree.map(lambda x: jnp.stack([x, x]), recorded()).rate('A'), 'stacked by vmap'),
               (lambda: recorded().plot(bin=0.), 'bin (ms) must be positive and finite, got 0.0')],
    'Recording': [(lambda: recorded(kind=Recording).times('B.V'), "'B.V' was not recorded; there is ['A.V']"),
                  (lambda: recorded(kind=Recording).raster('B'), "spikes of 'B' were not recorded"),
                  (lambda: recorded(kind=Recording).rate('A', since=1.), 'since must be before 1 ms, the end, got 1'),
                  (lambda: recorded(kind=Recording).rate('A', since=-1.), 'since (ms) must be one non-negative number, got -1.0')],

    # networks
    'Network': [(lambda: Network({}), 'Network: populations must be a dict of cells by name, with at least one'),
                (lambda: Network({'A': LifRef}), "Network: population 'A' must be a cell, such as LifRef(100), got <class"),
                (lambda: Network({'A.B': LifRef(3)}), "names of populations must be text without a full stop, got 'A.B'"),
                (lambda: Network({3: LifRef(3)}), 'names of populations must be text without a full stop, got 3'),
                *((lambda dt=dt: net(dt=dt), 'Network: dt (ms) must be') for dt in (0., -.1, np.nan, 'a', [.1, .2], None)),
                (lambda: Network({'B': LifRef(3)}, half()), 'Network: projections must be a list of them, got HalfProj'),
                (lambda: net(AllToAll(3, 3, 1.)), 'must be a projection, such as FullProjAlignPostMg, got AllToAll'),
                (lambda: net(full(pre='C')), "pre of C->B must name a population, one of ['A', 'B'], got 'C'"),
                (lambda: net(full(post='C')), "post of A->C must name a population, one of ['A', 'B'], got 'C'"),
                (lambda: net(full(name='A')), "name of a projection must differ from those of populations, got 'A'"),
                (lambda: net(A=LifRef(4)), 'comm of A->B must map 4 to 3 neurons, got 3 to 3'),
                (lambda: net(B=PoissonGroup(3, 5.)), 'post of A->B must have a potential, but the state of PoissonGroup has no V'),
                (lambda: net(A=Leaky(3)), 'pre of A->B must fire, but the state of Leaky has no spike'),
                (lambda: net(full(syn=Delta(), out=None), B=Leaky(3)), 'post of A->B must take jumps of V, but Leaky.step has no argument jump'),
                (lambda: net(full(syn=Expon(7))), 'Network: A->B: syn has size 7, but there are 3 neurons'),
                (lambda: net(full(syn=Expon(tau=[1., 2.]))), 'Expon: tau must broadcast to shape (3,), got (2,)'),
                (lambda: net(full(release=STD(tau=[1., 2.]))), 'STD: tau must broadcast to shape (3,), got (2,)'),
                (lambda: net().using('fast'), "form must be one of ('auto', 'portable', 'reference'), got 'fast'"),
                (lambda: net()['C'], "no 'C' in this network, which has A, B, A->B"),
                (lambda: net().init_state(3), 'Network.init_state: key must be a JAX random key, got 3'),
                (lambda: net().init_state(key, (0,)), 'Network.init_state: batch must be a whole number of at least 1, got 0'),
                (lambda: net().step(net().init_state(key), 20.), "x must be a dict of inputs by name, among ['A', 'B'], got 20.0"),
                (lambda: net().step(net().init_state(key), {'C': 1.}), "x must be a dict of inputs by name, among ['A', 'B'], got {'C'"),
                (lambda: net().step(net().init_state(key), {'A': four}), f'LifRef.step: {batch_axis}'),
                (lambda: net().step(net().init_state(key), spikes={'->B': four}), 'spikes must be those of the half projections []'),
                (lambda: net(half()).step(net(half()).init_state(key)), "spikes must be those of the half projections ['->B'], by name, got none")],
    'fired': [(lambda: fired(np.zeros(3, np.uint8)), 'fired: bits must be uint8[steps, bytes], as in result.bits, got uint8 of shape (3,)'),
              (lambda: fired(np.zeros((3, 2), bool)), 'got bool of shape (3, 2)')],
    'Sample': [(lambda: Sample('A.V', stride=0), "Sample('A.V'): stride (steps) must be a whole number of at least 1, got 0"),
               (lambda: Sample('A.V', neurons=[1.5]), "Sample('A.V'): neurons must be a list of indices, got [1.5]"),
               (lambda: run(record=Sample('A.V', neurons=[3])), "Sample('A.V'): neurons must lie in [0, 3), got 3")],
    'simulate': [(lambda: simulate(LifRef(3), 1.), 'simulate: net must be a Network, got LifRef'),
                 *((lambda ms=ms: run(ms), 'simulate: duration') for ms in (0., -1., .25, np.nan, 1e12, 'a', None, [1., 2.])),
                 (lambda: run(key=7), 'simulate: key must be a JAX random key, got 7'),
                 (lambda: run(record='A.v'), "simulate: record must be among ['spikes', 'A.spikes', 'B.spikes', 'A.V'"),
                 (lambda: run(record=3), "'A->B.g'], got 3"),
                 (lambda: run(input={'C': 1.}), "simulate: input must name populations, among ['A', 'B'], got 'C'"),
                 (lambda: run(input=four), 'simulate: input of A must broadcast to shape (3,), got (4,)'),
                 (lambda: run(input=np.ones((9, 1))), 'simulate: input of A over time must have one row for each of the 10 steps, got 9'),
                 (lambda: run(input=lambda t: four), 'a function of time, returns a shape that must broadcast to shape (3,), got (4,)'),
                 (lambda: run(input=np.nan), 'simulate: input of A must be finite, got nan'),
                 (lambda: run(chunk=0), 'simulate: chunk (steps) must be a whole number of at least 1, got 0'),
                 (lambda: run(batch=0), 'simulate: batch must be a whole number of at least 1, got 0'),
                 (lambda: run(batch='a'), "simulate: batch must be a whole number of at least 1, got 'a'"),
                 (lambda: run(state=3), 'simulate: state must be a NetworkState, such as result.state, got int'),
                 (lambda: run(state=net().init_state(key), batch=2), 'simulate: key and batch belong to a fresh start'),
                 (lambda: run(on=net(A=LifRef(3)), state=Network({'A': LifRef(5)}).init_state()), "state must be one of this network"),
                 (lambda: run(on=net(half())), 'a network with half projections is handed its spikes in each step')],
}

# what all projections, and all that fetch their spikes, refuse
for kind in (HalfProjAlignPost, HalfProjAlignPostMg, FullProjAlignPost, FullProjAlignPostMg):
    name, make = kind.__name__, half if kind.__name__.startswith('Half') else full
    CALLS[name] = [
        (lambda make=make, kind=kind: make(kind=kind, comm=np.eye(3)), f'{name}: comm must be a layer, such as EventCSRLinear, got float64[3, 3]'),
        (lambda make=make, kind=kind: make(kind=kind, comm=AllToAll), f'{name}: comm must be a layer, such as EventCSRLinear, got the class AllToAll'),
        (lambda make=make, kind=kind: make(kind=kind, syn=Expon), f'{name}: syn must be an align-post synapse, such as Expon, got the class Expon'),
        (lambda make=make, kind=kind: make(kind=kind, syn=NMDA()), f'{name}: syn must be an align-post synapse, such as Expon, got NMDA, '
                                                                   'which has a state for each sender. Use ProjAlignPre.'),
        (lambda make=make, kind=kind: make(kind=kind, syn=STP()), 'got STP, which has a state for each sender. Use ProjAlignPre.'),
        (lambda make=make, kind=kind: make(kind=kind, out=None), f'{name}: out must be an output model, such as COBA, got None'),
        (lambda make=make, kind=kind: make(kind=kind, syn=Delta()), f'{name}: out must be None, as jumps of V are no current, got COBA(E=0)'),
        (lambda make=make, kind=kind: make(kind=kind, post=3), f'{name}: post must be the name of a population, got 3'),
        (lambda make=make, kind=kind: make(kind=kind, name=3), f'{name}: name must be text or None, got 3'),
        (lambda make=make, kind=kind: make(kind=kind, out_label=3), f'{name}: out_label must be text or None, got 3')]
for kind in (HalfProjAlignPost, HalfProjAlignPostMg):
    name = kind.__name__
    CALLS[name] += [
        (lambda kind=kind: half(kind, comm=Delayed(listed, np.ones(9, int))), f'{name}: comm must be a layer, such as EventCSRLinear, got Delayed'),
        (lambda kind=kind: half(kind, syn=Expon(7)).init_state(), f'{name}: syn has size 7, but there are 3 neurons'),
        (lambda kind=kind: half(kind).step(half(kind).init_state(), four, jnp.ones(3), dt=.1), 'AllToAll: x must have shape (3,)'),
        (lambda kind=kind: half(kind).step(half(kind).init_state(), jnp.ones(3), four, dt=.1), f'{name}.step: V must broadcast to shape (3,), got (4,)')]
for kind in (FullProjAlignPost, FullProjAlignPostMg, ProjAlignPre):
    name, make = kind.__name__, ahead if kind is ProjAlignPre else lambda kind=kind, **kw: full(kind=kind, **kw)
    CALLS[name] = CALLS.get(name, []) + [
        (lambda make=make: make(pre=3), f'{name}: pre must be the name of a population, got 3'),
        (lambda make=make: make(release=Expon()), f'{name}: release must be a model of release, such as STP, or None, got Expon'),
        (lambda make=make: make(delay='1.5'), f"{name}: delay must be one number of ms, a list of them, or None, got '1.5'"),
        (lambda make=make: make(delay=[[1.]]), f'{name}: delay must be None, one number of ms, or a list of them, got [[1.0]]'),
        *((lambda make=make, d=d: net(make(delay=d)), 'Network: delay of A->B (ms) must be') for d in (-1., .25, np.nan, 1e12, True)),
        (lambda make=make: net(make(delay=[1., -1., 1.])), 'Network: delay of A->B (ms) must be one non-negative number'),
        (lambda make=make: net(make(delay=[1., 2.])), 'must be one, or one for each of 3 senders, got 2'),
        (lambda make=make: net(make(delay=[.1]*3, comm=EventCSRLinear.from_dense(np.eye(3)))), '3 delays could be those of senders or of synapses')]
CALLS['ProjAlignPre'] += [(lambda: ahead(syn=Delta()), 'ProjAlignPre: syn must be a synapse with a state for each sender, such as NMDA'),
                          (lambda: ahead(syn=NMDA), 'such as NMDA, got the class NMDA'),
                          (lambda: ahead(out=None), 'ProjAlignPre: out must be an output model, such as COBA, got None'),
                          (lambda: ahead(comm=OneToOne), 'ProjAlignPre: comm must be a layer')]

FLAT = [pytest.param(call, part, id=f'{name}-{k}') for name, calls in CALLS.items() for k, (call, part) in enumerate(calls)]


def test_no_name_is_missing():
    "Every public name is tried, or is in the list of those that have nothing to refuse"
    assert set(CALLS) | NOTHING == set(PUBLIC) and not set(CALLS) & NOTHING


@pytest.mark.parametrize('call, part', FLAT)
def test_refused(call, part):
    with pytest.raises((ValueError, TypeError, KeyError)) as error: call()
    assert part in str(error.value)


# every argument of every model: what is no number, not finite, of the wrong length, or of the wrong sign

NEEDED = {'PoissonGroup': dict(freqs=5.), 'SpikeTimeGroup': dict(indices=[0], times=[1.]), 'COBA': dict(E=0.)}
MODELS = [name for name in CALLS if isinstance(PUBLIC[name], type) and hasattr(PUBLIC[name], '__dataclass_fields__')
          and PUBLIC[name].__module__.split('.')[1] in MODULES[:7]]
ARGUMENTS = [(name, f.name) for name in MODELS for f in fields(PUBLIC[name]) if f.init and f.name not in ('indices', 'times')]
ONE_OF = {'size': (0, -3, 2.5, True, '3', (3, 3)), 'spk_fun': (3., 'relu', jnp.tanh, InvSquareGrad), 'spk_reset': ('Soft', None, 1),
          'detach_spk': (1, 'yes', None), 'tau_ref': (-1., np.nan, np.inf, '1', None, True, [1., 2., 3.])}
NO_NUMBER = 'a', np.nan, np.inf, 1j, True, object()
ABOVE_ZERO = set("""tau tau_w tau_decay tau_rise tau_f tau_d alpha alpha1 alpha2 beta beta1 beta2 width delta_T p1 U T T_dur gNa gK gL C
    QuaIF.c Izhikevich.a NMDA.a""".split())


def bad_values(name, argument):
    if argument in ONE_OF: return ONE_OF[argument]
    sized = 'size' in PUBLIC[name].__dataclass_fields__
    return (*NO_NUMBER, *([1., 2.], jnp.ones((2, 3)))*sized, *(0., -1.)*bool({argument, f'{name}.{argument}'} & ABOVE_ZERO))


@pytest.mark.parametrize('name, argument', ARGUMENTS)
def test_every_argument(name, argument):
    kind = PUBLIC[name]
    usual = {**({'size': 3} if 'size' in kind.__dataclass_fields__ else {}), **NEEDED.get(name, {})}
    kind(**usual)
    for bad in bad_values(name, argument):
        with pytest.raises((ValueError, TypeError)) as error: kind(**{**usual, argument: bad})
        message = str(error.value)
        assert message.startswith(f'{name}: {argument}') and ' must ' in message and 'got' in message, (bad, message)
