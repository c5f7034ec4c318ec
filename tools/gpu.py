"""On a machine with an NVIDIA GPU: integers against those of the CPU, the time of a step, and where it goes.

usage: python tools/gpu.py [--out FILE.json] [--only PART ...]
"""
import hashlib, json, os, platform, shlex, subprocess, sys, tempfile, time
from argparse import ArgumentParser
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import jax, jax.numpy as jnp, numpy as np
from jax import lax
from snnlit import coba, network, simulate
from snnlit.connect import CSR, FixedProb
from snnlit.core import put
from snnlit.cuda import driver_version, fixed_sums
from snnlit.delayed import Delayed, normal_delays
from snnlit.event import event_add
from snnlit.initialize import Normal
from snnlit.justintime import JitFPHomoLinear, JitFPNormalLinear
from snnlit.layers import CSRLinear, EventCSRLinear, by_columns
from snnlit.learn import event_learn
from snnlit.microcircuit import microcircuit
from snnlit.network import Network
from snnlit.neurons import LifRef
from snnlit.projections import FullProjAlignPostMg
from snnlit.ring import fixed_unit, ring_add
from snnlit.synapses import COBA, Expon


def both(f, *args):
    "`f` on the GPU, twice, and on the CPU, from the same numbers"
    args = [np.asarray(x) for x in args]
    found = [np.asarray(f(*map(jnp.asarray, args))) for _ in range(2)]
    with jax.default_device(jax.devices('cpu')[0]): return *found, np.asarray(f(*map(jnp.asarray, args)))


def agree(f, *args) -> bool:
    "Two runs on the GPU, and one on the CPU, to the last bit"
    first, second, cpu = both(f, *args)
    return bool((first == second).all() and (first == cpu).all())


def event(n: int, m: int, prob: float, batch: tuple[int, ...], whole: bool) -> bool:
    "The product without delays: whole numbers against the CPU's, floats against the law"
    rng, conn = np.random.default_rng(0), FixedProb(prob, seed=1)(n, m)
    s, acc = rng.random((*batch, n)) < .1, rng.integers(-99, 99, (*batch, m))
    if whole: return agree(event_add, acc.astype(np.int32), s, conn.indices, conn.indptr, np.arange(conn.nnz, dtype=np.int32))
    w, acc = rng.normal(size=conn.nnz).astype(np.float32), acc.astype(np.float32)
    first, second, _ = both(event_add, acc, s, conn.indices, conn.indptr, w)
    unit = np.float32(fixed_unit(jnp.asarray(w), conn.nnz, 62))
    law = acc + fixed_sums(s, conn.indices, conn.indptr, w, m).astype(np.float32)*unit
    return bool((first == second).all() and (first == law).all())


def ring(n: int, m: int, prob: float, batch: tuple[int, ...], slots: int, one: bool, kind=np.int32) -> bool:
    "The product with delays"
    rng, conn = np.random.default_rng(0), FixedProb(prob, seed=1)(n, m)
    w, s = rng.normal(size=1 if one else conn.nnz).astype(np.float32), rng.random((*batch, n)) < .1
    delay = rng.integers(1, slots, conn.nnz).astype(np.uint16 if slots > 255 else np.uint8)
    sums, unit = rng.integers(0, 99, (*batch, slots, m)).astype(kind), np.float32(fixed_unit(jnp.asarray(w), n))
    return agree(lambda *args: ring_add(*args[:-1], 7, args[-1])[0], sums, s, conn.indices, conn.indptr, w, delay, unit)


def grown(n: int, m: int, prob: float, normal: bool, delays, batch: tuple[int, ...]) -> bool:
    "Matrices made just in time; and, to the last bit, the list of the same matrix"
    def sent(x):
        layer = JitFPNormalLinear(n, m, prob, 1., .2, seed=3) if normal else JitFPHomoLinear(n, m, prob, .6, seed=3)
        layer = Delayed(layer, delays)
        return layer.send(layer.init_ring(batch), x).sums
    return agree(sent, np.random.default_rng(0).random((*batch, n)) < .1)


def learned(n: int, m: int, prob: float, batch: tuple[int, ...], columns: bool, wide: bool) -> bool:
    "Synapses that learn, along rows or columns: float32 or float64 weights against those of the CPU"
    with jax.enable_x64(wide):
        rng, (conn, *order) = np.random.default_rng(0), (FixedProb(prob, seed=1)(n, m),)
        if columns: conn, *order = by_columns(conn)
        w, y = (rng.normal(size=(*batch, size)).astype(float if wide else np.float32) for size in (conn.nnz, conn.num_post))
        def f(*args): return event_learn(*args, w_min=-.5, w_max=1.)
        return agree(f, w, rng.random((*batch, conn.num_pre)) < .1, y, conn.indices, conn.indptr, *order)


def one_matrix() -> dict:
    "SHA-256 of the integers that arrive from one matrix: just in time and stored, on CPU and GPU"
    def arriving(stored):
        layer = JitFPHomoLinear(3000, 2000, .1, .6, seed=3)
        late = Delayed(layer, normal_delays(15, 7.5))
        if stored: late = Delayed(EventCSRLinear(layer.to_csr(), layer.weight), np.asarray(late.csr_delay()))
        s = jnp.asarray(np.random.default_rng(0).random(3000) < .1)
        return hashlib.sha256(np.asarray(late.send(late.init_ring(), s).sums).tobytes()).hexdigest()[:16]
    found = {f'{"stored" if stored else "just in time"}, GPU': arriving(stored) for stored in (True, False)}
    with jax.default_device(jax.devices('cpu')[0]):
        return found | {f'{"stored" if stored else "just in time"}, CPU': arriving(stored) for stored in (True, False)}


def check() -> dict:
    "What has to be equal"
    cases = {'event': [(1000, 1500, .1, (), False), (3000, 2000, .02, (3,), True), (5000, 20, .5, (), False), (7, 3, .5, (2, 2), True)],
             'ring': [(1000, 1500, .1, (), 9, False), (3000, 2000, .02, (3,), 300, False), (1000, 1500, .1, (2, 2), 2, True), (5000, 20, .5, (), 4, False),
                      (1000, 1500, .1, (), 9, True, np.uint8), (3000, 2000, .02, (3,), 2, True, np.uint8)],
             'grown': [(3000, 2000, .1, False, 3, ()), (3000, 2000, .02, True, normal_delays(15, 7.5), ()), (500, 9000, .001, True, 1, (2, 3)),
                       (40, 70_000, .9, False, normal_delays(5, 2), ()), (300_000, 200_000, .001, False, 1, ())],
             'learned': [(1000, 1500, .1, (), False, False), (3000, 2000, .02, (3,), True, False), (5000, 20, .5, (), True, True), (7, 3, .5, (2, 2), False, True)]}
    out = {name: [globals()[name](*case) for case in each] for name, each in cases.items()} | {'one matrix': one_matrix()}
    assert all(all(out[name]) for name in cases) and len(set(out['one matrix'].values())) == 1, out
    return out


def timed(net, ms: float, **kw) -> dict:
    "Microseconds per step: the median of three equal runs from one state, after one that is not counted; and whether their spikes are equal"
    start = simulate(net, ms/10, key=jax.random.key(0), progress=False, **kw)
    first, *runs = (simulate(net, ms, state=start.state, progress=False, **kw) for _ in range(4))
    def median(f): return float(np.median([f(r.timing) for r in runs]))
    rates = {n: round(float(first.rate(n)), 2) for n in first.bits}
    found = {name: hashlib.sha256(first.bits[name].tobytes()).hexdigest()[:16] for name in first.bits}
    equal = all((r.bits[n] == first.bits[n]).all() for r in runs for n in first.bits)
    return dict(us=round(median(lambda t: 1e6*t.run/t.steps), 2), compile=round(first.timing.compile, 1),
                fetch_us=round(median(lambda t: 1e6*t.fetch/t.steps), 2), Hz=rates, **dict(identical=equal, sha256=found) if found else {})


def one_population(n: int) -> Network:
    "The network of `coba` as one population with two lists, in which senders of the other kind have no synapses"
    cell = dict(V_rest=-60., V_reset=-60., V_th=-50., tau=20., tau_ref=5., V_initializer=Normal(-55., 2.))
    def arrow(begin, end, weight, syn, out):
        part = FixedProb(80/n, seed=begin)(end - begin, n)
        indptr = jnp.concatenate([jnp.zeros(begin, jnp.int32), part.indptr, jnp.full(n - end, part.nnz, jnp.int32)])
        return FullProjAlignPostMg('N', None, EventCSRLinear(CSR(part.indices, indptr, n, n), weight), syn, out, 'N')
    return Network({'N': LifRef(n, **cell)}, [arrow(0, n*4//5, .6, Expon(tau=5.), COBA(E=0.)), arrow(n*4//5, n, 6.7, Expon(tau=10.), COBA(E=-80.))])


def coba_steps() -> list[dict]:
    "The network with conductances"
    out = []
    for n, ms in ((4000, 2000.), (40_000, 2000.), (400_000, 1000.), (4_000_000, 1000.)):
        if n < 10**6:
            net = coba(n)
            for record in ((), ('spikes',)): out.append(dict(neurons=n, record=bool(record), **timed(net, ms, input=20., record=record)))
            del net
        out.append(dict(neurons=n, record=False, one_population=True, **timed(one_population(n), ms, input=20., record=())))
        print([r for r in out if r['neurons'] == n], flush=True)
    return out


def circuit() -> list[dict]:
    "The cortical microcircuit"
    out = []
    for input in ('poisson', 'dc'):
        start = time.perf_counter()
        net = jax.block_until_ready(microcircuit(input=input))
        build = round(time.perf_counter() - start, 1)
        for record in ((), ('spikes',)): out.append(dict(input=input, build=build, record=bool(record), **timed(net, 2000., record=record)))
        print(out[-2:], flush=True)
        if input == 'poisson': out[-1]['profile'] = profiled(net)
        layer = net.pathways[0].comm
        out[-1]['bytes per synapse'] = round(layer.nbytes/layer.layer.conn.nnz, 2)
        with patch.object(network, '_options', lambda: None):  # XLA's default settings
            out.append(dict(input=input, build=build, record=False, defaults=True, **timed(net, 2000., record=())))
    return out


def profiled(net) -> dict:
    "Microseconds per step of each kernel of a hundred milliseconds"
    r = simulate(net, 100., key=jax.random.key(0), progress=False, record=())
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder): simulate(net, 100., state=r.state, progress=False, record=())
        data = jax.profiler.ProfileData.from_file(str(next(Path(folder).rglob('*.xplane.pb'))))
    total, count, ends = {}, {}, []
    for plane in data.planes:
        if '/device:GPU' not in plane.name: continue
        for line in plane.lines:
            if not line.name.startswith('Stream'): continue
            for event in line.events:
                name = event.name.rstrip('0123456789').rstrip('._')
                total[name], count[name] = total.get(name, 0) + event.duration_ns, count.get(name, 0) + 1
                ends += [event.start_ns, event.start_ns + event.duration_ns]
    shares = {name: [round(total[name]/1e6, 3), count[name]] for name in sorted(total, key=total.get, reverse=True)[:12]}
    return dict(us_and_launches=shares, span_us=round((max(ends) - min(ends))/1e6, 3)) if ends else {}


def rows(n: int = 10**6) -> list[dict]:
    "A million neurons whose connections are made just in time: spikes are drawn and delivered, in a loop over steps"
    out = []
    def fired(t, spikes): return ((lax.iota(jnp.uint32, n) + t)*np.uint32(2654435761) >> 7) % np.uint32(n//spikes) == 0
    def run(ring, late, spikes):
        def step(ring, t): return lax.optimization_barrier(late.send(ring, fired(t, spikes))), None
        return lax.scan(step, ring, jnp.arange(400, dtype=jnp.uint32), unroll=8)[0]
    f = jax.jit(run, static_argnums=2, compiler_options={'xla_gpu_graph_min_graph_size': 1})
    for fan_out, spikes in ((80, 1000), (1000, 100), (1000, 1000), (1000, 10_000)):
        late, us = Delayed(JitFPHomoLinear(n, n, fan_out/n, 1., seed=1), 1), []
        for _ in range(4):
            ring = jax.block_until_ready(late.init_ring())
            start = time.perf_counter()
            jax.block_until_ready(f(ring, late, spikes))
            us.append(1e6*(time.perf_counter() - start)/400)
        out.append(dict(fan_out=fan_out, spikes=int(fired(0, spikes).sum()), us=round(float(np.median(us[1:])), 2)))
        print(out[-1], flush=True)
    return out


def learning(n: int = 50_000, prob: float = .02, spikes: int = 50, steps: int = 1000) -> dict:
    "Microseconds of an update of fifty million synapses, pre- and post-synaptic: by events, and by a pass over all"
    start, who = time.perf_counter(), jnp.arange(n, dtype=jnp.uint32)
    conn = jax.block_until_ready(FixedProb(prob, seed=1)(n, n))
    made, start = time.perf_counter() - start, time.perf_counter()
    events = jax.block_until_ready(EventCSRLinear(conn, jax.random.uniform(jax.random.key(0), (conn.nnz,))).indexed())
    out = dict(synapses=conn.nnz, spikes=spikes, pattern_s=round(made, 1), columns_s=round(time.perf_counter() - start, 1),
               bytes_per_synapse=round(events.nbytes/conn.nnz, 2))
    trace = jnp.asarray(np.random.default_rng(0).normal(size=(2, n))/9, jnp.float32)
    def fired(t, k): return (who*np.uint32(2654435761) + (2*t + k)*np.uint32(40503)) % np.uint32(n//spikes) == 0
    def run(w, layer, trace, halves, steps):
        def step(w, t):
            pre, post = ({'spike': fired(t, k), 'trace': trace[k]} if half in halves else None for k, half in enumerate(('pre', 'post')))
            if halves: w = put(layer, lambda l: l.weight, w).stdp_update(pre, post, 0., 1.).weight
            return lax.optimization_barrier(w), fired(t, 0).sum() + fired(t, 1).sum()
        return lax.scan(step, w, jnp.arange(steps, dtype=jnp.uint32), unroll=8)
    f = jax.jit(run, static_argnums=(3, 4), donate_argnums=0, compiler_options={'xla_gpu_graph_min_graph_size': 1})
    def after(layer, halves, steps):
        w = jax.block_until_ready(layer.weight.copy())  # which `f` takes for its own
        start = time.perf_counter()
        w, fires = jax.block_until_ready(f(w, layer, trace, halves, steps))
        return w, fires, 1e6*(time.perf_counter() - start)/steps
    both, ends = ('pre', 'post'), []
    layers = {'by events': (events, steps), 'over all': (CSRLinear(conn, events.weight), max(8, steps//40))}
    for layer, _ in layers.values(): ends.append(after(layer, both, 24)[0])
    out['changed'] = int((ends[0] != events.weight).sum())
    out['spikes per step and side'] = round(float(after(events, both, 24)[1].mean())/2, 1)
    out['same bits'] = bool((ends[0] == ends[1]).all())
    assert out['same bits'] and out['changed'], out
    del ends
    for name, (layer, many) in layers.items():
        for halves in ((), ('pre',), ('post',), both):
            us = [after(layer, halves, many)[2] for _ in range(4)][1:]
            out[f'{name}: {" and ".join(halves) or "no learning"}'] = round(float(np.median(us)), 2)
        print(out, flush=True)
    return out


def hundred_billion() -> dict:
    "A million neurons, each pair connected with probability 0.1, steps of 1 ms: weights of the network with conductances, times 80/100,000"
    n, p = {'E': 800_000, 'I': 200_000}, .1
    cell = dict(V_rest=-60., V_reset=-60., V_th=-50., tau=20., tau_ref=5., V_initializer=Normal(-55., 2.))
    kinds = {'E': (.6*8e-4, Expon(tau=5.), COBA(E=0.)), 'I': (6.7*8e-4, Expon(tau=10.), COBA(E=-80.))}
    arrows = [FullProjAlignPostMg(a, None, JitFPHomoLinear(n[a], n[b], p, kinds[a][0], seed=k), *kinds[a][1:], b)
              for k, (a, b) in enumerate((a, b) for a in 'EI' for b in 'EI')]
    out = timed(Network({k: LifRef(size, **cell) for k, size in n.items()}, arrows, dt=1.), 1000., input=20.)
    rate = .8*out['Hz']['E'] + .2*out['Hz']['I']
    return out | dict(seconds_per_second=round(out['us']*1e-3, 2), events_per_second=float(f"{rate*1e6*1e5/(out['us']*1e-3):.3g}"))


def raster() -> np.ndarray:
    "Packed spikes of half a second of the network with 4,000 neurons, on any device"
    return simulate(coba(4000), 500., key=jax.random.key(0), input=20., progress=False).bits['E']


def agreement() -> dict:
    "The first step in which a neuron of the network with conductances fires on one device and not on the other, and rates before and after"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)/'raster.npy'
        subprocess.run([sys.executable, __file__, '--raster', str(path)], env={**os.environ, 'JAX_PLATFORMS': 'cpu'}, check=True)
        ours, theirs = raster(), np.load(path)
    differ = np.flatnonzero((ours != theirs).any(1))
    return dict(steps=len(ours), first_difference=int(differ[0]) if differ.size else None,
                Hz={name: round(float(np.bitwise_count(bits).sum()/3200/.5), 2) for name, bits in (('GPU', ours), ('CPU', theirs))})


PARTS = dict(check=check, circuit=circuit, coba=coba_steps, rows=rows, learning=learning, hundred_billion=hundred_billion, agreement=agreement)


def main() -> int:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--out', type=Path, help='a .json file, written after each part')
    parser.add_argument('--only', nargs='+', choices=PARTS, default=[*PARTS])
    parser.add_argument('--raster', type=Path, help='store the spikes of a network in a .npy file, on any device, and end')
    given = parser.parse_args()
    if given.raster: return np.save(given.raster, raster()) or 0
    if jax.default_backend() != 'gpu':
        print(f"tools/gpu.py needs a GPU, and JAX sees only {jax.devices()}. pip install 'snnlit[cuda]' brings what it needs.")
        return 1
    out = json.loads(given.out.read_text()) if given.out and given.out.exists() else {}  # parts that are not asked for stay
    out |= dict(device=jax.devices()[0].device_kind, driver=driver_version(), jax=jax.__version__, python=platform.python_version(),
                date=time.strftime('%Y-%m-%d'), command='python ' + shlex.join(sys.argv))
    print(out, flush=True)
    for name in given.only:
        start = time.perf_counter()
        out[name] = PARTS[name]()
        out.setdefault('dates', {})[name] = time.strftime('%Y-%m-%d')
        print(name, out[name], f'[{time.perf_counter() - start:.0f} s]', flush=True)
        if given.out: given.out.write_text(json.dumps(out, indent=1))
    return 0


if __name__ == '__main__': sys.exit(main())
