"""On a machine with an NVIDIA GPU: the sums of the event-driven product against integers added on the host, and the time of a step.

usage: python tools/gpu.py
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import jax, jax.numpy as jnp, numpy as np
from snnlit import coba, simulate
from snnlit.connect import FixedProb
from snnlit.cuda import fixed_sums, fixed_unit
from snnlit.event import event_add

CASES = [(1000, 1500, .1, (), False), (3000, 2000, .02, (3,), False), (1000, 1500, .1, (2, 2), True), (5000, 20, .5, (), False), (7, 3, .5, (), False)]


def check(n: int, m: int, prob: float, batch: tuple[int, ...], one: bool) -> None:
    "Two runs, bit for bit, and the law"
    rng, conn = np.random.default_rng(0), FixedProb(prob, seed=1)(n, m)
    w, s = rng.normal(size=1 if one else conn.nnz).astype(np.float32), rng.random((*batch, n)) < .1
    acc = rng.normal(size=(*batch, m)).astype(np.float32)
    first, second = (np.asarray(jax.jit(event_add)(acc, s, conn.indices, conn.indptr, w)) for _ in range(2))
    unit = np.float32(fixed_unit(jnp.asarray(w), conn.nnz))
    law = acc + fixed_sums(s, conn.indices, conn.indptr, w, m).astype(np.float32)*unit
    assert (first == second).all() and (first == law).all(), (n, m, prob, batch, one)


def per_step(n: int) -> str:
    "Rate, and microseconds per step, of a second after the first tenth"
    net = coba(n)
    start = simulate(net, 100., key=jax.random.key(0), input=20., progress=False)
    result = simulate(net, 1000., state=start.state, input=20., progress=False)
    return f"{n:>9,} neurons: E {result.rate('E').mean():.2f} Hz, {1e6*result.timing.run/result.timing.steps:.1f} us per step"


def main() -> int:
    if jax.default_backend() != 'gpu':
        print(f'tools/gpu.py needs a GPU, and JAX sees only {jax.devices()}. pip install \'snnlit[cuda]\' brings what it needs.')
        return 1
    print(jax.__version__, jax.devices()[0].device_kind)
    for case in CASES: check(*case)
    print(f'{len(CASES)} sums are those of the host, bit for bit, and the same in two runs')
    for n in (4000, 40_000, 400_000, 4_000_000): print(per_step(n), flush=True)
    return 0


if __name__ == '__main__': sys.exit(main())
