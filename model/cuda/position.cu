#include "model/cuda/vec.cuh"

namespace vitower {
namespace {

constexpr int32_t kThreads = 128;

struct AxisTaps {
  int32_t low;
  int32_t high;
  float high_weight;
};

// As MakePositionTaps on the host, operation by operation.
__device__ AxisTaps TapsAt(int32_t index, int32_t size, int32_t side) {
  const float source = __fdiv_rn(__fmul_rn(static_cast<float>(index), static_cast<float>(side - 1)),
                                 static_cast<float>(max(size - 1, 1)));
  const float floor = floorf(source);
  const auto low = static_cast<int32_t>(floor);
  return {min(low, side - 1), min(low + 1, side - 1), source - floor};
}

template <typename T>
__device__ void AddPositions(const PositionArgs& args, const ItemPlace& item, const SlicePlace& place, T* x) {
  const AxisTaps down = TapsAt(place.row, item.grid_h, args.side);
  const AxisTaps across = TapsAt(place.col, item.grid_w, args.side);
  const float dy = down.high_weight;
  const float dx = across.high_weight;
  const float weights[4] = {(1 - dy) * (1 - dx), (1 - dy) * dx, dy * (1 - dx), dy * dx};
  const int32_t cells[4] = {down.low * args.side + across.low, down.low * args.side + across.high,
                            down.high * args.side + across.low, down.high * args.side + across.high};
  const T* rows[4];
#pragma unroll
  for (int tap = 0; tap < 4; ++tap) rows[tap] = static_cast<const T*>(args.table) + int64_t{cells[tap]} * args.width;
  constexpr int kCount = kWide<T>;
  for (int32_t i = static_cast<int32_t>(threadIdx.x) * kCount; i < args.width; i += kThreads * kCount) {
    float sums[kCount] = {};
#pragma unroll
    for (int tap = 0; tap < 4; ++tap) {
      const Vec<T, kCount> values = Load<kCount>(rows[tap] + i);
#pragma unroll
      for (int j = 0; j < kCount; ++j) sums[j] += weights[tap] * AsFloat(values.values[j]);
    }
    Vec<T, kCount> target = Load<kCount>(x + i);
#pragma unroll
    for (int j = 0; j < kCount; ++j) {  // rounded as the reference rounds: the interpolated row, then the sum
      target.values[j] = FromFloat<T>(AsFloat(target.values[j]) + AsFloat(FromFloat<T>(sums[j])));
    }
    Save(x + i, target);
  }
}

__device__ void WriteAngles(const PositionArgs& args, const SlicePlace& place, float* row) {
  const int32_t quarter = args.head_dim / 4;
  for (auto i = static_cast<int32_t>(threadIdx.x); i < 2 * quarter; i += kThreads) {
    const int32_t position = i < quarter ? place.row : place.col;
    const float angle = __fmul_rn(static_cast<float>(position), args.frequencies[i < quarter ? i : i - quarter]);
    sincosf(angle, row + 2 * quarter + i, row + i);
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads) PositionKernel(PositionArgs args) {
  const auto row = static_cast<int32_t>(blockIdx.x);
  float* angles = args.rotary + int64_t{row} * args.head_dim;
  if (row >= args.batch.patches) {
    WriteAngles(args, {0, 0, 0}, angles);
    return;
  }
  const ItemPlace item = FindItem(args.batch, row);
  const SlicePlace place = PlaceInItem(item, row - item.first_row);
  AddPositions(args, item, place, static_cast<T*>(args.x) + int64_t{row} * args.width);
  WriteAngles(args, place, angles);
}

}  // namespace

cudaError_t LaunchPosition(Element element, const PositionArgs& args, int32_t rows, cudaStream_t stream) {
  return ForElement(element, [&](auto zero) { PositionKernel<decltype(zero)><<<rows, kThreads, 0, stream>>>(args); });
}

}  // namespace vitower
