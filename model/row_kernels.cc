#include "model/row_kernels.h"

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
#endif

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

void InterpolateRows(const Bf16* table, absl::Span<const PositionTaps> taps, int64_t width, Bf16* out) {
  Interpolate(table, taps, width, out);
}
void InterpolateRows(const float* table, absl::Span<const PositionTaps> taps, int64_t width, float* out) {
  Interpolate(table, taps, width, out);
}

}  // namespace vitower
