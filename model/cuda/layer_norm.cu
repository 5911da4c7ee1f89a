#include "model/cuda/launch.cuh"
#include "model/cuda/vec.cuh"

namespace vitower {
namespace {

// One group of kLanes threads normalises one row, which it holds in registers: at most kHeld 16-byte vectors each.
constexpr int kBlock = 128;
// Up to so many blocks, about four a multiprocessor of the large GPUs, all are in place before the kernel in front has
// ended, and fetch their weights meanwhile. With more the registers for that cost as much as it gains.
constexpr unsigned kEarlyBlocks = 512;
// Vectors a thread: with more, the weights do not fit into the registers beside the row.
constexpr int kEarlyHeld = 5;

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

// The weights or biases of a thread's columns: all at once into registers, or each when it is asked for.
template <typename T, int kLanes, int kHeld, bool kEarly>
class Columns {
 public:
  __device__ Columns(const void* values, int lane, int width) : values_(static_cast<const T*>(values)) {
    if constexpr (kEarly) {
#pragma unroll
      for (int i = 0; i < kHeld; ++i) {
        const int place = (i * kLanes + lane) * kWide<T>;
        if (place < width) held_[i] = Load<kWide<T>>(values_ + place);
      }
    }
  }

  __device__ Vec<T, kWide<T>> At(int i, int place) const {
    if constexpr (kEarly) {
      return held_[i];
    } else {
      return Load<kWide<T>>(values_ + place);
    }
  }

 private:
  const T* values_;
  Vec<T, kWide<T>> held_[kEarly ? kHeld : 1];
};

template <typename T, int kLanes, int kHeld, bool kEarly>
__global__ void __launch_bounds__(kBlock) LayerNormKernel(LayerNormArgs args) {
  constexpr int kCount = kWide<T>;
  const int64_t row = int64_t{blockIdx.x} * (kBlock / kLanes) + threadIdx.x / kLanes;
  if (row >= args.rows) return;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const Columns<T, kLanes, kHeld, kEarly> weights(args.weight, lane, args.width);
  const Columns<T, kLanes, kHeld, kEarly> biases(args.bias, lane, args.width);
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
    const auto weight = weights.At(i, place);
    const auto bias = biases.At(i, place);
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
  if constexpr (kHeld <= kEarlyHeld) {
    if (blocks <= kEarlyBlocks) {
      launch(LayerNormKernel<T, kLanes, kHeld, true>);
      return true;
    }
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
