#include "model/row_kernels.h"

#include <cmath>

// The bodies are inlined into one function an instruction set. No ifunc: sanitizers cannot run its resolvers.
#define VITOWER_INLINE inline __attribute__((always_inline))
#if defined(__x86_64__)
#define VITOWER_AVX2 __attribute__((target("avx2,fma")))
#define VITOWER_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")))
#endif

namespace vitower {
namespace {

template <typename T>
VITOWER_INLINE void RotateHead(T* __restrict head, const float* __restrict cosines, const float* __restrict sines,
                               int64_t half) {
  T* __restrict upper = head + half;
  for (int64_t i = 0; i < half; ++i) {
    const float a = ToFloat(head[i]);
    const float b = ToFloat(upper[i]);
    Store(a * cosines[i] - b * sines[i], head[i]);
    Store(b * cosines[i] + a * sines[i], upper[i]);
  }
}

template <typename T>
VITOWER_INLINE void RotateBody(T* qkv, const float* table, int64_t rows, RotaryShape shape) {
  const int64_t half = shape.head_dim / 2;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t head = 0; head < 2 * shape.heads; ++head) {
      RotateHead(qkv + head * shape.head_dim, table, table + half, half);
    }
    qkv += 3 * shape.heads * shape.head_dim;
    table += shape.head_dim;
  }
}

template <typename T>
VITOWER_INLINE void InterpolateBody(const T* table, absl::Span<const PositionTaps> taps, int64_t width, T* out) {
  for (const PositionTaps& tap : taps) {
    const T* rows[4];
    for (int i = 0; i < 4; ++i) rows[i] = table + tap.row[i] * width;
    for (int64_t i = 0; i < width; ++i) {
      const float sum = ToFloat(rows[0][i]) * tap.weight[0] + ToFloat(rows[1][i]) * tap.weight[1] +
                        ToFloat(rows[2][i]) * tap.weight[2] + ToFloat(rows[3][i]) * tap.weight[3];
      Store(sum, out[i]);
    }
    out += width;
  }
}

// The sum of f(x[i]), in sixteen sums side by side.
template <typename F>
VITOWER_INLINE float SumOf(const float* __restrict x, int64_t width, const F& f) {
  float sums[16] = {};
  int64_t i = 0;
  for (; i + 16 <= width; i += 16) {
    for (int64_t j = 0; j < 16; ++j) sums[j] += f(x[i + j]);
  }
  float sum = 0;
  for (; i < width; ++i) sum += f(x[i]);
  for (const float part : sums) sum += part;
  return sum;
}

struct Identity {
  VITOWER_INLINE float operator()(float x) const { return x; }
};
struct SquareFrom {
  VITOWER_INLINE float operator()(float x) const { return (x - mean) * (x - mean); }
  float mean;
};

template <typename T>
VITOWER_INLINE void NormaliseBody(const float* __restrict x, int64_t rows, const RowNorm& norm, T* __restrict out) {
  const auto width = static_cast<float>(norm.width);
  const float* __restrict weight = norm.weight;
  const float* __restrict bias = norm.bias;
  for (; rows > 0; --rows, x += norm.width, out += norm.width) {
    const float mean = SumOf(x, norm.width, Identity{}) / width;
    const float variance = SumOf(x, norm.width, SquareFrom{mean}) / width;
    const float scale = 1.0F / std::sqrt(variance + norm.epsilon);
    for (int64_t i = 0; i < norm.width; ++i) Store((x[i] - mean) * scale * weight[i] + bias[i], out[i]);
  }
}

#if defined(__x86_64__)
enum class Level { kBase, kAvx2, kAvx512 };

Level MachineLevel() {
  static const Level level = [] {
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    return avx2 && avx512 ? Level::kAvx512 : avx2 ? Level::kAvx2 : Level::kBase;
  }();
  return level;
}

template <typename T>
VITOWER_AVX2 void RotateAvx2(T* qkv, const float* table, int64_t rows, RotaryShape shape) {
  RotateBody(qkv, table, rows, shape);
}
template <typename T>
VITOWER_AVX512 void RotateAvx512(T* qkv, const float* table, int64_t rows, RotaryShape shape) {
  RotateBody(qkv, table, rows, shape);
}
template <typename T>
VITOWER_AVX2 void InterpolateAvx2(const T* table, absl::Span<const PositionTaps> taps, int64_t width, T* out) {
  InterpolateBody(table, taps, width, out);
}
template <typename T>
VITOWER_AVX512 void InterpolateAvx512(const T* table, absl::Span<const PositionTaps> taps, int64_t width, T* out) {
  InterpolateBody(table, taps, width, out);
}
template <typename T>
VITOWER_AVX2 void NormaliseAvx2(const float* x, int64_t rows, const RowNorm& norm, T* out) {
  NormaliseBody(x, rows, norm, out);
}
template <typename T>
VITOWER_AVX512 void NormaliseAvx512(const float* x, int64_t rows, const RowNorm& norm, T* out) {
  NormaliseBody(x, rows, norm, out);
}
#endif

template <typename T>
void Normalise(const float* x, int64_t rows, const RowNorm& norm, T* out) {
#if defined(__x86_64__)
  if (MachineLevel() == Level::kAvx512) return NormaliseAvx512(x, rows, norm, out);
  if (MachineLevel() == Level::kAvx2) return NormaliseAvx2(x, rows, norm, out);
#endif
  NormaliseBody(x, rows, norm, out);
}

template <typename T>
void Rotate(T* qkv, const float* table, int64_t rows, RotaryShape shape) {
#if defined(__x86_64__)
  if (MachineLevel() == Level::kAvx512) return RotateAvx512(qkv, table, rows, shape);
  if (MachineLevel() == Level::kAvx2) return RotateAvx2(qkv, table, rows, shape);
#endif
  RotateBody(qkv, table, rows, shape);
}

template <typename T>
void Interpolate(const T* table, absl::Span<const PositionTaps> taps, int64_t width, T* out) {
#if defined(__x86_64__)
  if (MachineLevel() == Level::kAvx512) return InterpolateAvx512(table, taps, width, out);
  if (MachineLevel() == Level::kAvx2) return InterpolateAvx2(table, taps, width, out);
#endif
  InterpolateBody(table, taps, width, out);
}

}  // namespace

void RotateRows(Bf16* qkv, const float* table, int64_t rows, RotaryShape shape) { Rotate(qkv, table, rows, shape); }
void RotateRows(float* qkv, const float* table, int64_t rows, RotaryShape shape) { Rotate(qkv, table, rows, shape); }

void NormaliseRows(const float* x, int64_t rows, const RowNorm& norm, Bf16* out) { Normalise(x, rows, norm, out); }
void NormaliseRows(const float* x, int64_t rows, const RowNorm& norm, float* out) { Normalise(x, rows, norm, out); }

void InterpolateRows(const Bf16* table, absl::Span<const PositionTaps> taps, int64_t width, Bf16* out) {
  Interpolate(table, taps, width, out);
}
void InterpolateRows(const float* table, absl::Span<const PositionTaps> taps, int64_t width, float* out) {
  Interpolate(table, taps, width, out);
}

}  // namespace vitower
