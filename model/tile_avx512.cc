#include "model/attention_kernels.h"
#include "model/linear_kernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define VITOWER_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")))
#include "model/attention_tile.h"
#include "model/linear_tile.h"
#include "model/tile_avx512_ops.h"

namespace vitower {
namespace {

struct Avx512Ops : Avx512Floats {
  using Word = __m512;
  using Element = float;
  static constexpr int kPack = 1;

  VITOWER_TILE_INLINE Word LoadWords(const uint32_t* from) { return _mm512_load_ps(from); }
  VITOWER_TILE_INLINE Word SetWord(const uint32_t* from) {
    return _mm512_set1_ps(*reinterpret_cast<const float*>(from));
  }
  VITOWER_TILE_INLINE __m512 AddProduct(__m512 sum, Word a, Word b) { return _mm512_fmadd_ps(a, b, sum); }

  using Avx512Floats::Store;
  // Rounds to nearest even; NaN stays NaN.
  VITOWER_TILE_INLINE void Store(Bf16* to, __m512 value) {
    const __m512i bits = _mm512_castps_si512(value);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
    const __mmask16 nan = _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q);
    const __m512i kept = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x400000));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(_mm512_srli_epi32(kept, 16)));
  }
  VITOWER_TILE_INLINE void StoreWeights(float* to, const __m512* weights) { _mm512_store_ps(to, *weights); }
  template <typename T>
  VITOWER_TILE_INLINE void PackValues(const T* row, const T* /*next*/, uint32_t* out) {
    _mm512_storeu_ps(out, Load(row));
  }
};

}  // namespace

const AttentionKernel& Avx512Attention() {
  static constexpr AttentionKernel kKernel = MakeAttentionKernel<Avx512Ops>("avx512", KernelIsa::kAvx512);
  return kKernel;
}

const LinearKernel& Avx512Linear() {
  static constexpr LinearKernel kKernel = MakeLinearKernel<Avx512Ops>("avx512", KernelIsa::kAvx512);
  return kKernel;
}

}  // namespace vitower

#endif
