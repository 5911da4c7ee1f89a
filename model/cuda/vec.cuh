// private header
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "model/cuda/kernels.h"

namespace vitower {

template <typename T, int kCount>
struct alignas(sizeof(T) * kCount) Vec {
  T values[kCount];
};

// Elements in one 16-byte access.
template <typename T>
inline constexpr int kWide = 16 / sizeof(T);

__device__ __forceinline__ float AsFloat(float value) { return value; }
__device__ __forceinline__ float AsFloat(__nv_bfloat16 value) { return __bfloat162float(value); }
__device__ __forceinline__ float AsFloat(__half value) { return __half2float(value); }

template <typename T>
__device__ __forceinline__ T FromFloat(float value);
template <>
__device__ __forceinline__ float FromFloat<float>(float value) {
  return value;
}
template <>
__device__ __forceinline__ __nv_bfloat16 FromFloat<__nv_bfloat16>(float value) {
  return __float2bfloat16_rn(value);
}
template <>
__device__ __forceinline__ __half FromFloat<__half>(float value) {
  return __float2half_rn(value);
}

template <int kCount, typename T>
__device__ __forceinline__ Vec<T, kCount> Load(const T* from) {
  return *reinterpret_cast<const Vec<T, kCount>*>(from);
}
template <int kCount, typename T>
__device__ __forceinline__ void Save(T* to, const Vec<T, kCount>& values) {
  *reinterpret_cast<Vec<T, kCount>*>(to) = values;
}

// Rotary embedding in fp32 of the pairs (a[i], b[i]).
template <typename T, int kCount>
__device__ __forceinline__ void TurnPairs(Vec<T, kCount>& a, Vec<T, kCount>& b, const Vec<float, kCount>& cosines,
                                          const Vec<float, kCount>& sines) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const float x = AsFloat(a.values[i]);
    const float y = AsFloat(b.values[i]);
    a.values[i] = FromFloat<T>(x * cosines.values[i] - y * sines.values[i]);
    b.values[i] = FromFloat<T>(y * cosines.values[i] + x * sines.values[i]);
  }
}

// The item that holds a patch. REQUIRES: row < batch.patches.
__device__ __forceinline__ ItemPlace FindItem(const DeviceItems& batch, int32_t row) {
  int32_t low = 0;
  int32_t high = batch.count;
  while (high - low > 1) {
    const int32_t middle = (low + high) / 2;
    (batch.items[middle].first_row <= row ? low : high) = middle;
  }
  return batch.items[low];
}

struct SlicePlace {
  int32_t slice;
  int32_t row;
  int32_t col;
};

// Where a patch of an item stands: slices outermost, blocks of 2 x 2 inside.
__device__ __forceinline__ SlicePlace PlaceInItem(const ItemPlace& item, int32_t patch) {
  const int32_t slice = patch / (item.grid_h * item.grid_w);
  const int32_t inside = patch - slice * item.grid_h * item.grid_w;
  const int32_t block = inside / 4;
  const int32_t across = item.grid_w / 2;
  const int32_t block_row = block / across;
  return {slice, block_row * 2 + inside % 4 / 2, (block - block_row * across) * 2 + inside % 2};
}

// Calls `launch` with a value of the element's type.
template <typename Launch>
cudaError_t ForElement(Element element, const Launch& launch) {
  switch (element) {
    case Element::kBf16:
      launch(__nv_bfloat16{});
      break;
    case Element::kFp16:
      launch(__half{});
      break;
    case Element::kFp32:
      launch(float{});
      break;
  }
  return cudaGetLastError();
}

}  // namespace vitower
