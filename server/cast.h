#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "model/encoder.h"

namespace vitower {

// Single values, rounding half to even, infinities and NaNs kept.
uint16_t Bf16FromFloat(float value);
uint16_t Fp16FromFloat(float value);
float FloatFromBf16(uint16_t bits);
float FloatFromFp16(uint16_t bits);

// No value is NaN or infinite. REQUIRES: values.size() is a multiple of ByteSize(dtype).
bool AllFinite(absl::Span<const std::byte> values, DType dtype);

// No value is NaN or beyond [-bound, bound]. REQUIRES: as above; bound is a value of `dtype`.
bool AllWithin(absl::Span<const std::byte> values, DType dtype, float bound);

// Converts `from` into `to`, in order. False where a finite value became infinite: it does not fit `to_dtype`.
// REQUIRES: both hold the same number of values.
bool Cast(absl::Span<const std::byte> from, DType from_dtype, absl::Span<std::byte> to, DType to_dtype);

// The mean of the rows of [rows, cols], summed in double and rounded once to fp32. REQUIRES: rows > 0.
void MeanOfRows(absl::Span<const std::byte> values, DType dtype, int64_t cols, absl::Span<float> mean);

// Divides by the Euclidean length, summed in double. A vector of zeros stays one.
void ScaleToLengthOne(absl::Span<float> vector);

}  // namespace vitower
