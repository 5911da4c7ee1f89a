#include "preprocess/resample_kernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include <cstring>

#define VITOWER_AVX2 __attribute__((target("avx2")))
#define VITOWER_AVX2_INLINE __attribute__((target("avx2"), always_inline)) inline

namespace vitower {
namespace {

// Two taps of a pixel's three channels, bytes r0 g0 b0 r1 g1 b1, as int16 pairs r0 r1 | g0 g1 | b0 b1 | 0 0.
VITOWER_AVX2_INLINE __m256i FirstTwoTaps() {
  return _mm256_broadcastsi128_si256(_mm_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1));
}
VITOWER_AVX2_INLINE __m256i LastTwoTaps() {
  return _mm256_broadcastsi128_si256(_mm_setr_epi8(6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1));
}

// A pair of weights in every 32-bit lane.
VITOWER_AVX2_INLINE __m256i WeightPair(const int16_t* weights) {
  int32_t pair;
  std::memcpy(&pair, weights, sizeof(pair));
  return _mm256_set1_epi32(pair);
}

VITOWER_AVX2_INLINE __m256i AddProducts(__m256i sum, __m256i samples, __m256i weights) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(samples, weights));
}

VITOWER_AVX2_INLINE __m256i FourPixels(const uint8_t* low, const uint8_t* high) {
  return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(low))),
                                 _mm_loadu_si128(reinterpret_cast<const __m128i*>(high)), 1);
}
VITOWER_AVX2_INLINE __m256i TwoPixels(const uint8_t* low, const uint8_t* high) {
  return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(low))),
                                 _mm_loadl_epi64(reinterpret_cast<const __m128i*>(high)), 1);
}

// One output pixel of four rows: four bytes a row, the last of them meaning nothing.
VITOWER_AVX2_INLINE __m128i Pixels(const uint8_t* const* in, int64_t at, const int16_t* weights, int64_t taps,
                                   __m256i half, __m128i shift) {
  const __m256i first_two = FirstTwoTaps();
  const __m256i last_two = LastTwoTaps();
  __m256i rows01 = half;
  __m256i rows23 = half;
  int64_t tap = 0;
  for (; tap + 4 <= taps; tap += 4, at += 12) {
    const __m256i low_weights = WeightPair(weights + tap);
    const __m256i high_weights = WeightPair(weights + tap + 2);
    const __m256i pixels01 = FourPixels(in[0] + at, in[1] + at);
    const __m256i pixels23 = FourPixels(in[2] + at, in[3] + at);
    rows01 = AddProducts(rows01, _mm256_shuffle_epi8(pixels01, first_two), low_weights);
    rows23 = AddProducts(rows23, _mm256_shuffle_epi8(pixels23, first_two), low_weights);
    rows01 = AddProducts(rows01, _mm256_shuffle_epi8(pixels01, last_two), high_weights);
    rows23 = AddProducts(rows23, _mm256_shuffle_epi8(pixels23, last_two), high_weights);
  }
  if (tap < taps) {
    const __m256i pair = WeightPair(weights + tap);
    rows01 = AddProducts(rows01, _mm256_shuffle_epi8(TwoPixels(in[0] + at, in[1] + at), first_two), pair);
    rows23 = AddProducts(rows23, _mm256_shuffle_epi8(TwoPixels(in[2] + at, in[3] + at), first_two), pair);
  }
  const __m256i words = _mm256_packs_epi32(_mm256_sra_epi32(rows01, shift), _mm256_sra_epi32(rows23, shift));
  const __m256i bytes = _mm256_packus_epi16(words, words);  // rows 0 2 0 2 | 1 3 1 3
  return _mm_unpacklo_epi32(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1));
}

VITOWER_AVX2_INLINE void StoreFourBytes(uint8_t* target, int pixel) { std::memcpy(target, &pixel, 4); }

VITOWER_AVX2 void HorizontalAvx2(const uint8_t* const* input, uint8_t* const* output, int rows,
                                 const AxisWeights& axis) {
  // Missing rows repeat the first, and write what it writes.
  const uint8_t* in[kHorizontalRows];
  uint8_t* out[kHorizontalRows];
  for (int row = 0; row < kHorizontalRows; ++row) {
    in[row] = input[row < rows ? row : 0];
    out[row] = output[row < rows ? row : 0];
  }
  const __m128i shift = _mm_cvtsi32_si128(axis.precision);
  const __m256i half = _mm256_set1_epi32(1 << (axis.precision - 1));
  const int16_t* weights = axis.values.data();
  const int64_t* first = axis.first.data();
  const int64_t taps = axis.taps;
  const int64_t last = axis.out - 1;
  for (int64_t x = 0; x < last; ++x, weights += taps) {
    // The fourth byte belongs to the next pixel, which is written after.
    const __m128i pixels = Pixels(in, 3 * first[x], weights, taps, half, shift);
    StoreFourBytes(out[0] + 3 * x, _mm_extract_epi32(pixels, 0));
    StoreFourBytes(out[1] + 3 * x, _mm_extract_epi32(pixels, 1));
    StoreFourBytes(out[2] + 3 * x, _mm_extract_epi32(pixels, 2));
    StoreFourBytes(out[3] + 3 * x, _mm_extract_epi32(pixels, 3));
  }
  alignas(16) uint32_t pixels[kHorizontalRows];
  _mm_store_si128(reinterpret_cast<__m128i*>(pixels), Pixels(in, 3 * first[last], weights, taps, half, shift));
  for (int row = 0; row < kHorizontalRows; ++row) std::memcpy(out[row] + 3 * last, &pixels[row], 3);
}

// Bytes of two rows side by side, as 16 int16 pairs in two registers: columns 0-3 | 8-11 and 4-7 | 12-15.
struct RowPair {
  __m256i low;
  __m256i high;
};
VITOWER_AVX2_INLINE RowPair Interleave(const uint8_t* first, const uint8_t* second) {
  const __m256i a = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(first)));
  const __m256i b = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(second)));
  return {_mm256_unpacklo_epi16(a, b), _mm256_unpackhi_epi16(a, b)};
}

// Columns [x, x + 16).
VITOWER_AVX2_INLINE void VerticalBlock(const uint8_t* const* input, int64_t count, const int16_t* weights,
                                       int precision, uint8_t* output, int64_t x) {
  __m256i low = _mm256_set1_epi32(1 << (precision - 1));
  __m256i high = low;
  for (int64_t j = 0; j < count; j += 2) {
    const RowPair pair = Interleave(input[j] + x, input[j + 1 < count ? j + 1 : j] + x);
    const __m256i both = WeightPair(weights + j);
    low = AddProducts(low, pair.low, both);
    high = AddProducts(high, pair.high, both);
  }
  const __m128i shift = _mm_cvtsi32_si128(precision);
  const __m256i words = _mm256_packs_epi32(_mm256_sra_epi32(low, shift), _mm256_sra_epi32(high, shift));
  const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(output + x), bytes);
}

VITOWER_AVX2 void VerticalAvx2(const uint8_t* const* input, int64_t count, const int16_t* weights, int precision,
                               uint8_t* output, int64_t bytes) {
  constexpr int64_t kBlock = 16;
  if (bytes < kBlock) return ScalarKernels().vertical(input, count, weights, precision, output, bytes);
  for (int64_t x = 0; x + kBlock <= bytes; x += kBlock) VerticalBlock(input, count, weights, precision, output, x);
  if (bytes % kBlock != 0) VerticalBlock(input, count, weights, precision, output, bytes - kBlock);
}

}  // namespace

const ResampleKernels& Avx2Kernels() {
  static constexpr ResampleKernels kKernels = {"avx2", [] { return __builtin_cpu_supports("avx2") != 0; },
                                               HorizontalAvx2, VerticalAvx2};
  return kKernels;
}

}  // namespace vitower

#else

namespace vitower {

const ResampleKernels& Avx2Kernels() {
  static constexpr ResampleKernels kKernels = {"avx2", [] { return false; }, nullptr, nullptr};
  return kKernels;
}

}  // namespace vitower

#endif
