#include "model/cuda/launch.cuh"
#include "model/cuda/vec.cuh"

namespace vitower {
namespace {

constexpr int32_t kThreads = 256;

// Turns kCount neighbouring pairs (j, j + head_dim / 2) of one head.
template <typename T, int kCount>
__global__ void __launch_bounds__(kThreads) RotaryKernel(RotaryArgs args, int64_t total) {
  const int64_t index = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (index >= total) return;
  AwaitEarlierKernels();
  AllowNextKernel();
  const int32_t half = args.head_dim / 2;
  const int32_t runs = half / kCount;
  const int32_t parts = (args.keys_only ? 1 : 2) * args.heads;
  const int64_t row = index / (parts * runs);
  const auto inside = static_cast<int32_t>(index - row * (parts * runs));
  const int32_t head = inside / runs + (args.keys_only ? args.heads : 0);
  const int32_t first = inside % runs * kCount;
  T* low = static_cast<T*>(args.qkv) + (row * 3 * args.heads + head) * args.head_dim + first;
  T* high = low + half;
  const float* angles = args.rotary + row * args.head_dim + first;
  const auto cosines = Load<kCount>(angles);
  const auto sines = Load<kCount>(angles + half);
  Vec<T, kCount> a = Load<kCount>(low);
  Vec<T, kCount> b = Load<kCount>(high);
  TurnPairs(a, b, cosines, sines);
  Save(low, a);
  Save(high, b);
}

template <typename T, int kCount>
void Run(const RotaryArgs& args, cudaStream_t stream) {
  const int64_t total = args.rows * (args.keys_only ? 1 : 2) * args.heads * (args.head_dim / 2 / kCount);
  LaunchEarly(RotaryKernel<T, kCount>, static_cast<unsigned>((total + kThreads - 1) / kThreads), kThreads, 0, stream,
              args, total);
}

}  // namespace

cudaError_t LaunchRotary(Element element, const RotaryArgs& args, cudaStream_t stream) {
  return ForElement(element, [&](auto zero) {
    using T = decltype(zero);
    const int32_t half = args.head_dim / 2;
    if (sizeof(T) == 2 && half % 8 == 0) return Run<T, 8>(args, stream);
    if (half % 4 == 0) return Run<T, 4>(args, stream);
    Run<T, 2>(args, stream);
  });
}

}  // namespace vitower
