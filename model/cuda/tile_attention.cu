#include "model/cuda/attention_tile.cuh"

namespace vitower {
namespace {

// For every device from Ampere on: matrix instructions of one warp each, two stages of keys and values in flight.
// Blocks are persistent: they stride over all (tile, head) pairs, so the launch does not depend on the batch.

constexpr int kWarps = kTileRows / kWarpRows;
constexpr int kBlockThreads = kWarps * 32;

constexpr int kKeys = 64;  // of a stage

template <int kHeadDim>
struct Layout {
  static constexpr int kSteps = (kHeadDim + 15) / 16;  // of 16 along the head, zeros behind it
  static constexpr int kStride = kSteps * 16 + 8;      // rows of shared memory, shifted so that no banks clash
  static constexpr int kQueryElements = kTileRows * kStride;
  static constexpr int kStageElements = 2 * kKeys * kStride;
  static constexpr int kBytes = (kQueryElements + 2 * kStageElements) * 2;
};

// A warp's queries as left operands, from its rows of shared memory, where they are put first.
template <typename T, int kHeadDim>
__device__ __forceinline__ void TakeQueries(const TileRows<T>& rows, const float* rotary, int first_row, int valid_rows,
                                            T* shared, uint32_t (&queries)[Layout<kHeadDim>::kSteps][4]) {
  using L = Layout<kHeadDim>;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  LoadQueries<T, kHeadDim>(rows.queries + first_row * 3 * rows.width, 3 * rows.width, rotary, valid_rows,
                           [&](int row, int first) { return shared + row * L::kStride + first; });
  if constexpr (L::kSteps * 16 > kHeadDim) {
    if (lane < kWarpRows) *reinterpret_cast<uint4*>(shared + lane * L::kStride + kHeadDim) = uint4{0, 0, 0, 0};
  }
  __syncwarp();
#pragma unroll
  for (int step = 0; step < L::kSteps; ++step) {
    LoadMatrices(queries[step], shared + lane % 16 * L::kStride + step * 16 + lane / 16 * 8);
  }
}

template <typename T, int kHeadDim>
__device__ __forceinline__ void WriteOut(const WarpState<kHeadDim>& state, T* out, int64_t row_stride, int valid_rows) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = half * 8 + lane / 4;
    if (row >= valid_rows) continue;
    T* place = out + row * row_stride + lane % 4 * 2;
#pragma unroll
    for (int n = 0; n < WarpState<kHeadDim>::kOutBlocks; ++n) {
      *reinterpret_cast<uint32_t*>(place + n * 8) = Pack<T>(state.out[n][half * 2], state.out[n][half * 2 + 1]);
    }
  }
}

template <typename T, int kHeadDim>
__device__ void CopyRows(T* target, const T* source, int64_t row_stride, int valid_rows) {
  using L = Layout<kHeadDim>;
  constexpr int kChunks = L::kSteps * 2;  // of 16 bytes
  for (int i = static_cast<int>(threadIdx.x); i < kKeys * kChunks; i += kBlockThreads) {
    const int row = i / kChunks;
    const int chunk = i % kChunks;
    const bool valid = row < valid_rows && chunk * 8 < kHeadDim;
    CopyAsync(SharedAddress(target + row * L::kStride + chunk * 8), source + (valid ? row * row_stride + chunk * 8 : 0),
              valid);
  }
}

template <typename T, int kHeadDim>
__device__ __forceinline__ void Scores(const uint32_t (&queries)[Layout<kHeadDim>::kSteps][4], const T* keys,
                                       int valid_keys, float (&scores)[kKeys / 8][4]) {
  using L = Layout<kHeadDim>;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const T* row = keys + (lane % 8 + lane / 16 * 8) * L::kStride + lane / 8 % 2 * 8;
#pragma unroll
  for (int first = 0; first < kKeys; first += 16) {
#pragma unroll
    for (int i = 0; i < 4; ++i) scores[first / 8][i] = scores[first / 8 + 1][i] = 0;
    if (first >= valid_keys) continue;
#pragma unroll
    for (int step = 0; step < L::kSteps; ++step) {
      uint32_t b[4];
      LoadMatrices(b, row + first * L::kStride + step * 16);
      MultiplyAdd<T>(scores[first / 8], queries[step], b[0], b[1]);
      MultiplyAdd<T>(scores[first / 8 + 1], queries[step], b[2], b[3]);
    }
  }
}

template <typename T, int kHeadDim>
__device__ __forceinline__ void AddValues(WarpState<kHeadDim>& state, const T* values, int valid_keys,
                                          const float (&weights)[kKeys / 8][4]) {
  using L = Layout<kHeadDim>;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const T* row = values + lane % 16 * L::kStride + lane / 16 * 8;
#pragma unroll
  for (int first = 0; first < kKeys; first += 16) {
    if (first >= valid_keys) continue;
    uint32_t a[4];
    PackWeights<T>(weights, first, a);
#pragma unroll
    for (int step = 0; step < L::kSteps; ++step) {
      uint32_t b[4];
      LoadMatricesTransposed(b, row + first * L::kStride + step * 16);
      MultiplyAdd<T>(state.out[step * 2], a, b[0], b[1]);
      if (step * 2 + 1 < WarpState<kHeadDim>::kOutBlocks) MultiplyAdd<T>(state.out[step * 2 + 1], a, b[2], b[3]);
    }
  }
}

template <typename T, int kHeadDim>
__device__ void AttendTile(const TileAttentionArgs& args, const AttentionTile& tile, int head, float scale, T* shared) {
  using L = Layout<kHeadDim>;
  const TileRows<T> rows(args, tile, head);
  T* stages = shared + L::kQueryElements;
  const auto copy_stage = [&](int first_key) {
    T* stage = stages + first_key / kKeys % 2 * L::kStageElements;
    const T* source = rows.keys + first_key * 3 * rows.width;
    CopyRows<T, kHeadDim>(stage, source, 3 * rows.width, tile.segment_length - first_key);
    CopyRows<T, kHeadDim>(stage + kKeys * L::kStride, source + rows.width, 3 * rows.width,
                          tile.segment_length - first_key);
    CommitCopies();
  };
  copy_stage(0);
  const int warp_first = static_cast<int>(threadIdx.x) / 32 * kWarpRows;
  const int valid_rows = tile.rows - warp_first;
  uint32_t queries[L::kSteps][4];
  if (valid_rows > 0) {
    TakeQueries<T, kHeadDim>(rows, args.rotary + int64_t{tile.first_row + warp_first} * kHeadDim, warp_first,
                             valid_rows, shared + warp_first * L::kStride, queries);
  }
  WarpState<kHeadDim> state;

  for (int first_key = 0; first_key < tile.segment_length; first_key += kKeys) {
    WaitForCopies<0>();
    __syncthreads();  // these keys have come, and nobody reads the other stage any more
    if (first_key + kKeys < tile.segment_length) copy_stage(first_key + kKeys);
    if (valid_rows <= 0) continue;
    const T* stage = stages + first_key / kKeys % 2 * L::kStageElements;
    const int valid_keys = tile.segment_length - first_key;
    float scores[kKeys / 8][4];
    Scores<T, kHeadDim>(queries, stage, valid_keys, scores);
    if (valid_keys < kKeys) MaskKeys(valid_keys, scores);
    Rescale(state, Softmax(state, scale, scores));
    AddValues<T, kHeadDim>(state, stage + kKeys * L::kStride, valid_keys, scores);
  }
  Normalise(state);
  WriteOut<T, kHeadDim>(state, static_cast<T*>(args.out) + (tile.first_row + warp_first) * rows.width + head * kHeadDim,
                        rows.width, valid_rows);
  __syncthreads();  // before the next tile's copies
}

template <typename T, int kHeadDim>
__global__ void __launch_bounds__(kBlockThreads, 2) TileAttentionKernel(TileAttentionArgs args, float scale) {
  extern __shared__ __align__(16) unsigned char shared[];
  AwaitEarlierKernels();
  const int work = *args.tile_count * args.heads;
  for (auto i = static_cast<int>(blockIdx.x); i < work; i += static_cast<int>(gridDim.x)) {
    AttendTile<T, kHeadDim>(args, args.tiles[i / args.heads], i % args.heads, scale, reinterpret_cast<T*>(shared));
  }
}

template <typename T, int kHeadDim>
struct Kernel {
  static constexpr int kBytes = Layout<kHeadDim>::kBytes;
  static constexpr int kThreads = kBlockThreads;
  static constexpr auto kFunction = TileAttentionKernel<T, kHeadDim>;
};

}  // namespace

int32_t TileAttentionBlocks(Element element, int32_t head_dim) { return AttentionBlocks<Kernel>(element, head_dim); }

cudaError_t LaunchTileAttention(Element element, const TileAttentionArgs& args, cudaStream_t stream) {
  if (args.tile_rows > kTileRows) return cudaErrorInvalidValue;
  return LaunchAttention<Kernel>(element, args, stream);
}

}  // namespace vitower
