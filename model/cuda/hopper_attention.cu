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

// What a thread copies of each run: the same chunks of the same rows of keys and of values. Rows behind the segment
// become zeros.
template <typename T, int kHeadDim>
class RunCopier {
 public:
  __device__ RunCopier(const TileRows<T>& rows, int segment_length)
      : source_(rows.keys + Row() * 3 * static_cast<int>(rows.width) + Chunk() * 8),
        rest_(rows.keys + static_cast<int>(threadIdx.x) * 3 * static_cast<int>(rows.width) + 64),
        width_(static_cast<int>(rows.width)),
        length_(segment_length) {}

  // `slot` in shared memory's own addresses.
  __device__ __forceinline__ void Copy(uint32_t slot, int first_key) const {
    const int64_t skipped = int64_t{first_key} * (3 * width_);
    const T* source = source_ + skipped;
    const T* half = source + kHalf * 3 * width_;
    const uint32_t target = slot + Row() * kRowBytes + (Chunk() ^ Row() % 8) * 16;
    const int valid_rows = length_ - first_key;
    CopyBoth(target, target + kPanelBytes, source, Row() < valid_rows);
    CopyBoth(target + kHalf * kRowBytes, target + kHalf * kRowBytes + kPanelBytes, half, Row() + kHalf < valid_rows);
    if constexpr (Layout<kHeadDim>::kRest) {
      const int row = static_cast<int>(threadIdx.x);
      if (row < kKeys) {
        CopyBoth(slot + row * 16 + kKeyRest, slot + row * 16 + kValueRest, rest_ + skipped, row < valid_rows);
      }
    }
  }

 private:
  static constexpr int kHalf = kThreads / 8;  // rows that the threads copy at a time
  static_assert(kKeys == 2 * kHalf);

  __device__ static int Row() { return static_cast<int>(threadIdx.x) / 8; }
  __device__ static int Chunk() { return static_cast<int>(threadIdx.x) % 8; }
  __device__ __forceinline__ void CopyBoth(uint32_t keys, uint32_t values, const T* source, bool valid) const {
    CopyAsync(keys, source, valid);
    CopyAsync(values, source + width_, valid);
  }

  const T* source_;
  const T* rest_;
  int width_;
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
    Rescale(state, Softmax(state, scale, scores));
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

  __device__ __forceinline__ void CopyStage(const RunCopier<T, kHeadDim>& copier, unsigned char* stage, int first_key,
                                            int length) const {
#pragma unroll
    for (int run = 0; run < kRuns; ++run) {
      if (first_key + run * kKeys < length)
        copier.Copy(SharedAddress(stage + run * L::kRunBytes), first_key + run * kKeys);
    }
    CommitCopies();
  }

  __device__ __forceinline__ void Fetch(const Work& work) {
    const TileRows<T> rows(args_, work.tile, work.head);
    CopyStage({rows, work.tile.segment_length}, Stage(next_stage_), 0, work.tile.segment_length);
    LoadQueries<T, kHeadDim>(queries_, rows.queries, 3 * rows.width,
                             args_.rotary + int64_t{work.tile.first_row} * kHeadDim, work.tile.rows);
  }

  __device__ __forceinline__ void Attend(const Work& work, int next) {
    const AttentionTile& tile = work.tile;
    const TileRows<T> rows(args_, tile, work.head);
    const RunCopier<T, kHeadDim> copier(rows, tile.segment_length);
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
        CopyStage(copier, Stage(next_stage_), first_key + kStageKeys, tile.segment_length);
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
  AwaitEarlierKernels();
  Walker<T, kHeadDim>(args, scale, shared).Run();
}

template <typename T, int kHeadDim>
struct Kernel {
  static constexpr int kBytes = Layout<kHeadDim>::kBytes;
  static constexpr auto kFunction = HopperAttentionKernel<T, kHeadDim>;
};

}  // namespace

int32_t HopperAttentionBlocks(Element element, int32_t head_dim) { return AttentionBlocks<Kernel>(element, head_dim); }

cudaError_t LaunchHopperAttention(Element element, const TileAttentionArgs& args, cudaStream_t stream) {
  return LaunchAttention<Kernel>(element, args, stream);
}

}  // namespace vitower
