// private header: what the AVX-512 kernels of attention and Linears share. REQUIRES: VITOWER_TARGET has AVX-512 F, BW,
// DQ and VL.
#pragma once

#if defined(__x86_64__)

#include <immintrin.h>

#include <cstdint>

#include "model/bf16.h"

#ifndef VITOWER_TARGET
#define VITOWER_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
#endif
#include "model/tile_multiply.h"

namespace vitower {

struct Avx512Floats {
  using Vector = __m512;
  static constexpr int kLanes = 16;
  static constexpr int kRows = 6;
  static constexpr int kColumns = 4;

  VITOWER_TILE_INLINE __m512 Set(float value) { return _mm512_set1_ps(value); }
  VITOWER_TILE_INLINE __m512 Load(const float* from) { return _mm512_loadu_ps(from); }
  VITOWER_TILE_INLINE __m512i LoadWidened(const Bf16* from) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  }
  VITOWER_TILE_INLINE __m512 Load(const Bf16* from) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(LoadWidened(from), 16));
  }
  VITOWER_TILE_INLINE void Store(float* to, __m512 value) { _mm512_storeu_ps(to, value); }
  VITOWER_TILE_INLINE __m512 Add(__m512 a, __m512 b) { return _mm512_add_ps(a, b); }
  VITOWER_TILE_INLINE __m512 Subtract(__m512 a, __m512 b) { return _mm512_sub_ps(a, b); }
  VITOWER_TILE_INLINE __m512 Multiply(__m512 a, __m512 b) { return _mm512_mul_ps(a, b); }
  VITOWER_TILE_INLINE __m512 MultiplyAdd(__m512 a, __m512 b, __m512 c) { return _mm512_fmadd_ps(a, b, c); }
  VITOWER_TILE_INLINE __m512 Max(__m512 a, __m512 b) { return _mm512_max_ps(a, b); }  // b where one is NaN
  VITOWER_TILE_INLINE __m512 Divide(__m512 a, __m512 b) { return _mm512_div_ps(a, b); }
  VITOWER_TILE_INLINE __m512 IfNegative(__m512 sign, __m512 a, __m512 b) {
    return _mm512_mask_blend_ps(_mm512_movepi32_mask(_mm512_castps_si512(sign)), b, a);
  }
  VITOWER_TILE_INLINE float Largest(__m512 a) { return _mm512_reduce_max_ps(a); }
  VITOWER_TILE_INLINE float Sum(__m512 a) { return _mm512_reduce_add_ps(a); }
  VITOWER_TILE_INLINE float First(__m512 a) { return _mm512_cvtss_f32(a); }
  VITOWER_TILE_INLINE __m512 ShiftIntoExponent(__m512 a) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(a), 23));
  }

  // Words of 16 rows `stride` apart, to rows `out_stride` apart.
  VITOWER_TILE_INLINE void Transpose(const uint32_t* rows, int64_t stride, uint32_t* out, int64_t out_stride) {
    __m512i in[16];
    __m512i pairs[16];
    for (int i = 0; i < 16; ++i) in[i] = _mm512_loadu_si512(rows + i * stride);
    for (int i = 0; i < 16; i += 2) {
      pairs[i] = _mm512_unpacklo_epi32(in[i], in[i + 1]);
      pairs[i + 1] = _mm512_unpackhi_epi32(in[i], in[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {  // in[i + j]: of rows i..i+3, word j of each group of four
      in[i] = _mm512_unpacklo_epi64(pairs[i], pairs[i + 2]);
      in[i + 1] = _mm512_unpackhi_epi64(pairs[i], pairs[i + 2]);
      in[i + 2] = _mm512_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
      in[i + 3] = _mm512_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
    }
    for (int j = 0; j < 4; ++j) {
      const __m512i low_even = _mm512_shuffle_i32x4(in[j], in[j + 4], 0x88);        // groups 0 and 2 of rows 0..7
      const __m512i low_odd = _mm512_shuffle_i32x4(in[j], in[j + 4], 0xDD);         // groups 1 and 3
      const __m512i high_even = _mm512_shuffle_i32x4(in[j + 8], in[j + 12], 0x88);  // of rows 8..15
      const __m512i high_odd = _mm512_shuffle_i32x4(in[j + 8], in[j + 12], 0xDD);
      _mm512_storeu_si512(out + j * out_stride, _mm512_shuffle_i32x4(low_even, high_even, 0x88));
      _mm512_storeu_si512(out + (j + 4) * out_stride, _mm512_shuffle_i32x4(low_odd, high_odd, 0x88));
      _mm512_storeu_si512(out + (j + 8) * out_stride, _mm512_shuffle_i32x4(low_even, high_even, 0xDD));
      _mm512_storeu_si512(out + (j + 12) * out_stride, _mm512_shuffle_i32x4(low_odd, high_odd, 0xDD));
    }
  }
};

}  // namespace vitower

#endif
