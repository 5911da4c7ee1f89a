#include "model/cuda/attention_tile.cuh"
#include "model/cuda/wgmma.cuh"

namespace vitower {
namespace {

// The attention kernel for Hopper: two warpgroups of 64 queries, keys and values read by the matrix units from shared
// memory. Two stages in flight, two blocks on a multiprocessor, and two runs of kKeys keys between barriers, so that
// one warpgroup's exponentials run beside another's products. A head of 72 is cut into 64, swizzled, and 8, which with
// 8 zeros make a last step of 16.

constexpr int kRowBytes = 128;  // of the swizzled part: 64 elements
constexpr int kPanelBytes = kKeys * kRowBytes;
constexpr int kRestBytes = kKeys * 16;  // 8 elements a row
constexpr int kGroupBytes = 8 * kRowBytes;
constexpr int kRuns = 2;  // of kKeys, in a stage
constexpr int kStageKeys = kRuns * kKeys;
// A run: keys, values; for a head of 72 then the rest of the keys, zeros, the rest of the values.
constexpr int kKeyRest = 2 * kPanelBytes;
constexpr int kZeros = kKeyRest + kRestBytes;
constexpr int kValueRest = kZeros + kRestBytes;

template <int kHeadDim>
struct Layout {
  static constexpr bool kRest = kHeadDim == 72;
  static constexpr int kRunBytes = 2 * kPanelBytes + (kRest ? 3 * kRestBytes : 0);
  static constexpr int kStageBytes = kRuns * kRunBytes;
  static constexpr int kBytes = kGroupBytes + 2 * kStageBytes + QueryLayout<kHeadDim>::kBytes;
};

// What a thread copies of each stage: the same chunks of the same rows of keys and of values.
template <typename T, int kHeadDim>
class StageCopier {
 public:
  __device__ StageCopier(const TileRows<T>& rows, int segment_length)
      : source_(rows.keys), row_stride_(3 * rows.width), width_(rows.width), length_(segment_length) {}

  __device__ __forceinline__ void Copy(unsigned char* stage, int first_key) const {
#pragma unroll
    for (int run = 0; run < kRuns; ++run) {
      const int first = first_key + run * kKeys;
      if (first < length_) CopyRun(stage + run * Layout<kHeadDim>::kRunBytes, first);
    }
    CommitCopies();
  }

 private:
  __device__ __forceinline__ void CopyRun(unsigned char* stage, int first_key) const {
    const T* source = source_ + first_key * row_stride_;
    const int valid_rows = length_ - first_key;
    const int row = static_cast<int>(threadIdx.x) / 8;
    const int chunk = static_cast<int>(threadIdx.x) % 8;
#pragma unroll
    for (int i = 0; i < kKeys; i += kThreads / 8) {
      unsigned char* target = stage + (row + i) * kRowBytes + (chunk ^ row % 8) * 16;
      CopyBoth(target, target + kPanelBytes, source + (row + i) * row_stride_ + chunk * 8, row + i < valid_rows);
    }
    if constexpr (Layout<kHeadDim>::kRest) {
      const int rest_row = static_cast<int>(threadIdx.x);
      if (rest_row < kKeys) {
        unsigned char* target = stage + rest_row * 16;
        CopyBoth(target + kKeyRest, target + kValueRest, source + rest_row * row_stride_ + 64, rest_row < valid_rows);
      }
    }
  }

  __device__ __forceinline__ void CopyBoth(unsigned char* keys, unsigned char* values, const T* source,
                                           bool valid) const {
    source = valid ? source : source_;
    CopyAsync(keys, source, valid);
    CopyAsync(values, source + width_, valid);
  }

  const T* source_;
  int64_t row_stride_;
  int64_t width_;
  int length_;
};

// Scores of the first 8 * kBlocks keys of a stage.
template <typename T, int kHeadDim, int kBlocks>
__device__ __forceinline__ void Scores(const WarpState<kHeadDim>& state, const unsigned char* stage,
                                       float (&scores)[kBlocks][4]) {
  using L = Layout<kHeadDim>;
  const uint64_t keys = Descriptor(stage, Swizzle::k128Bytes, 16, kGroupBytes);
  FenceRegisters();
#pragma unroll
  for (int step = 0; step < 4; ++step) {
    MultiplyRows(T{}, scores, state.queries[step], keys + static_cast<uint64_t>(step * 2), step > 0 ? 1 : 0);
  }
  if constexpr (L::kRest) {
    MultiplyRows(T{}, scores, state.queries[4], Descriptor(stage + kKeyRest, Swizzle::kNone, kRestBytes, 128), 1);
  }
  CommitProducts();
  WaitForProducts();
  Settle(scores);
}

template <typename T, int kHeadDim, int kBlocks>
__device__ __forceinline__ void AddValues(WarpState<kHeadDim>& state, const unsigned char* stage,
                                          const float (&weights)[kBlocks][4]) {
  using L = Layout<kHeadDim>;
  uint32_t a[kBlocks / 2][4];
#pragma unroll
  for (int step = 0; step < kBlocks / 2; ++step) PackWeights<T>(weights, step * 16, a[step]);
  const uint64_t values = Descriptor(stage + kPanelBytes, Swizzle::k128Bytes, kGroupBytes, kGroupBytes);
  auto& out = reinterpret_cast<float(&)[8][4]>(state.out);
  Settle(state.out);
  FenceRegisters();
#pragma unroll
  for (int step = 0; step < kBlocks / 2; ++step) {
    MultiplyColumns(T{}, out, a[step], values + static_cast<uint64_t>(step * 2 * kGroupBytes >> 4), 1);
    if constexpr (L::kRest) {
      auto& rest = reinterpret_cast<float(&)[1][4]>(state.out[8]);
      MultiplyColumns(T{}, rest, a[step], Descriptor(stage + kValueRest + step * 256, Swizzle::kNone, 128, 128), 1);
    }
  }
  CommitProducts();
  WaitForProducts();
  Settle(state.out);
}

// `live`: whether this warp has queries at all; its warpgroup has.
template <typename T, int kHeadDim, int kBlocks>
__device__ __forceinline__ void Step(WarpState<kHeadDim>& state, const unsigned char* stage, int valid_keys,
                                     float scale, bool live) {
  float scores[kBlocks][4];
  Scores<T, kHeadDim>(state, stage, scores);
  if (live) {
    if (valid_keys < kBlocks * 8) MaskKeys(valid_keys, scores);
    Softmax(state, scale, scores);
  }
  AddValues<T, kHeadDim>(state, stage, scores);
}

// One (tile, head) pair.
struct Work {
  AttentionTile tile;
  int head;
  __device__ Work(const TileAttentionArgs& args, int index)
      : tile(args.tiles[index / args.heads]), head(index % args.heads) {}
};

// Strides over the work. The first keys and the queries of the next piece are fetched during the last step of this one.
template <typename T, int kHeadDim>
class Walker {
  using L = Layout<kHeadDim>;

 public:
  __device__ Walker(const TileAttentionArgs& args, float scale, unsigned char* shared)
      : args_(args), scale_(scale), shared_(shared), queries_(reinterpret_cast<T*>(shared + 2 * L::kStageBytes)) {}

  __device__ void Run() {
    const int count = *args_.tile_count * args_.heads;
    const auto stride = static_cast<int>(gridDim.x);
    auto index = static_cast<int>(blockIdx.x);
    if (index < count) Fetch(Work(args_, index));
    for (; index < count; index += stride) Attend(Work(args_, index), index + stride < count ? index + stride : -1);
  }

 private:
  __device__ unsigned char* Stage(int number) const { return shared_ + number % 2 * L::kStageBytes; }

  __device__ __forceinline__ void Fetch(const Work& work) {
    const TileRows<T> rows(args_, work.tile, work.head);
    StageCopier<T, kHeadDim>(rows, work.tile.segment_length).Copy(Stage(next_stage_), 0);
    LoadQueries<T, kHeadDim>(queries_, rows.queries, 3 * rows.width,
                             args_.rotary + int64_t{work.tile.first_row} * kHeadDim, work.tile.rows);
  }

  __device__ __forceinline__ void Attend(const Work& work, int next) {
    const AttentionTile& tile = work.tile;
    const TileRows<T> rows(args_, tile, work.head);
    const StageCopier<T, kHeadDim> copier(rows, tile.segment_length);
    const int warp_first = static_cast<int>(threadIdx.x) / 32 * kWarpRows;
    const int group_first = static_cast<int>(threadIdx.x) / 128 * 64;
    __syncthreads();  // the queries have come
    WarpState<kHeadDim> state;
    StartWarp<T, kHeadDim>(state, queries_ + warp_first * QueryLayout<kHeadDim>::kStride);
    for (int first_key = 0; first_key < tile.segment_length; first_key += kStageKeys) {
      const unsigned char* stage = Stage(next_stage_++);
      WaitForCopies<0>();
      PublishToMatrixUnits();
      __syncthreads();  // these keys have come, and nobody reads the other stage or the queries any more
      if (first_key + kStageKeys < tile.segment_length) {
        copier.Copy(Stage(next_stage_), first_key + kStageKeys);
      } else if (next >= 0) {
        Fetch(Work(args_, next));
      }
      if (group_first >= tile.rows) continue;
      const bool live = warp_first < tile.rows;
      for (int run = 0; run < kRuns; ++run) {
        const int valid_keys = tile.segment_length - first_key - run * kKeys;
        if (valid_keys <= 0) break;
        const unsigned char* keys = stage + run * L::kRunBytes;
        if (valid_keys > 32) {
          Step<T, kHeadDim, 8>(state, keys, valid_keys, scale_, live);
        } else if (valid_keys > 16) {
          Step<T, kHeadDim, 4>(state, keys, valid_keys, scale_, live);
        } else {
          Step<T, kHeadDim, 2>(state, keys, valid_keys, scale_, live);
        }
      }
    }
    T* out = static_cast<T*>(args_.out) + (tile.first_row + warp_first) * rows.width + work.head * kHeadDim;
    WriteOut<T, kHeadDim>(state, out, rows.width, tile.rows - warp_first);
  }

  const TileAttentionArgs& args_;
  const float scale_;
  unsigned char* const shared_;
  T* const queries_;
  int next_stage_ = 0;
};

template <typename T, int kHeadDim>
__global__ void __launch_bounds__(kThreads, 2) HopperAttentionKernel(TileAttentionArgs args, float scale) {
  using L = Layout<kHeadDim>;
  extern __shared__ __align__(16) unsigned char unaligned[];
  unsigned char* shared = unaligned + (kGroupBytes - SharedAddress(unaligned) % kGroupBytes) % kGroupBytes;
  if constexpr (L::kRest) {
    constexpr int kVectors = kRestBytes / 16;
    for (int i = static_cast<int>(threadIdx.x); i < 2 * kRuns * kVectors; i += kThreads) {
      unsigned char* zeros = shared + i / kVectors * L::kRunBytes + kZeros;
      reinterpret_cast<uint4*>(zeros)[i % kVectors] = uint4{0, 0, 0, 0};
    }
  }
  Walker<T, kHeadDim>(args, scale, shared).Run();
}

}  // namespace

int32_t HopperAttentionBlocks(Element element, int32_t head_dim) {
  int32_t blocks = 0;
  (void)ForAttentionShape(element, head_dim, [&](auto zero, auto head) {
    constexpr int kDim = decltype(head)::kDim;
    blocks = BlocksAtATime(HopperAttentionKernel<decltype(zero), kDim>, Layout<kDim>::kBytes);
  });
  return blocks;
}

cudaError_t LaunchHopperAttention(Element element, const TileAttentionArgs& args, cudaStream_t stream) {
  const bool known = ForAttentionShape(element, args.head_dim, [&](auto zero, auto head) {
    constexpr int kDim = decltype(head)::kDim;
    HopperAttentionKernel<decltype(zero), kDim>
        <<<static_cast<unsigned>(args.blocks), kThreads, Layout<kDim>::kBytes, stream>>>(args,
                                                                                         ScoreScale(args.head_dim));
  });
  return known ? cudaGetLastError() : cudaErrorInvalidValue;
}

}  // namespace vitower
