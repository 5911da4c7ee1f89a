#include "model/cuda/launch.cuh"
#include "model/cuda/vec.cuh"

namespace vitower {
namespace {

// One group of kLanes threads normalises one row, which it holds in registers: at most kHeld 16-byte vectors each.
constexpr int kBlock = 128;
// Up to here every block is in place before the kernel in front has ended, and fetches its weights meanwhile. With more
// rows the registers for that cost more than it gains.
constexpr int64_t kEarlyRows = 2048;

template <int kLanes>
__device__ float SumOverLanes(float value) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xFFFFFFFFU, value, step);
  if constexpr (kLanes > 32) {
    __shared__ float partial[kLanes / 32];
    __syncthreads();  // the sums of an earlier call were read
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
    __syncthreads();
    value = 0;
#pragma unroll
    for (int i = 0; i < kLanes / 32; ++i) value += partial[i];
  }
  return value;
}

template <typename T, int kLanes, int kHeld, bool kEarly>
__global__ void __launch_bounds__(kBlock) LayerNormKernel(LayerNormArgs args) {
  constexpr int kCount = kWide<T>;
  const int64_t row = int64_t{blockIdx.x} * (kBlock / kLanes) + threadIdx.x / kLanes;
  if (row >= args.rows) return;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  Vec<T, kCount> weights[kEarly ? kHeld : 1];
  Vec<T, kCount> biases[kEarly ? kHeld : 1];
  if constexpr (kEarly) {
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      const int place = (i * kLanes + lane) * kCount;
      if (place >= args.width) continue;
      weights[i] = Load<kCount>(static_cast<const T*>(args.weight) + place);
      biases[i] = Load<kCount>(static_cast<const T*>(args.bias) + place);
    }
  }
  AwaitEarlierKernels();
  const T* x = static_cast<const T*>(args.x) + row * args.width;
  Vec<T, kCount> held[kHeld];
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    const int place = (i * kLanes + lane) * kCount;
    if (place >= args.width) continue;
    held[i] = Load<kCount>(x + place);
#pragma unroll
    for (int j = 0; j < kCount; ++j) sum += AsFloat(held[i].values[j]);
  }
  const float width = static_cast<float>(args.width);
  const float mean = SumOverLanes<kLanes>(sum) / width;
  float squares = 0;
#pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    if ((i * kLanes + lane) * kCount >= args.width) continue;
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      const float distance = AsFloat(held[i].values[j]) - mean;
      squares += distance * distance;
    }
  }
  const float scale = rsqrtf(SumOverLanes<kLanes>(squares) / width + args.epsilon);
  T* out = static_cast<T*>(args.out) + row * args.width;
#pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    const int place = (i * kLanes + lane) * kCount;
    if (place >= args.width) continue;
    const auto weight = kEarly ? weights[kEarly ? i : 0] : Load<kCount>(static_cast<const T*>(args.weight) + place);
    const auto bias = kEarly ? biases[kEarly ? i : 0] : Load<kCount>(static_cast<const T*>(args.bias) + place);
    Vec<T, kCount> result;
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      result.values[j] = FromFloat<T>((AsFloat(held[i].values[j]) - mean) * scale * AsFloat(weight.values[j]) +
                                      AsFloat(bias.values[j]));
    }
    Save(out + place, result);
  }
}

template <typename T, int kLanes, int kHeld>
bool LaunchIfItFits(const LayerNormArgs& args, cudaStream_t stream) {
  if (args.width > kLanes * kHeld * kWide<T>) return false;
  constexpr int kRows = kBlock / kLanes;
  const auto blocks = static_cast<unsigned>((args.rows + kRows - 1) / kRows);
  const auto launch = [&](auto* kernel) { LaunchEarly(kernel, blocks, kBlock, 0, stream, args); };
  if constexpr (kHeld <= 5) {
    if (args.rows <= kEarlyRows) return launch(LayerNormKernel<T, kLanes, kHeld, true>), true;
  }
  launch(LayerNormKernel<T, kLanes, kHeld, false>);
  return true;
}

}  // namespace

cudaError_t LaunchLayerNorm(Element element, const LayerNormArgs& args, cudaStream_t stream) {
  bool fits = false;
  const cudaError_t error = ForElement(element, [&](auto zero) {
    using T = decltype(zero);
    fits = LaunchIfItFits<T, 32, 4>(args, stream) || LaunchIfItFits<T, 32, 5>(args, stream) ||
           LaunchIfItFits<T, kBlock, 4>(args, stream) || LaunchIfItFits<T, kBlock, 5>(args, stream) ||
           LaunchIfItFits<T, kBlock, 16>(args, stream);
  });
  return fits ? error : cudaErrorInvalidValue;
}

}  // namespace vitower
