"""brainevent on this machine's GPU, in loops like those of tools/gpu.py

usage: python tools/peers.py [--out FILE.json] [--small] [--only PART ...]
Needs brainevent (measured with 0.3.0), which is not among the requirements of this package, and nvcc, which brainevent starts itself.
"""
import json, os, platform, shlex, shutil, subprocess, sys, time, traceback
from argparse import ArgumentParser
from glob import glob
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

START, LIMIT = time.perf_counter(), float(os.environ.get('LIMIT', 600))  # seconds after which no row is begun
os.environ.setdefault('BRAINEVENT_COMPUTE_CAPABILITIES', '9.0')  # of an H100; one, and the same in all processes
import jax, jax.numpy as jnp, numpy as np
from jax import lax
import brainevent as be

GRAPH = {'xla_gpu_graph_min_graph_size': 1}
TOGETHER = GRAPH | {'xla_gpu_command_buffer_scheduling_mode': 'CONCURRENT'}
PROGRAMS = {'plain': (1, None), 'graph': (8, GRAPH), 'together': (8, TOGETHER)}  # unroll, options of XLA
found = {}


def left(): return LIMIT - (time.perf_counter() - START)

def store(part, **row):
    "A row to the file and the screen"
    found.setdefault(part, []).append(row)
    print(f'[{time.perf_counter() - START:5.1f} s]', part, row, flush=True)
    if OUT: OUT.write_text(json.dumps(found, indent=1))

def trial(part, f, least=5., **about):
    "A row of `f()`, or of what went wrong"
    if left() < least: return store(part, **about, error='no time left')
    try: return store(part, **about, **f())
    except Exception as e:
        traceback.print_exc(limit=-3, file=sys.stdout)
        store(part, **about, error=f'{type(e).__name__}: ' + ' | '.join(str(e).strip().splitlines()[:4])[:600])

def timed(f, args, steps, options=None):
    "Microseconds a step: the median of three runs from one state, after one that is not counted"
    start = time.perf_counter()
    f = jax.jit(f, compiler_options=options if GPU else None).lower(*args).compile()
    jax.block_until_ready(f(*args))
    first, runs = time.perf_counter() - start, []
    for _ in range(3):
        start = time.perf_counter()
        jax.block_until_ready(f(*args))
        runs.append(1e6*(time.perf_counter() - start)/steps)
    return dict(us=round(float(np.median(runs)), 2), runs=[round(x, 2) for x in runs], first=round(first, 1))


# Spikes times matrix

def fixed(s, list_, n): return be.binary_fcnmv(list_['w'], list_['to'], s, shape=(len(list_['to']), n), transpose=True)

def csr(s, list_, n):
    return be.binary_csrmv(list_['w'], list_['to'].reshape(-1), list_['indptr'], s, shape=(len(list_['to']), n),
                           workspace=list_['workspace'], transpose=True)

FORMS = dict(fixed=fixed, csr=csr)

def targets(n_pre, n, k, w, seed):
    "`k` random targets of each neuron, and what the two forms want to know besides"
    from brainevent._csr.binary import _make_binary_csrmv_workspace  # what its classes pass
    draw = jax.jit(lambda key: jax.random.randint(key, (n_pre, k), 0, n, jnp.int32))
    indptr = jnp.arange(0, n_pre*k + 1, k, dtype=jnp.int32)
    out = dict(w=jnp.full(1, w, jnp.float32), to=draw(jax.random.key(seed)), indptr=indptr, workspace=_make_binary_csrmv_workspace(indptr))
    return jax.block_until_ready(out)

def pattern(n, spikes, t):
    "About `spikes` of `n`, others in each step"
    who = jnp.arange(n, dtype=jnp.uint32)
    return (who*np.uint32(2654435761) + t.astype(jnp.uint32)*np.uint32(40503)) % np.uint32(n//spikes) == 0

def looped(add, n, spikes, steps, unroll):
    "`add(acc, spikes, *args)` in each of `steps` steps"
    def run(acc, *args):
        def step(acc, t):
            s = pattern(n, spikes, t)
            return lax.optimization_barrier(add(acc, s, *args)), s.any()
        return lax.scan(step, acc, jnp.arange(steps), unroll=unroll)
    return run

def without(acc, s, *args): return acc

def rows(n=10**6, p=1e-3, spikes=1000):
    "A matrix that is made just in time: `corder` decides whether the kernel walks the rows that spiked, or everything"
    n, p, spikes = (2000, .05, 20) if SMALL else (n, p, spikes)
    def drawn(corder): return lambda acc, s: acc + be.BinaryArray(s) @ be.JITCScalarR((1., p, 42), shape=(n, n), corder=corder)
    def arriving(add):
        s = pattern(n, spikes, jnp.int32(3))
        return dict(arrived=float(jax.jit(add)(jnp.zeros(n), s).sum()), expected=float(s.sum()*n*p))
    trial('rows check', lambda: arriving(drawn(True)), corder=True)
    for form, add, steps in (('without', without, 400), ('corder=True', drawn(True), 400), ('corder=False', drawn(False), 64)):
        for program in ('plain', 'graph') if form != 'corder=False' else ('graph',):
            unroll, options = PROGRAMS[program]
            trial('rows', lambda: timed(looped(add, n, spikes, steps, unroll), (jnp.zeros(n),), steps, options),
                  form=form, program=program, n=n, p=p, spikes=spikes)


# The network with conductances: the numbers of snnlit.coba

def network(form, n, steps, unroll, count=False):
    "The network as plain JAX around brainevent's product: what a careful user of it would write"
    dt, ne = .1, n*4//5
    leak, decay_e, decay_i = (np.float32(x) for x in (-np.expm1(-dt/20), np.exp(-dt/5), np.exp(-dt/10)))
    def run(state, e, i):
        def step(state, _):
            V, ge, gi, held, total = state
            new = V + leak*(-60. - V + 20. - ge*V + gi*(-80. - V))
            V = jnp.where(held > 0, V, new)
            s = V >= -50.
            V, held = jnp.where(s, -60., V), jnp.where(s, 50, jnp.maximum(held - 1, 0))
            ge = ge*decay_e + FORMS[form](s[:ne], e, n)
            gi = gi*decay_i + FORMS[form](s[ne:], i, n)
            return (V, ge, gi, held, total + s.sum() if count else total), None
        return lax.scan(step, state, None, length=steps, unroll=unroll)[0]
    return run

def sizes():
    if SMALL: return ((4000, 4000),)
    return ((4000, 10_000), (40_000, 10_000), (400_000, 5000), (4_000_000, 2000))

def start(n):
    V = -55. + 2.*jax.random.normal(jax.random.key(0), (n,))
    return V, jnp.zeros(n), jnp.zeros(n), jnp.zeros(n, jnp.int32), jnp.int32(0)

def coba():
    "Brette's network: no recording; the rate comes from a run of its own"
    for n, steps in sizes():
        ne = n*4//5
        e, i = targets(ne, n, 80, .6, 1), targets(n - ne, n, 80, 6.7, 2)
        state = start(n)
        def rate(form):
            "Spikes per neuron and second in the second of two halves; and the state between them, where the others start"
            nonlocal state
            run = jax.jit(network(form, n, steps//2, 1, count=True))
            *state, before = run(state, e, i)
            state = *state, jnp.int32(0)
            return dict(Hz=round(float(run(state, e, i)[-1])/n/(steps//2*1e-4), 2))
        trial('coba rate', lambda: rate('fixed'), form='fixed', n=n)
        for form, program in (('fixed', 'plain'), ('fixed', 'together'), ('csr', 'together')):
            unroll, options = PROGRAMS[program]
            trial('coba', lambda: timed(network(form, n, steps, unroll), (state, e, i), steps, options), n=n, form=form, program=program)
        del e, i

# nvcc, for all modules at once

def lowered(form):
    "Lower a product for CUDA, on any machine: this makes brainevent compile its kernels, and keep them"
    if form == 'jit':
        f, args = (lambda s: be.BinaryArray(s) @ be.JITCScalarR((1., .1, 42), shape=(64, 64), corder=True)), (jnp.zeros(64, bool),)
    else: f, args = (lambda s, list_: FORMS[form](s, list_, 64)), (jnp.zeros(64, bool), targets(64, 64, 8, 1., 0))
    start = time.perf_counter()
    text = jax.jit(f).trace(*args).lower(lowering_platforms=('cuda',)).as_text()
    calls = sorted({x.split('@')[1].split('(')[0] for x in text.splitlines() if 'custom_call @' in x})
    print(f'{form}: lowered in {time.perf_counter() - start:.1f} s: {calls}', flush=True)

def toolkit():
    "Where nvcc and its headers are; a CUDA_HOME for brainevent if it does not find both by itself"
    from brainevent._op.kernix_toolchain import detect_cuda_toolchain
    for home in (None, *sorted(glob('/usr/local/cuda*'), reverse=True), *glob('/opt/*cuda*'), *(f'{x}/nvidia/cu13' for x in sys.path)):
        if home: os.environ['CUDA_HOME'] = home
        try: found = detect_cuda_toolchain()
        except Exception as e: error = e
        else: return dict(nvcc=found.nvcc, version=found.nvcc_version, include=found.cuda_include_dirs, host=found.cxx_version, CUDA_HOME=os.environ.get('CUDA_HOME'))
    os.environ.pop('CUDA_HOME')
    return dict(error=str(error)[:2000])

def compiled():
    "All modules in processes of their own, which leave the GPU alone"
    start = time.perf_counter()
    print(toolkit(), flush=True)
    env = {**os.environ, 'JAX_PLATFORMS': 'cpu'}
    jobs = {form: subprocess.Popen([sys.executable, __file__, '--compile', form], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            for form in ('fixed', 'csr', 'jit')}
    for form, job in jobs.items():
        try: text, _ = job.communicate(timeout=max(1., 90 - (time.perf_counter() - start)))
        except subprocess.TimeoutExpired:
            job.kill()
            text = 'not compiled within 90 s'
        print(form, job.returncode, text.strip()[-1500:], flush=True)
    return round(time.perf_counter() - start, 1)


PARTS = dict(rows=rows, coba=coba)

def named(package):
    try: return version(package)
    except PackageNotFoundError: return None

def main():
    global OUT, SMALL, GPU
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--out', type=Path, help='a .json file, written after each row')
    parser.add_argument('--small', action='store_true', help='tiny sizes, on any device')
    parser.add_argument('--only', nargs='+', choices=PARTS, default=[*PARTS])
    parser.add_argument('--compile', choices=('fixed', 'csr', 'jit', 'all'), help='compile kernels, and end: needs no GPU')
    given = parser.parse_args()
    if given.compile: return print(compiled(), 's') if given.compile == 'all' else lowered(given.compile)
    OUT, SMALL, GPU = given.out, given.small, jax.default_backend() == 'gpu'
    if not (GPU or SMALL): sys.exit(f'JAX sees no GPU: {jax.devices()}. --small runs anywhere.')
    if OUT and OUT.exists():  # parts that are not asked for stay
        found.update((k, v) for k, v in json.loads(OUT.read_text()).items() if not k.startswith(tuple(given.only)))
    found.update(command='python ' + shlex.join(sys.argv), device=jax.devices()[0].device_kind, python=platform.python_version(), date=time.strftime('%Y-%m-%d'), nvcc=shutil.which('nvcc'),
                 versions={x: named(x) for x in ('jax', 'jaxlib', 'numpy', 'brainevent', 'brainunit', 'saiunit')},
                 programs={k: dict(unroll=a, options=b) for k, (a, b) in PROGRAMS.items()})
    print(found, flush=True)
    if GPU: found['nvcc seconds'] = compiled()
    for part in given.only:
        try: PARTS[part]()
        except Exception as e:
            traceback.print_exc(limit=-3, file=sys.stdout)
            store(part, error=f'{type(e).__name__}: {str(e)[:600]}')
    print(f'done in {time.perf_counter() - START:.0f} s', flush=True)


if __name__ == '__main__': main()
