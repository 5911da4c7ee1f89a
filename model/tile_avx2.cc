#include "model/attention_kernels.h"
#include "model/linear_kernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define VITOWER_TARGET __attribute__((target("avx2,fma")))
#include "model/attention_tile.h"
#include "model/linear_tile.h"

namespace vitower {
namespace {

struct Avx2Ops {
  using Vector = __m256;
  using Word = __m256;
  using Element = float;
  static constexpr int kLanes = 8;
  static constexpr int kRows = 6;
  static constexpr int kColumns = 2;
  static constexpr int kPack = 1;

  VITOWER_TILE_INLINE __m256 Set(float value) { return _mm256_set1_ps(value); }
  VITOWER_TILE_INLINE __m256 Load(const float* from) { return _mm256_loadu_ps(from); }
  VITOWER_TILE_INLINE __m256 Load(const Bf16* from) {
    const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
  }
  VITOWER_TILE_INLINE void Store(float* to, __m256 value) { _mm256_storeu_ps(to, value); }
  // Rounds to nearest even; NaN stays NaN.
  VITOWER_TILE_INLINE void Store(Bf16* to, __m256 value) {
    const __m256i bits = _mm256_castps_si256(value);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF)));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(value, value, _CMP_UNORD_Q));
    const __m256i kept = _mm256_blendv_epi8(rounded, _mm256_or_si256(bits, _mm256_set1_epi32(0x400000)), nan);
    const __m256i words = _mm256_srli_epi32(kept, 16);
    const __m128i halves = _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), halves);
  }
  VITOWER_TILE_INLINE __m256 Add(__m256 a, __m256 b) { return _mm256_add_ps(a, b); }
  VITOWER_TILE_INLINE __m256 Subtract(__m256 a, __m256 b) { return _mm256_sub_ps(a, b); }
  VITOWER_TILE_INLINE __m256 Multiply(__m256 a, __m256 b) { return _mm256_mul_ps(a, b); }
  VITOWER_TILE_INLINE __m256 MultiplyAdd(__m256 a, __m256 b, __m256 c) { return _mm256_fmadd_ps(a, b, c); }
  VITOWER_TILE_INLINE __m256 Max(__m256 a, __m256 b) { return _mm256_max_ps(a, b); }  // b where one is NaN
  VITOWER_TILE_INLINE __m256 Divide(__m256 a, __m256 b) { return _mm256_div_ps(a, b); }
  VITOWER_TILE_INLINE __m256 IfNegative(__m256 sign, __m256 a, __m256 b) { return _mm256_blendv_ps(b, a, sign); }
  VITOWER_TILE_INLINE float Largest(__m256 a) {
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
  }
  VITOWER_TILE_INLINE float Sum(__m256 a) {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
  VITOWER_TILE_INLINE float First(__m256 a) { return _mm256_cvtss_f32(a); }
  VITOWER_TILE_INLINE __m256 ShiftIntoExponent(__m256 a) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(a), 23));
  }

  VITOWER_TILE_INLINE Word LoadWords(const uint32_t* from) {
    return _mm256_load_ps(reinterpret_cast<const float*>(from));
  }
  VITOWER_TILE_INLINE Word SetWord(const uint32_t* from) {
    return _mm256_broadcast_ss(reinterpret_cast<const float*>(from));
  }
  VITOWER_TILE_INLINE __m256 AddProduct(__m256 sum, Word a, Word b) { return _mm256_fmadd_ps(a, b, sum); }
  VITOWER_TILE_INLINE void StoreWeights(float* to, const __m256* weights) { _mm256_store_ps(to, *weights); }
  template <typename T>
  VITOWER_TILE_INLINE void PackValues(const T* row, const T* /*next*/, uint32_t* out) {
    Store(reinterpret_cast<float*>(out), Load(row));
  }

  // Words of 8 rows `stride` apart, to rows `out_stride` apart.
  VITOWER_TILE_INLINE void Transpose(const uint32_t* rows, int64_t stride, uint32_t* out, int64_t out_stride) {
    __m256 in[8];
    __m256 fours[8];
    for (int i = 0; i < 8; ++i) in[i] = LoadAnywhere(rows + i * stride);
    for (int i = 0; i < 8; i += 4) {  // fours[i + j]: of rows i..i+3, word j of each half
      const __m256 low01 = _mm256_unpacklo_ps(in[i], in[i + 1]);
      const __m256 high01 = _mm256_unpackhi_ps(in[i], in[i + 1]);
      const __m256 low23 = _mm256_unpacklo_ps(in[i + 2], in[i + 3]);
      const __m256 high23 = _mm256_unpackhi_ps(in[i + 2], in[i + 3]);
      fours[i] = _mm256_shuffle_ps(low01, low23, 0x44);
      fours[i + 1] = _mm256_shuffle_ps(low01, low23, 0xEE);
      fours[i + 2] = _mm256_shuffle_ps(high01, high23, 0x44);
      fours[i + 3] = _mm256_shuffle_ps(high01, high23, 0xEE);
    }
    for (int j = 0; j < 4; ++j) {
      auto* low = reinterpret_cast<float*>(out + j * out_stride);
      auto* high = reinterpret_cast<float*>(out + (j + 4) * out_stride);
      _mm256_storeu_ps(low, _mm256_permute2f128_ps(fours[j], fours[j + 4], 0x20));
      _mm256_storeu_ps(high, _mm256_permute2f128_ps(fours[j], fours[j + 4], 0x31));
    }
  }
  VITOWER_TILE_INLINE __m256 LoadAnywhere(const uint32_t* from) {
    return _mm256_loadu_ps(reinterpret_cast<const float*>(from));
  }
};

}  // namespace

const AttentionKernel& Avx2Attention() {
  static constexpr AttentionKernel kKernel = MakeAttentionKernel<Avx2Ops>("avx2", KernelIsa::kAvx2);
  return kKernel;
}

const LinearKernel& Avx2Linear() {
  static constexpr LinearKernel kKernel = MakeLinearKernel<Avx2Ops>("avx2", KernelIsa::kAvx2);
  return kKernel;
}

}  // namespace vitower

#endif
