"""What CoNeX computed, how its traces are made, how close ours have to be, and a run of ours.

The numbers are float64. Ours agree to 1e-10 in float64, which leaves room for sums in another order, and to 1e-5 in float32:
sums of at most 50 terms of order one, relative to the largest entry where that is above one.
"""
import jax, jax.numpy as jnp, numpy as np
import pytest

CLOSE = {64: 1e-10, 32: 1e-5}
THEIRS = dict(decay='euler', order='add_then_decay')  # how CoNeX makes a trace


@pytest.fixture(params=[64, 32])
def bits(request):
    "Both precisions, with JAX set to each"
    with jax.enable_x64(request.param == 64): yield request.param


def load(oracles, name):
    with np.load(oracles/'conex'/f'{name}.npz') as file: return dict(file)


def close(mine, theirs, bits):
    assert mine.dtype == f'float{bits}' and mine.shape == theirs.shape
    np.testing.assert_allclose(mine, theirs, rtol=0, atol=CLOSE[bits]*max(1, np.abs(theirs).max()))


@jax.jit
def _run(group, s, spikes, dt):
    def body(s, x):
        s = group.step(s, x, dt=dt)
        return s, s
    return jax.lax.scan(body, s, spikes)[1]


def run(group, s, src, dst, dt):
    "All states after each step"
    return _run(group, s, (jnp.asarray(src) != 0, jnp.asarray(dst) != 0), dt)
