#include "model/cuda/launch.cuh"
#include "model/cuda/vec.cuh"

namespace vitower {
namespace {

constexpr int32_t kThreads = 256;
constexpr int32_t kMaxBlocks = 4096;

unsigned BlocksFor(int64_t count) {
  const int64_t blocks = (count + kThreads - 1) / kThreads;
  return static_cast<unsigned>(blocks < kMaxBlocks ? blocks : kMaxBlocks);
}

__device__ __forceinline__ float Gelu(float x, GeluKind kind) {
  if (kind == GeluKind::kErf) return 0.5F * x * (1.0F + erff(x * 0.70710678118654752F));
  const float inner = 0.79788456080286536F * (x + 0.044715F * x * x * x);
  return 0.5F * x * (1.0F + tanhf(inner));
}

template <typename T>
__global__ void __launch_bounds__(kThreads) GeluKernel(T* x, int64_t vectors, GeluKind kind) {
  constexpr int kCount = kWide<T>;
  AwaitEarlierKernels();
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < vectors; i += int64_t{gridDim.x} * kThreads) {
    Vec<T, kCount> values = Load<kCount>(x + i * kCount);
#pragma unroll
    for (int j = 0; j < kCount; ++j) values.values[j] = FromFloat<T>(Gelu(AsFloat(values.values[j]), kind));
    Save(x + i * kCount, values);
  }
}

template <typename From, typename To>
__global__ void __launch_bounds__(kThreads) ConvertKernel(const From* source, To* target, int64_t count) {
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < count; i += int64_t{gridDim.x} * kThreads) {
    target[i] = FromFloat<To>(AsFloat(source[i]));
  }
}

}  // namespace

cudaError_t LaunchGelu(Element element, GeluKind kind, void* x, int64_t count, cudaStream_t stream) {
  return ForElement(element, [&](auto zero) {
    using T = decltype(zero);
    const int64_t vectors = count / kWide<T>;
    LaunchEarly(GeluKernel<T>, BlocksFor(vectors), kThreads, 0, stream, static_cast<T*>(x), vectors, kind);
  });
}

cudaError_t LaunchConvert(Element from, const void* source, Element to, void* target, int64_t count,
                          cudaStream_t stream) {
  return ForElement(from, [&](auto from_zero) {
    using From = decltype(from_zero);
    (void)ForElement(to, [&](auto to_zero) {
      using To = decltype(to_zero);
      ConvertKernel<<<BlocksFor(count), kThreads, 0, stream>>>(static_cast<const From*>(source),
                                                               static_cast<To*>(target), count);
    });
  });
}

}  // namespace vitower
