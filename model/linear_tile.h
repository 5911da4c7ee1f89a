// private header: the body of the Linear kernels, compiled once for each instruction set
#pragma once

#include <cstdint>
#include <type_traits>

#include "model/bf16.h"
#include "model/linear_kernels.h"
#include "model/tile_multiply.h"

namespace vitower {

// 1 / (1 + 2^-x)
template <typename Ops>
VITOWER_TILE_INLINE typename Ops::Vector Sigmoid2(typename Ops::Vector x) {
  const auto magnitude = Ops::Max(x, Ops::Subtract(Ops::Set(0), x));
  const auto small = PowerOfTwo<Ops>(Ops::Subtract(Ops::Set(0), magnitude));  // 2^-|x|
  const auto below = Ops::Divide(small, Ops::Add(Ops::Set(1), small));        // for x < 0
  return Ops::IfNegative(x, below, Ops::Subtract(Ops::Set(1), below));
}

template <typename Ops>
VITOWER_TILE_INLINE typename Ops::Vector TanhGelu(typename Ops::Vector x) {
  constexpr float kScale = 2.302208198F;  // 2 sqrt(2 / pi) / ln 2
  const auto cubic = Ops::MultiplyAdd(Ops::Multiply(x, x), Ops::Set(0.044715F * kScale), Ops::Set(kScale));
  return Ops::Multiply(x, Sigmoid2<Ops>(Ops::Multiply(x, cubic)));
}

// Through erf by Abramowitz and Stegun 7.1.26: error below 1.5e-7.
template <typename Ops>
VITOWER_TILE_INLINE typename Ops::Vector ErfGelu(typename Ops::Vector x) {
  const auto magnitude = Ops::Max(x, Ops::Subtract(Ops::Set(0), x));
  const auto t = Ops::Divide(Ops::Set(1), Ops::MultiplyAdd(magnitude, Ops::Set(0.3275911F * 0.70710678F), Ops::Set(1)));
  auto p = Ops::Set(1.061405429F);
  p = Ops::MultiplyAdd(p, t, Ops::Set(-1.453152027F));
  p = Ops::MultiplyAdd(p, t, Ops::Set(1.421413741F));
  p = Ops::MultiplyAdd(p, t, Ops::Set(-0.284496736F));
  p = Ops::MultiplyAdd(p, t, Ops::Set(0.254829592F));
  const auto power = PowerOfTwo<Ops>(Ops::Multiply(Ops::Multiply(x, x), Ops::Set(-0.72134752F)));  // e^(-x^2 / 2)
  const auto tail = Ops::Multiply(Ops::Multiply(Ops::Multiply(p, t), power), Ops::Set(0.5F));      // 1 - Phi(|x|)
  return Ops::Multiply(x, Ops::IfNegative(x, tail, Ops::Subtract(Ops::Set(1), tail)));
}

template <typename Ops>
class LinearTile {
  using Vector = typename Ops::Vector;
  using Element = typename Ops::Element;

 public:
  static constexpr int64_t kPanel = Ops::kColumns * Ops::kLanes;

  VITOWER_TARGET static void PackPanel(const void* weight, int64_t out, int64_t in, int64_t first, uint32_t* packed) {
    const int64_t depth = in / Ops::kPack;
    const auto* words = static_cast<const uint32_t*>(weight);
    for (int64_t column = 0; column < kPanel; ++column) {
      for (int64_t k = 0; k < depth; ++k) {
        packed[k * kPanel + column] = first + column < out ? words[(first + column) * depth + k] : 0;
      }
    }
  }

  VITOWER_TARGET static void Run(const LinearTask& task) {
    const int64_t depth = task.in / Ops::kPack;
    const auto* x = static_cast<const uint32_t*>(task.x);
    alignas(64) float tile[Ops::kRows * kPanel];
    if (task.rows < Ops::kRows) {
      for (int64_t row = 0; row < task.rows; ++row) {
        Multiply<Ops, Ops::kColumns, false, 1>(x + row * depth, depth, task.panel, kPanel, depth, tile, kPanel);
        Finish(task, tile, row, 1);
      }
      return;
    }
    for (int64_t row = 0; row < task.rows; row += Ops::kRows) {
      const int64_t at = row + Ops::kRows <= task.rows ? row : task.rows - Ops::kRows;  // some once more
      Multiply<Ops, Ops::kColumns, false>(x + at * depth, depth, task.panel, kPanel, depth, tile, kPanel);
      Finish(task, tile + (row - at) * kPanel, row, at + Ops::kRows - row);
    }
  }

 private:
  VITOWER_TARGET static void Finish(const LinearTask& task, float* tile, int64_t row, int64_t rows) {
    switch (task.end) {
      case LinearEnd::kStore:
        return FinishAs<LinearEnd::kStore, Element>(task, tile, row, rows);
      case LinearEnd::kTanhGelu:
        return FinishAs<LinearEnd::kTanhGelu, Element>(task, tile, row, rows);
      case LinearEnd::kErfGelu:
        return FinishAs<LinearEnd::kErfGelu, Element>(task, tile, row, rows);
      case LinearEnd::kStoreFp32:
        return FinishAs<LinearEnd::kStoreFp32, float>(task, tile, row, rows);
      case LinearEnd::kAddToFp32:
        return FinishAs<LinearEnd::kAddToFp32, float>(task, tile, row, rows);
    }
  }

  template <LinearEnd kEnd, typename Out>
  VITOWER_TARGET static void FinishAs(const LinearTask& task, float* tile, int64_t row, int64_t rows) {
    Out* out = static_cast<Out*>(task.out) + row * task.out_stride;
    for (; rows > 0; --rows, tile += kPanel, out += task.out_stride) {
      int64_t i = 0;
      for (; i + Ops::kLanes <= task.columns; i += Ops::kLanes) {
        FinishVector<kEnd>(Ops::Add(Ops::Load(tile + i), Ops::Load(task.bias + i)), out + i);
      }
      if (i == task.columns) continue;
      Out last[Ops::kLanes] = {};
      for (int64_t j = i; j < task.columns; ++j) {
        tile[j] += task.bias[j];
        last[j - i] = out[j];
      }
      FinishVector<kEnd>(Ops::Load(tile + i), last);
      for (int64_t j = i; j < task.columns; ++j) out[j] = last[j - i];
    }
  }

  template <LinearEnd kEnd, typename Out>
  VITOWER_TILE_INLINE void FinishVector(Vector value, Out* out) {
    if constexpr (kEnd == LinearEnd::kTanhGelu) value = TanhGelu<Ops>(value);
    if constexpr (kEnd == LinearEnd::kErfGelu) value = ErfGelu<Ops>(value);
    if constexpr (kEnd == LinearEnd::kAddToFp32) value = Ops::Add(value, Ops::Load(out));
    Ops::Store(out, value);
  }
};

template <typename Ops>
constexpr LinearKernel MakeLinearKernel(const char* name, KernelIsa isa) {
  using Tile = LinearTile<Ops>;
  constexpr bool kBf16 = std::is_same_v<typename Ops::Element, Bf16>;
  return {name, isa, kBf16, Tile::kPanel, Ops::kPack, Tile::PackPanel, Tile::Run};
}

}  // namespace vitower
