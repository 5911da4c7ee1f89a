#pragma once

#include <cstdint>

#include "absl/types/span.h"
#include "model/bf16.h"
#include "model/grid_tables.h"

namespace vitower {

// Loops over rows of activations, in fp32 whatever the rows' type, compiled for several instruction sets; the best that
// the machine has is chosen at run time. Thread-safe on rows that do not overlap.

// Turns q and k of packed rows [q | k | v], each heads * head_dim wide, in place. `table`: one row of MakeRotaryTable a
// row.
struct RotaryShape {
  int64_t heads;
  int64_t head_dim;
};
void RotateRows(Bf16* qkv, const float* table, int64_t rows, RotaryShape shape);
void RotateRows(float* qkv, const float* table, int64_t rows, RotaryShape shape);

// LayerNorm of rows of fp32.
struct RowNorm {
  const float* weight;  // [width]
  const float* bias;
  int64_t width;
  float epsilon;
};
void NormaliseRows(const float* x, int64_t rows, const RowNorm& norm, Bf16* out);
void NormaliseRows(const float* x, int64_t rows, const RowNorm& norm, float* out);

// out[i] = the weighted sum of four rows of `table`, each `width` wide.
void InterpolateRows(const Bf16* table, absl::Span<const PositionTaps> taps, int64_t width, Bf16* out);
void InterpolateRows(const float* table, absl::Span<const PositionTaps> taps, int64_t width, float* out);

}  // namespace vitower
