// private header: what the matrix kernels share, compiled once for each instruction set
#pragma once

#include <cstdint>

// Each kernel's file defines its own and is compiled as a unit of its own.
#ifndef VITOWER_TARGET
#define VITOWER_TARGET
#endif
#define VITOWER_TILE VITOWER_TARGET static
#define VITOWER_TILE_INLINE __attribute__((always_inline)) VITOWER_TARGET static inline
#if defined(__clang__)
#define VITOWER_UNROLL _Pragma("unroll")
#else
#define VITOWER_UNROLL _Pragma("GCC unroll 8")
#endif

namespace vitower {

// The template parameter Ops is an instruction set:
//   Vector            kLanes floats
//   Word, Element     what products are made of: a word is 32 bits, kPack elements of a row (one float or two bf16)
//   kRows, kColumns   rows and vectors of the block of sums that fits the registers
// Nothing of the standard library is called: what it defines inline might be kept in this instruction set for all.

constexpr int64_t RoundUp(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

// c [kRows, N vectors] = or += a [kRows, depth] b [depth, N vectors], all in words.
template <typename Ops, int N, bool kAdd, int kRows = Ops::kRows>
VITOWER_TILE void Multiply(const uint32_t* a, int64_t a_stride, const uint32_t* b, int64_t b_stride, int64_t depth,
                           float* c, int64_t c_stride) {
  typename Ops::Vector sums[kRows][N];
  VITOWER_UNROLL for (int row = 0; row < kRows; ++row) {
    VITOWER_UNROLL for (int i = 0; i < N; ++i) {
      sums[row][i] = kAdd ? Ops::Load(c + row * c_stride + i * Ops::kLanes) : Ops::Set(0);
    }
  }
  for (int64_t k = 0; k < depth; ++k, ++a, b += b_stride) {
    typename Ops::Word words[N];
    VITOWER_UNROLL for (int i = 0; i < N; ++i) { words[i] = Ops::LoadWords(b + i * Ops::kLanes); }
    VITOWER_UNROLL for (int row = 0; row < kRows; ++row) {
      const typename Ops::Word word = Ops::SetWord(a + row * a_stride);
      VITOWER_UNROLL for (int i = 0; i < N; ++i) { sums[row][i] = Ops::AddProduct(sums[row][i], word, words[i]); }
    }
  }
  VITOWER_UNROLL for (int row = 0; row < kRows; ++row) {
    VITOWER_UNROLL for (int i = 0; i < N; ++i) { Ops::Store(c + row * c_stride + i * Ops::kLanes, sums[row][i]); }
  }
}

// 2^x for x <= 0, NaN for NaN: below 2^-125 it is that. Relative error under 2e-7, or under 3e-6 where the
// result is rounded to bf16 anyway.
template <typename Ops>
VITOWER_TILE_INLINE typename Ops::Vector PowerOfTwo(typename Ops::Vector x) {
  using Vector = typename Ops::Vector;
  constexpr bool kExact = Ops::kPack == 1;
  constexpr float kMagic = 12582912.0F + 127.0F;  // its last bits count units: the exponent of 2^round(x), biased
  x = Ops::Max(Ops::Set(-125.0F), x);
  const Vector shifted = Ops::Add(x, Ops::Set(kMagic));
  const Vector f = Ops::Subtract(x, Ops::Subtract(shifted, Ops::Set(kMagic)));
  Vector p = Ops::Set(kExact ? 1.32647e-3F : 9.58285e-3F);
  if constexpr (kExact) p = Ops::MultiplyAdd(p, f, Ops::Set(9.67151e-3F));
  p = Ops::MultiplyAdd(p, f, Ops::Set(kExact ? 5.550734e-2F : 5.590643e-2F));
  p = Ops::MultiplyAdd(p, f, Ops::Set(kExact ? 2.4022242e-1F : 2.4024099e-1F));
  p = Ops::MultiplyAdd(p, f, Ops::Set(kExact ? 6.9314698e-1F : 6.9312419e-1F));
  p = Ops::MultiplyAdd(p, f, Ops::Set(1.0F));
  return Ops::Multiply(p, Ops::ShiftIntoExponent(shifted));
}

}  // namespace vitower
