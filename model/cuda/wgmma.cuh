// private header
#pragma once

#include "model/cuda/mma.cuh"

namespace vitower {

// Hopper's matrix instructions of a warpgroup (four warps, 64 rows): the left operand in registers or in shared memory,
// the right one in shared memory, where a descriptor names it. sm_90a only.

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
// Makes what this thread has written into shared memory visible to the matrix units; a barrier must follow.
__device__ __forceinline__ void PublishToMatrixUnits() {
  asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");
}

// Two 8 x 8 blocks of 16-bit elements, one below the other, as matrix instructions leave them, into shared memory.
// `row` is where this lane's row of the 16 begins.
__device__ __forceinline__ void StoreMatrices(void* row, uint32_t upper, uint32_t lower) {
  asm volatile("stmatrix.sync.aligned.m8n8.x2.shared.b16 [%0], {%1, %2};\n" ::"r"(SharedAddress(row)), "r"(upper),
               "r"(lower)
               : "memory");
}

// Keeps the compiler from using sums before they are waited for, and left operands as they are until then.
__device__ __forceinline__ void Settle(float& value) { asm volatile("" : "+f"(value)::"memory"); }
__device__ __forceinline__ void Settle(uint32_t& value) { asm volatile("" : "+r"(value)::"memory"); }
template <typename Value, int kCount>
__device__ __forceinline__ void Settle(Value (&values)[kCount][4]) {
#pragma unroll
  for (int n = 0; n < kCount; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) Settle(values[n][i]);
  }
}

#define VITOWER_SUM4(n) "+f"(sum[n][0]), "+f"(sum[n][1]), "+f"(sum[n][2]), "+f"(sum[n][3])
#define VITOWER_WGMMA(shape, type, sums, a, b, accumulate, trans)                                                  \
  "{\n.reg .pred p;\nsetp.ne.b32 p, " accumulate ", 0;\nwgmma.mma_async.sync.aligned." shape ".f32." type "." type \
  " {" sums "}, " a ", " b ", p, 1, 1, " trans ";\n}\n"

// Asynchronous: see CommitProducts. MultiplyRows: sum [64 x 8 n] (+)= a [64 x 16] * b, stored [8 n][16], both with the
// product's depth contiguous. MultiplyColumns: sum += a * b, stored [16][8 n], its width contiguous.
#define VITOWER_DEFINE_PRODUCTS(Type, type)                                                                            \
  __device__ __forceinline__ void MultiplyRows(Type, float (&sum)[2][4], uint64_t a, uint64_t b, int accumulate) {     \
    asm volatile(VITOWER_WGMMA("m64n16k16", type, "%0,%1,%2,%3,%4,%5,%6,%7", "%8", "%9", "%10", "0, 0")                \
                 : VITOWER_SUM4(0), VITOWER_SUM4(1)                                                                    \
                 : "l"(a), "l"(b), "r"(accumulate));                                                                   \
  }                                                                                                                    \
  __device__ __forceinline__ void MultiplyRows(Type, float (&sum)[4][4], uint64_t a, uint64_t b, int accumulate) {     \
    asm volatile(VITOWER_WGMMA("m64n32k16", type, "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15", "%16",      \
                               "%17", "%18", "0, 0")                                                                   \
                 : VITOWER_SUM4(0), VITOWER_SUM4(1), VITOWER_SUM4(2), VITOWER_SUM4(3)                                  \
                 : "l"(a), "l"(b), "r"(accumulate));                                                                   \
  }                                                                                                                    \
  __device__ __forceinline__ void MultiplyRows(Type, float (&sum)[8][4], uint64_t a, uint64_t b, int accumulate) {     \
    asm volatile(                                                                                                      \
        VITOWER_WGMMA("m64n64k16", type,                                                                               \
                      "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25," \
                      "%26,%27,%28,%29,%30,%31",                                                                       \
                      "%32", "%33", "%34", "0, 0")                                                                     \
        : VITOWER_SUM4(0), VITOWER_SUM4(1), VITOWER_SUM4(2), VITOWER_SUM4(3), VITOWER_SUM4(4), VITOWER_SUM4(5),        \
          VITOWER_SUM4(6), VITOWER_SUM4(7)                                                                             \
        : "l"(a), "l"(b), "r"(accumulate));                                                                            \
  }                                                                                                                    \
  __device__ __forceinline__ void MultiplyRows(Type, float (&sum)[12][4], uint64_t a, uint64_t b, int accumulate) {    \
    asm volatile(                                                                                                      \
        VITOWER_WGMMA("m64n96k16", type,                                                                               \
                      "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25," \
                      "%26,%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47",       \
                      "%48", "%49", "%50", "0, 0")                                                                     \
        : VITOWER_SUM4(0), VITOWER_SUM4(1), VITOWER_SUM4(2), VITOWER_SUM4(3), VITOWER_SUM4(4), VITOWER_SUM4(5),        \
          VITOWER_SUM4(6), VITOWER_SUM4(7), VITOWER_SUM4(8), VITOWER_SUM4(9), VITOWER_SUM4(10), VITOWER_SUM4(11)       \
        : "l"(a), "l"(b), "r"(accumulate));                                                                            \
  }                                                                                                                    \
  __device__ __forceinline__ void MultiplyRows(Type, float (&sum)[16][4], uint64_t a, uint64_t b, int accumulate) {    \
    asm volatile(                                                                                                      \
        VITOWER_WGMMA(                                                                                                 \
            "m64n128k16", type,                                                                                        \
            "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,"           \
            "%26,%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,"         \
            "%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63",                                                 \
            "%64", "%65", "%66", "0, 0")                                                                               \
        : VITOWER_SUM4(0), VITOWER_SUM4(1), VITOWER_SUM4(2), VITOWER_SUM4(3), VITOWER_SUM4(4), VITOWER_SUM4(5),        \
          VITOWER_SUM4(6), VITOWER_SUM4(7), VITOWER_SUM4(8), VITOWER_SUM4(9), VITOWER_SUM4(10), VITOWER_SUM4(11),      \
          VITOWER_SUM4(12), VITOWER_SUM4(13), VITOWER_SUM4(14), VITOWER_SUM4(15)                                       \
        : "l"(a), "l"(b), "r"(accumulate));                                                                            \
  }                                                                                                                    \
  __device__ __forceinline__ void MultiplyRows(Type, float (&sum)[20][4], uint64_t a, uint64_t b, int accumulate) {    \
    asm volatile(                                                                                                      \
        VITOWER_WGMMA(                                                                                                 \
            "m64n160k16", type,                                                                                        \
            "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,"           \
            "%26,%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,"         \
            "%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63,%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,"         \
            "%74,%75,%76,%77,%78,%79",                                                                                 \
            "%80", "%81", "%82", "0, 0")                                                                               \
        : VITOWER_SUM4(0), VITOWER_SUM4(1), VITOWER_SUM4(2), VITOWER_SUM4(3), VITOWER_SUM4(4), VITOWER_SUM4(5),        \
          VITOWER_SUM4(6), VITOWER_SUM4(7), VITOWER_SUM4(8), VITOWER_SUM4(9), VITOWER_SUM4(10), VITOWER_SUM4(11),      \
          VITOWER_SUM4(12), VITOWER_SUM4(13), VITOWER_SUM4(14), VITOWER_SUM4(15), VITOWER_SUM4(16), VITOWER_SUM4(17),  \
          VITOWER_SUM4(18), VITOWER_SUM4(19)                                                                           \
        : "l"(a), "l"(b), "r"(accumulate));                                                                            \
  }                                                                                                                    \
  __device__ __forceinline__ void MultiplyColumns(Type, float (&sum)[8][4], const uint32_t (&a)[4], uint64_t b) {      \
    asm volatile(                                                                                                      \
        VITOWER_WGMMA("m64n64k16", type,                                                                               \
                      "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25," \
                      "%26,%27,%28,%29,%30,%31",                                                                       \
                      "{%32,%33,%34,%35}", "%36", "%37", "1")                                                          \
        : VITOWER_SUM4(0), VITOWER_SUM4(1), VITOWER_SUM4(2), VITOWER_SUM4(3), VITOWER_SUM4(4), VITOWER_SUM4(5),        \
          VITOWER_SUM4(6), VITOWER_SUM4(7)                                                                             \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(1));                                                 \
  }                                                                                                                    \
  __device__ __forceinline__ void MultiplyColumns(Type, float (&sum)[1][4], const uint32_t (&a)[4], uint64_t b) {      \
    asm volatile(VITOWER_WGMMA("m64n8k16", type, "%0,%1,%2,%3", "{%4,%5,%6,%7}", "%8", "%9", "1")                      \
                 : VITOWER_SUM4(0)                                                                                     \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(1));                                        \
  }

VITOWER_DEFINE_PRODUCTS(__nv_bfloat16, "bf16")
VITOWER_DEFINE_PRODUCTS(__half, "f16")

#undef VITOWER_DEFINE_PRODUCTS
#undef VITOWER_WGMMA
#undef VITOWER_SUM4

}  // namespace vitower
