// Just enough of CUDA for the kernels of snnlit.cuda to run on a CPU: a thread for a thread, one block after the other.
#include <atomic>
#include <barrier>
#include <cmath>
#include <cstring>
#include <thread>
#include <vector>

struct Place { unsigned x = 0, y = 0, z = 0; };
static thread_local Place threadIdx, blockIdx;
static Place gridDim, blockDim;
static std::barrier<>* everyone;

#define __global__
#define __device__
#define __forceinline__ inline
#define __shared__ static
#define __launch_bounds__(n)

static inline void __syncthreads() { everyone->arrive_and_wait(); }
template <class T> static inline T atomicAdd(T* at, T more) { return __atomic_fetch_add(at, more, __ATOMIC_SEQ_CST); }
static inline long long __float2ll_rn(float x) { return llrintf(x); }
static inline int __float2int_rn(float x) { return (int)lrintf(x); }
static inline int __ffs(unsigned x) { return __builtin_ffs((int)x); }

template <class Kernel> static void launch(unsigned across, unsigned down, unsigned threads, Kernel kernel) {
  gridDim = {across, down, 1};
  blockDim = {threads, 1, 1};
  for (unsigned y = 0; y < down; y++)
    for (unsigned x = 0; x < across; x++) {
      std::barrier<> all(threads);
      everyone = &all;
      std::vector<std::thread> team;
      for (unsigned t = 0; t < threads; t++)
        team.emplace_back([=] { threadIdx = {t, 0, 0}; blockIdx = {x, y, 0}; kernel(); });
      for (auto& each : team) each.join();
    }
}
