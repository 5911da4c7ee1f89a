// private header
#pragma once

#include "model/cuda/mma.cuh"

namespace vitower {

// Hopper's matrix instructions of a warpgroup (four warps, 64 rows): the left operand in registers, the right one in
// shared memory, named by a descriptor. sm_90a only.

enum class Swizzle : uint64_t { kNone = 0, k128Bytes = 1 };

// `leading` and `stride` in bytes. Without a swizzle, shared memory is made of 8 x 16-byte cores, `leading` apart along
// the product's depth and `stride` apart along the other side; with it, of 8 rows of 128 bytes, `stride` apart.
__device__ __forceinline__ uint64_t Descriptor(const void* shared, Swizzle swizzle, uint64_t leading, uint64_t stride) {
  return (SharedAddress(shared) & 0x3FFFFU) >> 4 | leading >> 4 << 16 | stride >> 4 << 32 |
         static_cast<uint64_t>(swizzle) << 62;
}

__device__ __forceinline__ void FenceRegisters() { asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory"); }
__device__ __forceinline__ void CommitProducts() { asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory"); }
__device__ __forceinline__ void WaitForProducts() { asm volatile("wgmma.wait_group.sync.aligned 0;\n" ::: "memory"); }
// Makes this thread's copies into shared memory visible to the matrix units; a barrier must follow.
__device__ __forceinline__ void PublishToMatrixUnits() {
  asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");
}

// Keeps the compiler from using sums before they are waited for.
template <int kBlocks>
__device__ __forceinline__ void Settle(float (&sum)[kBlocks][4]) {
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) asm volatile("" : "+f"(sum[n][i])::"memory");
  }
}

#define VITOWER_SUM4(n) "+f"(sum[n][0]), "+f"(sum[n][1]), "+f"(sum[n][2]), "+f"(sum[n][3])
#define VITOWER_WGMMA(shape, type, sums, a, b, scale, trans)                                                  \
  "{\n.reg .pred p;\nsetp.ne.b32 p, " scale ", 0;\nwgmma.mma_async.sync.aligned." shape ".f32." type "." type \
  " {" sums "}, {" a "}, " b ", p, 1, 1, " trans ";\n}\n"
#define VITOWER_OPERANDS "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate)

#define VITOWER_DEFINE_WGMMA(Name, Type, type, trans)                                                                \
  __device__ __forceinline__ void Name(Type, float(&sum)[8][4], const uint32_t(&a)[4], uint64_t b, int accumulate) { \
    asm volatile(VITOWER_WGMMA("m64n64k16", type,                                                                    \
                               "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,"  \
                               "%23,%24,%25,%26,%27,%28,%29,%30,%31",                                                \
                               "%32,%33,%34,%35", "%36", "%37", trans)                                               \
                 : VITOWER_SUM4(0), VITOWER_SUM4(1), VITOWER_SUM4(2), VITOWER_SUM4(3), VITOWER_SUM4(4),              \
                   VITOWER_SUM4(5), VITOWER_SUM4(6), VITOWER_SUM4(7)                                                 \
                 : VITOWER_OPERANDS);                                                                                \
  }                                                                                                                  \
  __device__ __forceinline__ void Name(Type, float(&sum)[4][4], const uint32_t(&a)[4], uint64_t b, int accumulate) { \
    asm volatile(VITOWER_WGMMA("m64n32k16", type, "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15",           \
                               "%16,%17,%18,%19", "%20", "%21", trans)                                               \
                 : VITOWER_SUM4(0), VITOWER_SUM4(1), VITOWER_SUM4(2), VITOWER_SUM4(3)                                \
                 : VITOWER_OPERANDS);                                                                                \
  }                                                                                                                  \
  __device__ __forceinline__ void Name(Type, float(&sum)[2][4], const uint32_t(&a)[4], uint64_t b, int accumulate) { \
    asm volatile(VITOWER_WGMMA("m64n16k16", type, "%0,%1,%2,%3,%4,%5,%6,%7", "%8,%9,%10,%11", "%12", "%13", trans)   \
                 : VITOWER_SUM4(0), VITOWER_SUM4(1)                                                                  \
                 : VITOWER_OPERANDS);                                                                                \
  }                                                                                                                  \
  __device__ __forceinline__ void Name(Type, float(&sum)[1][4], const uint32_t(&a)[4], uint64_t b, int accumulate) { \
    asm volatile(VITOWER_WGMMA("m64n8k16", type, "%0,%1,%2,%3", "%4,%5,%6,%7", "%8", "%9", trans)                    \
                 : VITOWER_SUM4(0)                                                                                   \
                 : VITOWER_OPERANDS);                                                                                \
  }

// sum [64 x 8 n] (+)= a [64 x 16] * b. MultiplyRows: b is stored [8 n][16], the product's depth contiguous;
// MultiplyColumns: [16][8 n], its width contiguous. Asynchronous: see CommitProducts.
VITOWER_DEFINE_WGMMA(MultiplyRows, __nv_bfloat16, "bf16", "0")
VITOWER_DEFINE_WGMMA(MultiplyRows, __half, "f16", "0")
VITOWER_DEFINE_WGMMA(MultiplyColumns, __nv_bfloat16, "bf16", "1")
VITOWER_DEFINE_WGMMA(MultiplyColumns, __half, "f16", "1")

#undef VITOWER_DEFINE_WGMMA
#undef VITOWER_OPERANDS
#undef VITOWER_WGMMA
#undef VITOWER_SUM4

}  // namespace vitower
