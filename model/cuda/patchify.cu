#include "model/cuda/vec.cuh"

namespace vitower {
namespace {

constexpr int32_t kPatch = 16;
constexpr int32_t kArea = kPatch * kPatch;
constexpr int32_t kTimes = 2;
constexpr int32_t kPlane = kTimes * kArea;  // one channel of a row of the output
constexpr int32_t kPatchDim = 3 * kPlane;
constexpr int32_t kRun = 8;                       // neighbouring pixels that one thread takes, in all channels
constexpr int32_t kPatchThreads = kPlane / kRun;  // of one patch
constexpr int32_t kThreads = 2 * kPatchThreads;

template <typename T>
struct Pixels {
  Vec<T, kRun> channels[3];
};

// 24 bytes in three loads: rows of pixels are multiples of 48 bytes, items begin at multiples of 256.
template <typename T>
__device__ Pixels<T> FromFrames(const PatchifyArgs& args, const ItemPlace& item, int32_t patch, int32_t first) {
  const int32_t time = first / kArea;
  const int32_t y = first / kPatch % kPatch;
  const int32_t x = first % kPatch;
  const SlicePlace place = PlaceInItem(item, patch);
  const int64_t frame = min(place.slice * kTimes + time, item.frame_count - 1);
  const int64_t row_bytes = int64_t{item.grid_w} * kPatch * 3;
  const uint8_t* pixel = args.bytes + item.offset +
                         (frame * item.grid_h * kPatch + place.row * kPatch + y) * row_bytes +
                         (place.col * kPatch + x) * 3;
  Vec<uint8_t, 8> bytes[3];
#pragma unroll
  for (int i = 0; i < 3; ++i) bytes[i] = Load<8>(pixel + i * 8);
  Pixels<T> pixels;
#pragma unroll
  for (int i = 0; i < kRun * 3; ++i) {
    const int channel = i % 3;
    const auto level = static_cast<float>(bytes[i / 8].values[i % 8]);
    pixels.channels[channel].values[i / 3] =
        FromFloat<T>(__fdiv_rn(level - args.mean[channel], args.deviation[channel]));
  }
  return pixels;
}

template <typename T, typename From>
__device__ Pixels<T> FromRows(const uint8_t* bytes, int64_t first) {
  Pixels<T> pixels;
#pragma unroll
  for (int channel = 0; channel < 3; ++channel) {
    const From* values = reinterpret_cast<const From*>(bytes) + first + channel * kPlane;
#pragma unroll
    for (int i = 0; i < kRun; ++i) pixels.channels[channel].values[i] = FromFloat<T>(AsFloat(values[i]));
  }
  return pixels;
}

template <typename T>
__device__ Pixels<T> MakePixels(const PatchifyArgs& args, int32_t row, int32_t first) {
  if (row >= args.batch.patches) {
    Pixels<T> zeros;
#pragma unroll
    for (int i = 0; i < 3 * kRun; ++i) zeros.channels[i / kRun].values[i % kRun] = FromFloat<T>(0.0F);
    return zeros;
  }
  const ItemPlace item = FindItem(args.batch, row);
  const int32_t patch = row - item.first_row;
  const int64_t place = int64_t{patch} * kPatchDim + first;
  switch (item.kind) {
    case ItemKind::kRowsBf16:
      return FromRows<T, __nv_bfloat16>(args.bytes + item.offset, place);
    case ItemKind::kRowsFp16:
      return FromRows<T, __half>(args.bytes + item.offset, place);
    case ItemKind::kRowsFp32:
      return FromRows<T, float>(args.bytes + item.offset, place);
    default:
      return FromFrames<T>(args, item, patch, first);
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads) PatchifyKernel(PatchifyArgs args) {
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const int32_t row = static_cast<int32_t>(blockIdx.x) * (kThreads / kPatchThreads) + thread / kPatchThreads;
  if (row >= args.rows) return;
  const int32_t first = thread % kPatchThreads * kRun;
  const Pixels<T> pixels = MakePixels<T>(args, row, first);
  T* out = static_cast<T*>(args.out) + int64_t{row} * kPatchDim + first;
  constexpr int kStep = kRun < kWide<T> ? kRun : kWide<T>;
#pragma unroll
  for (int channel = 0; channel < 3; ++channel) {
#pragma unroll
    for (int i = 0; i < kRun; i += kStep) {
      Save(out + channel * kPlane + i, *reinterpret_cast<const Vec<T, kStep>*>(pixels.channels[channel].values + i));
    }
  }
}

}  // namespace

cudaError_t LaunchPatchify(Element element, const PatchifyArgs& args, cudaStream_t stream) {
  return ForElement(element, [&](auto zero) {
    const auto blocks = static_cast<unsigned>((args.rows * kPatchThreads + kThreads - 1) / kThreads);
    PatchifyKernel<decltype(zero)><<<blocks, kThreads, 0, stream>>>(args);
  });
}

}  // namespace vitower
