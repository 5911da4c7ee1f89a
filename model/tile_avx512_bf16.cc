#include "model/attention_kernels.h"
#include "model/linear_kernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define VITOWER_TARGET \
  __attribute__((      \
      target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")))  // NOLINT(bugprone-macro-parentheses)
#include "model/attention_tile.h"
#include "model/linear_tile.h"
#include "model/tile_avx512_ops.h"

namespace vitower {
namespace {

struct Avx512Bf16Ops : Avx512Floats {
  using Word = __m512i;
  using Element = Bf16;
  static constexpr int kPack = 2;

  VITOWER_TILE_INLINE Word LoadWords(const uint32_t* from) { return _mm512_load_si512(from); }
  VITOWER_TILE_INLINE Word SetWord(const uint32_t* from) { return _mm512_set1_epi32(static_cast<int>(*from)); }
  VITOWER_TILE_INLINE __m512 AddProduct(__m512 sum, Word a, Word b) {
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
  }

  using Avx512Floats::Store;
  VITOWER_TILE_INLINE void Store(Bf16* to, __m512 value) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(value)));
  }
  VITOWER_TILE_INLINE void StoreWeights(float* to, const __m512* weights) {
    _mm512_store_si512(to, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(weights[1], weights[0])));
  }
  // Element i of two rows as one word.
  VITOWER_TILE_INLINE void PackValues(const Bf16* first, const Bf16* second, uint32_t* out) {
    const __m512i low = LoadWidened(first);
    const __m512i high = second != nullptr ? LoadWidened(second) : _mm512_setzero_si512();
    _mm512_storeu_si512(out, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
  }
};

}  // namespace

const AttentionKernel& Avx512Bf16Attention() {
  static constexpr AttentionKernel kKernel = MakeAttentionKernel<Avx512Bf16Ops>("avx512_bf16", KernelIsa::kAvx512Bf16);
  return kKernel;
}

const LinearKernel& Avx512Bf16Linear() {
  static constexpr LinearKernel kKernel = MakeLinearKernel<Avx512Bf16Ops>("avx512_bf16", KernelIsa::kAvx512Bf16);
  return kKernel;
}

}  // namespace vitower

#endif
