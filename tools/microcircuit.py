"""The cortical microcircuit, seed by seed: the numbers that its tutorial compares with the published ones.

usage: python tools/microcircuit.py [--seeds 10] [--seconds 10] [--input poisson] [--scale 1] [--out FILE.npz]

Each seed is a new circuit with a new drive. Half a second is left out, then all spikes are recorded, one second at a time.
"""
import hashlib, resource, shlex, sys, tempfile, time
from argparse import ArgumentParser
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import jax, numpy as np
from snnlit.microcircuit import POPULATIONS, activity, ks_distance, microcircuit, populations
from snnlit.network import fired, simulate

SHARES = np.linspace(0, 1, 201)  # of the quantiles
FIELDS = 'rates', 'cvs', 'correlations'


def options():
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--seeds', type=int, default=10, help='circuits, numbered from 0')
    parser.add_argument('--seconds', type=int, default=10, help='recorded of each')
    parser.add_argument('--input', choices=('poisson', 'dc'), default='poisson')
    parser.add_argument('--scale', type=float, default=1., help='fraction of the circuit')
    parser.add_argument('--out', type=Path, help='an .npz file, written after each seed')
    return parser.parse_args()


def built(seed: int, given):
    "The circuit, and how many seconds it took to make"
    start = time.perf_counter()
    net = jax.block_until_ready(microcircuit(given.scale, input=given.input, seed=seed))
    return net, time.perf_counter() - start


def recorded(net, seed: int, given) -> dict:
    "Steps and neurons of all spikes; rates of each second; seconds of computing; SHA-256 of the first second's raster"
    start = simulate(net, 500., key=jax.random.key(1000 + seed), record=(), chunk=5000, progress=False)
    state, run, compiled, spikes = start.state, 0., start.timing.compile, []
    for k in range(given.seconds):
        result = simulate(net, 1000., state=state, chunk=10_000, progress=False)
        state, bits = result.state, result.bits['cortex']
        run, compiled = run + result.timing.run, compiled + result.timing.compile
        if not k: digest = hashlib.sha256(bits.tobytes()).hexdigest()
        step, neuron = fired(bits)
        spikes.append((step + k*len(bits), neuron))
    where = populations(given.scale).values()
    by_second = [[np.mean((n >= s.start) & (n < s.stop))*len(n)/(s.stop - s.start) for s in where] for _, n in spikes]
    step, neuron = (np.concatenate(each) for each in zip(*spikes))
    return dict(each_second=by_second, step=step, neuron=neuron, spikes=len(step), run=run, compile=compiled, sha256=digest)


def quantiles(samples) -> np.ndarray:
    "Of a population, or NaN if there is nothing to sample"
    return np.quantile(samples, SHARES) if len(samples) else np.full(len(SHARES), np.nan)


def distances(found: list[dict]) -> np.ndarray:
    "Kolmogorov-Smirnov distances [field, population, seed, seed]"
    def one(field, name, i, j):
        a, b = (getattr(found[k][name], field) for k in (i, j))
        return ks_distance(a, b) if len(a) and len(b) else np.nan
    seeds = range(len(found))
    return np.array([[[[one(f, n, i, j) for j in seeds] for i in seeds] for n in POPULATIONS] for f in FIELDS], np.float32)


def table(found: list[dict], runs: list[dict], given) -> dict:
    "All that is stored"
    device = jax.devices()[0]
    first = runs[0]
    some = (first['step'] < 3000) & (first['neuron'] % 8 == 0)  # for a picture: 300 ms of every eighth neuron
    each = {f: np.array([[quantiles(getattr(a[n], f)) for n in POPULATIONS] for a in found], np.float32) for f in FIELDS}
    means = {f'mean_{f}': np.array([[np.mean(x) if len(x := getattr(a[n], f)) else np.nan for n in POPULATIONS] for a in found]) for f in FIELDS}
    return dict(each, **means, ks=distances(found), rates_each_second=np.array([r['each_second'] for r in runs]), shares=SHARES, spikes=np.array([r['spikes'] for r in runs]),
                raster_step=first['step'][some].astype(np.uint16), raster_neuron=first['neuron'][some].astype(np.uint32),
                **{f'{k}_seconds': np.array([r[k] for r in runs]) for k in ('build', 'compile', 'run')},
                sha256=np.array([r['sha256'] for r in runs]), seconds=given.seconds, scale=given.scale, input=given.input,
                device=getattr(device, 'device_kind', str(device)), jax=jax.__version__, date=time.strftime('%Y-%m-%d'),
                command='python tools/microcircuit.py ' + shlex.join(Path(x).name if x.endswith('.npz') else x for x in sys.argv[1:]))


def memory() -> str:
    "Peaks on the device, where it counts, and on the host"
    peak = (jax.devices()[0].memory_stats() or {}).get('peak_bytes_in_use')
    host = f'{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/2**20:.1f} GiB on the host'
    return host if peak is None else f'{peak/2**30:.1f} GiB on the device, {host}'


def main() -> int:
    given = options()
    print(f'jax {jax.__version__}, {jax.devices()[0].device_kind}', flush=True)
    jax.config.update('jax_compilation_cache_dir', tempfile.mkdtemp(prefix='microcircuit-'))  # every second is the same program
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.)
    found, runs = [], []
    for seed in range(given.seeds):
        net, build = built(seed, given)
        r = recorded(net, seed, given) | dict(build=build)
        del net  # before the next is built
        found.append(activity(r['step'], r['neuron'], 1000.*given.seconds, given.scale))
        runs.append(r if not seed else r | dict(step=None, neuron=None))
        rates = ' '.join(f'{a.rates.mean():.3f}' for a in found[-1].values())
        print(f"seed {seed}: built in {build:.1f} s, {r['run']:.2f} s for {given.seconds} s (compiled in {r['compile']:.1f} s); "
              f"Hz: {rates}; {r['sha256'][:16]}; {memory()}", flush=True)
        if given.out: np.savez_compressed(given.out, **table(found, runs, given))
    return 0


if __name__ == '__main__': sys.exit(main())
